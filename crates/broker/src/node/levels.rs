//! The cluster's protocol level: the controller raises it when every node can follow.

use super::Node;
use crate::catalog::CatalogCommand;
use crate::command::Command;
use crate::event::{Effect, LogLevel};
use crate::level::Level;
use crate::mutant::Mutant;
use model::NodeId;

impl Node {
    /// The cluster's level, as far as this node knows.
    pub fn level(&self) -> Level {
        self.catalog.level()
    }

    /// Raises the cluster's level when every node is up and says that it knows a higher one.
    pub(super) fn consider_level(&mut self) {
        let (level, own) = (self.catalog.level(), self.config.level);
        if own <= level || self.asked_level > level || !self.shards[0].serving || !self.catalog.is_formatted()
        {
            return;
        }
        let known = |node: &NodeId| match *node == self.config.node {
            true => Some(own),
            false => match self.waiting_disk(*node) {
                Some(wait) => Some(wait.level),
                None => self.level_of(*node).filter(|_| self.is_up(*node)),
            },
        };
        let mut levels: Vec<Option<Level>> = self.config.voters.iter().map(known).collect();
        levels.sort_unstable();
        if self.config.mutant == Some(Mutant::LevelOfMajority) {
            levels.drain(..levels.len() / 2);
        }
        if let Some(Some(all)) = levels.first().copied()
            && all > level
        {
            self.asked_level = all;
            self.shards[0].add(Command::Catalog(CatalogCommand::RaiseLevel { to: all }), None);
        }
    }

    /// The cluster's level was raised.
    pub(super) fn on_level(&mut self, out: &mut Vec<Effect>) {
        let level = self.catalog.level();
        match check_level(level, self.config.level) {
            Ok(()) => {
                out.push(Effect::Log(LogLevel::Info, format!("the cluster has protocol level {level}")))
            }
            Err(why) => self.stop(out, why),
        }
    }
}

/// Whether a node that knows `own` may take part in a cluster of this level.
pub(super) fn check_level(level: Level, own: Level) -> Result<(), String> {
    if level <= own {
        return Ok(());
    }
    Err(format!(
        "the cluster has protocol level {level}, and this node knows levels up to {own}: start it with a newer version of Sternpost, or \
         without sternpost.protocol.level.max"
    ))
}

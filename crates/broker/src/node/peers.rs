//! The node among its peers.

use super::Node;
use crate::event::Effect;
use crate::peer::{Link, PeerMessage};
use model::{NodeId, Now};

impl Node {
    pub(super) fn on_peer(
        &mut self,
        _now: Now,
        _from: NodeId,
        _message: PeerMessage,
        _out: &mut Vec<Effect>,
    ) {
    }

    pub(super) fn on_link(&mut self, _now: Now, _peer: NodeId, _link: Link, _out: &mut Vec<Effect>) {}
}

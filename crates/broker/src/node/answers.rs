//! Answers on their way out: at once, or when all their parts are done.

use super::{Node, Timer, admin};
use crate::event::Effect;
use crate::request::{Part, Response, Token};
use model::Mono;

/// An answer whose parts are being done. It says success for all of them already; it leaves when the last is done or has failed.
#[derive(Debug)]
pub(super) struct Gather {
    response: Response,
    /// Parts that are neither.
    open: Vec<u32>,
    deadline: Option<(Mono, u64)>,
}

impl Node {
    pub(super) fn reply(&mut self, token: Token, response: Response, out: &mut Vec<Effect>) {
        let Some(connection) = self.connection_of.remove(&token) else {
            self.on_internal_reply(token, response, out); // or the connection is gone
            return;
        };
        if let Some(tokens) = self.by_connection.get_mut(&connection) {
            tokens.remove(&token);
        }
        out.push(Effect::Reply { token, response });
    }

    /// Waits for these parts of the answer before `response` leaves; leaves at once when there are none. A part's number is its place among
    /// all partitions, topics or resources that the answer speaks of.
    pub(super) fn gather(
        &mut self,
        token: Token,
        response: Response,
        open: Vec<u32>,
        deadline: Option<Mono>,
        out: &mut Vec<Effect>,
    ) {
        if open.is_empty() {
            self.reply(token, response, out);
            return;
        }
        let deadline = deadline.map(|at| self.set_timer(at, Timer::Gather(token)));
        self.gathers.insert(token, Gather { response, open, deadline });
    }

    pub(super) fn gathered(&mut self, part: Part, out: &mut Vec<Effect>) {
        let Some(gather) = self.gathers.get_mut(&part.token) else { return }; // its time was up before
        gather.open.retain(|open| *open != part.number);
        if gather.open.is_empty() {
            let done = self.gathers.remove(&part.token).expect("looked at");
            done.deadline.and_then(|key| self.timers.remove(&key));
            self.reply(part.token, done.response, out);
        }
    }

    /// This part of the answer will never be done: it says `code`. The others go on.
    pub(super) fn part_failed(&mut self, part: Part, code: model::ErrorCode, out: &mut Vec<Effect>) {
        if let Some(gather) = self.gathers.get_mut(&part.token) {
            admin::fail_parts(&mut gather.response, &[part.number], code);
            self.gathered(part, out);
        }
    }

    /// The rest of the answer will not be done in time, or never: what is not done says `code`.
    pub(super) fn abandon(&mut self, token: Token, code: model::ErrorCode, out: &mut Vec<Effect>) {
        if let Some(mut gather) = self.gathers.remove(&token) {
            gather.deadline.and_then(|key| self.timers.remove(&key));
            match &mut gather.response {
                Response::ElectLeaders(response) => self.fail_elections(response, code),
                response => admin::fail_parts(response, &gather.open, code),
            }
            self.reply(token, gather.response, out);
        }
    }
}

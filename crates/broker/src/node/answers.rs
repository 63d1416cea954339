//! Answers on their way out: at once, or when all their parts are done.

use super::{Node, Timer, admin};
use crate::event::Effect;
use crate::request::{Response, Token};
use model::Mono;

/// An answer whose parts are being done. It says success for all of them already; it leaves when the last is done.
#[derive(Debug)]
pub(super) struct Gather {
    response: Response,
    remaining: usize,
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

    /// Waits for `remaining` parts before `response` leaves; leaves at once when there are none.
    pub(super) fn gather(
        &mut self,
        token: Token,
        response: Response,
        remaining: usize,
        deadline: Option<Mono>,
        out: &mut Vec<Effect>,
    ) {
        if remaining == 0 {
            self.reply(token, response, out);
            return;
        }
        let deadline = deadline.map(|at| self.set_timer(at, Timer::Gather(token)));
        self.gathers.insert(token, Gather { response, remaining, deadline });
    }

    pub(super) fn gathered(&mut self, token: Token, out: &mut Vec<Effect>) {
        let Some(gather) = self.gathers.get_mut(&token) else { return }; // its time was up before
        gather.remaining -= 1;
        if gather.remaining == 0 {
            let done = self.gathers.remove(&token).expect("looked at");
            done.deadline.and_then(|key| self.timers.remove(&key));
            self.reply(token, done.response, out);
        }
    }

    /// The rest of the answer will not be done in time, or never: everything in it that said success says `code`.
    pub(super) fn abandon(&mut self, token: Token, code: model::ErrorCode, out: &mut Vec<Effect>) {
        if let Some(mut gather) = self.gathers.remove(&token) {
            gather.deadline.and_then(|key| self.timers.remove(&key));
            match &mut gather.response {
                Response::ElectLeaders(response) => self.fail_elections(response, code),
                response => admin::fail(response, code),
            }
            self.reply(token, gather.response, out);
        }
    }
}

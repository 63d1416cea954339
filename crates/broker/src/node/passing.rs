//! Requests that only the controller can carry out, on their way to it and back. The answer is told to the client when this
//! node's own catalogue contains what was done: a client reads its own writes.

use super::{Node, Timer, admin};
use crate::event::Effect;
use crate::peer::{Passed, PassedAnswer, PassedResult, PeerMessage};
use crate::request::{Request, Response, Token};
use model::{ErrorCode, LogIndex, Mono, NodeId, Now};
use std::collections::BTreeMap;
use std::time::Duration;

/// Requests on their way to the controller; beyond it clients are told to slow down.
const PASSED_MAX: usize = 10_000;
/// How long a change of settings, a block of producer ids or a look at the quorum may take.
const PASSED_TIMEOUT: Duration = Duration::from_secs(30);

/// What is on its way.
#[derive(Default)]
pub(super) struct Passing {
    asked: BTreeMap<u64, Asked>,
    /// Changes that run here for a peer: which, and under what number.
    for_peers: BTreeMap<Token, (NodeId, u64)>,
    /// Answers that wait until the catalogue has come so far.
    ahead: BTreeMap<(LogIndex, Token), Response>,
}

struct Asked {
    controller: NodeId,
    wanted: Wanted,
    deadline: (Mono, u64),
}

enum Wanted {
    /// For a client, with the answer as if all had gone well: its codes are set when something goes wrong.
    Change(Token, Response),
    ProducerIds,
}

impl Node {
    /// Whether changes of the catalogue run here.
    pub(super) fn is_controller(&self) -> bool {
        self.shards[0].serving || self.is_alone()
    }

    /// Passes a request on to the controller.
    pub(super) fn pass_on(&mut self, now: Now, token: Token, request: Request, out: &mut Vec<Effect>) {
        let mut skeleton = self.change_skeleton(&request);
        let refused = match self.controller() {
            _ if self.passing.asked.len() >= PASSED_MAX => Err(ErrorCode::ThrottlingQuotaExceeded),
            None => Err(ErrorCode::NotController),
            Some(controller) => Ok(controller),
        };
        let controller = match refused {
            Ok(controller) => controller,
            Err(code) => {
                admin::fail(&mut skeleton, code);
                self.reply(token, skeleton, out);
                return;
            }
        };
        let (passed, timeout) = match request {
            Request::CreateTopics(request) => (Passed::CreateTopics(request.clone()), request.timeout),
            Request::DeleteTopics(request) => (Passed::DeleteTopics(request.clone()), request.timeout),
            Request::CreatePartitions(request) => {
                (Passed::CreatePartitions(request.clone()), request.timeout)
            }
            Request::AlterConfigs(request) => (Passed::AlterConfigs(request), PASSED_TIMEOUT),
            Request::DescribeQuorum(_) => (Passed::DescribeQuorum, PASSED_TIMEOUT),
            Request::RemoveRaftVoter(request) => (Passed::RemoveRaftVoter(request), PASSED_TIMEOUT),
            other => unreachable!("{} is not for the controller", other.name()),
        };
        self.send_passed(now, controller, Wanted::Change(token, skeleton), passed, timeout, out);
    }

    /// Asks the controller for a block of producer ids. Says whether there is one to ask.
    pub(super) fn pass_for_producer_ids(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        let Some(controller) = self.controller() else { return false };
        self.send_passed(now, controller, Wanted::ProducerIds, Passed::ProducerIds, PASSED_TIMEOUT, out);
        true
    }

    fn send_passed(
        &mut self,
        now: Now,
        controller: NodeId,
        wanted: Wanted,
        passed: Passed,
        timeout: Duration,
        out: &mut Vec<Effect>,
    ) {
        let number = self.next_question();
        let deadline = self.set_timer(now.mono.plus(timeout), Timer::Passed(number));
        self.passing.asked.insert(number, Asked { controller, wanted, deadline });
        out.push(Effect::Send { to: controller, message: PeerMessage::Pass(number, Box::new(passed)) });
    }

    /// The controller did not answer in time.
    pub(super) fn passed_is_due(&mut self, number: u64, out: &mut Vec<Effect>) {
        if let Some(asked) = self.passing.asked.remove(&number) {
            self.fail_passed(asked.wanted, ErrorCode::RequestTimedOut, out);
        }
    }

    /// The way to a node broke: what it was asked may be done or not; clients ask again.
    pub(super) fn give_up_passed(&mut self, controller: NodeId, out: &mut Vec<Effect>) {
        let lost = |asked: &&u64| self.passing.asked[*asked].controller == controller;
        let lost: Vec<u64> = self.passing.asked.keys().filter(lost).copied().collect();
        for number in lost {
            let asked = self.passing.asked.remove(&number).expect("just found");
            self.timers.remove(&asked.deadline);
            self.fail_passed(asked.wanted, ErrorCode::NotController, out);
        }
    }

    fn fail_passed(&mut self, wanted: Wanted, code: ErrorCode, out: &mut Vec<Effect>) {
        match wanted {
            Wanted::Change(token, mut skeleton) => {
                admin::fail(&mut skeleton, code);
                self.reply(token, skeleton, out);
            }
            Wanted::ProducerIds => self.no_producer_ids(out),
        }
    }

    /// The controller's answer.
    pub(super) fn on_pass_answer(
        &mut self,
        from: NodeId,
        number: u64,
        answer: PassedAnswer,
        out: &mut Vec<Effect>,
    ) {
        if self.passing.asked.get(&number).is_none_or(|asked| asked.controller != from) {
            return; // its time was up before
        }
        let asked = self.passing.asked.remove(&number).expect("looked at");
        self.timers.remove(&asked.deadline);
        match (asked.wanted, answer.result) {
            (Wanted::ProducerIds, PassedResult::ProducerIds { first, count }) => {
                self.take_producer_ids(first, count, out);
            }
            (Wanted::Change(token, skeleton), result) => match response_of(result) {
                Some(response) if std::mem::discriminant(&response) == std::mem::discriminant(&skeleton) => {
                    self.passing.ahead.insert((answer.catalog, token), response);
                    self.answer_passed(out);
                }
                _ => self.fail_passed(Wanted::Change(token, skeleton), ErrorCode::NotController, out),
            },
            (wanted, _) => self.fail_passed(wanted, ErrorCode::NotController, out),
        }
    }

    /// Gives out the answers that this node's catalogue has caught up with.
    pub(super) fn answer_passed(&mut self, out: &mut Vec<Effect>) {
        while let Some(entry) = self.passing.ahead.first_entry()
            && entry.key().0 <= self.shards[0].applied()
        {
            let ((_, token), mut response) = entry.remove_entry();
            if let Response::DescribeQuorum(quorum) = &mut response {
                self.add_disks(quorum);
            }
            self.reply(token, response, out);
        }
    }

    // At the controller

    pub(super) fn on_pass(
        &mut self,
        now: Now,
        from: NodeId,
        number: u64,
        passed: Passed,
        out: &mut Vec<Effect>,
    ) {
        if !self.shards[0].serving || self.stopping.is_some() {
            self.answer_pass(from, number, PassedResult::NotController, out);
            return;
        }
        let request = match passed {
            Passed::ProducerIds => return self.want_producer_ids(Some((from, number))),
            Passed::DescribeQuorum => {
                let result = PassedResult::DescribeQuorum(self.quorum(now));
                return self.answer_pass(from, number, result, out);
            }
            Passed::CreateTopics(request) => Request::CreateTopics(request),
            Passed::DeleteTopics(request) => Request::DeleteTopics(request),
            Passed::CreatePartitions(request) => Request::CreatePartitions(request),
            Passed::AlterConfigs(request) => Request::AlterConfigs(request),
            Passed::RemoveRaftVoter(request) => Request::RemoveRaftVoter(request),
        };
        let token = self.internal_token();
        self.passing.for_peers.insert(token, (from, number));
        self.change(now, token, request, out);
    }

    /// A change that ran for a peer is done.
    pub(super) fn on_passed_done(&mut self, token: Token, response: Response, out: &mut Vec<Effect>) {
        let Some((peer, number)) = self.passing.for_peers.remove(&token) else { return };
        let result = match response {
            Response::CreateTopics(response) => PassedResult::CreateTopics(response),
            Response::DeleteTopics(response) => PassedResult::DeleteTopics(response),
            Response::CreatePartitions(response) => PassedResult::CreatePartitions(response),
            Response::AlterConfigs(response) => PassedResult::AlterConfigs(response),
            Response::RemoveRaftVoter(response) => PassedResult::RemoveRaftVoter(response),
            other => unreachable!("{other:?} answers no change of the catalogue"),
        };
        self.answer_pass(peer, number, result, out);
    }

    pub(super) fn answer_pass(&self, to: NodeId, number: u64, result: PassedResult, out: &mut Vec<Effect>) {
        let answer = PassedAnswer { catalog: self.shards[0].applied(), result };
        out.push(Effect::Send { to, message: PeerMessage::Answer(number, Box::new(answer)) });
    }
}

fn response_of(result: PassedResult) -> Option<Response> {
    match result {
        PassedResult::CreateTopics(response) => Some(Response::CreateTopics(response)),
        PassedResult::DeleteTopics(response) => Some(Response::DeleteTopics(response)),
        PassedResult::CreatePartitions(response) => Some(Response::CreatePartitions(response)),
        PassedResult::AlterConfigs(response) => Some(Response::AlterConfigs(response)),
        PassedResult::DescribeQuorum(response) => Some(Response::DescribeQuorum(response)),
        PassedResult::RemoveRaftVoter(response) => Some(Response::RemoveRaftVoter(response)),
        PassedResult::NotController | PassedResult::ProducerIds { .. } => None,
    }
}

//! Changes of the catalogue enter its log one at a time, in the order in which they came: each sees what the one before left. What
//! shards do about a change is not waited for: a node that is away would hold up all that follow.

use super::Node;
use crate::event::Effect;
use crate::request::{DescribeQuorumResponse, Refusal, RemoveRaftVoterResponse, Request, Response, Token};
use model::{ErrorCode, Now};
use std::collections::VecDeque;

/// Changes that may wait; beyond it clients are told to slow down.
const QUEUE_MAX: usize = 10_000;

/// Changes behind the one whose entries are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: VecDeque<(Token, Request)>,
}

impl Node {
    /// Passes a change on to the controller. There it runs once a majority has said that it is the controller still: one that was
    /// voted out and does not know would refuse what the catalogue has had since, or call known what is gone.
    pub(super) fn change(&mut self, now: Now, token: Token, request: Request, out: &mut Vec<Effect>) {
        if !self.is_controller() {
            self.pass_on(now, token, request, out);
        } else if self.is_alone() || self.frozen.is_some() {
            self.change_confirmed(now, token, request, out);
        } else if self.confirming() < QUEUE_MAX {
            self.confirm_change(token, request);
        } else {
            self.run_change_refused(token, request, out);
        }
    }

    /// Runs a change now or behind those that wait.
    pub(super) fn change_confirmed(
        &mut self,
        now: Now,
        token: Token,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_controller() {
            self.refuse_change(token, &request, ErrorCode::NotController, out);
        } else if self.may_change() && self.changes.waiting.is_empty() {
            self.run_change(now, token, request, out);
        } else if self.changes.waiting.len() < QUEUE_MAX {
            self.changes.waiting.push_back((token, request));
        } else {
            self.run_change_refused(token, request, out);
        }
    }

    /// Whether the catalogue is as this controller's proposals left it. One whose answer is overdue may still be on its way.
    fn may_change(&self) -> bool {
        !self.shards[0].has_proposals()
    }

    /// Runs what waits, as far as nothing is under way.
    pub(super) fn run_changes(&mut self, now: Now, out: &mut Vec<Effect>) {
        while self.may_change()
            && let Some((token, request)) = self.changes.waiting.pop_front()
        {
            self.run_change(now, token, request, out);
        }
    }

    fn run_change(&mut self, now: Now, token: Token, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::CreateTopics(request) => self.create_topics(now, token, request, out),
            Request::DeleteTopics(request) => self.delete_topics(now, token, request, out),
            Request::CreatePartitions(request) => self.create_partitions(now, token, request, out),
            Request::AlterConfigs(request) => self.alter_configs(now, token, request, out),
            Request::RemoveRaftVoter(request) => self.replace_disk(now, token, &request, out),
            other => unreachable!("{} is no change of the catalogue", other.name()),
        }
    }

    fn run_change_refused(&mut self, token: Token, request: Request, out: &mut Vec<Effect>) {
        self.refuse_change(token, &request, ErrorCode::ThrottlingQuotaExceeded, out);
    }

    fn refuse_change(&mut self, token: Token, request: &Request, code: ErrorCode, out: &mut Vec<Effect>) {
        let mut response = self.change_skeleton(request);
        fail(&mut response, code);
        self.reply(token, response, out);
    }

    /// The answer to a request that the controller carries out as if all of it had gone well.
    pub(super) fn change_skeleton(&self, request: &Request) -> Response {
        match request {
            Request::CreateTopics(request) => self.created_skeleton(request),
            Request::DeleteTopics(request) => self.deleted_skeleton(request),
            Request::CreatePartitions(request) => Self::partitions_skeleton(request),
            Request::AlterConfigs(request) => Self::altered_skeleton(request),
            Request::DescribeQuorum(_) => Response::DescribeQuorum(DescribeQuorumResponse::default()),
            Request::RemoveRaftVoter(_) => {
                Response::RemoveRaftVoter(RemoveRaftVoterResponse { refusal: Refusal::OK })
            }
            other => unreachable!("{} is not for the controller", other.name()),
        }
    }

    /// This node is not the controller any more: what runs may be done or not, what waits is not begun.
    pub(super) fn give_up_changes(&mut self, out: &mut Vec<Effect>) {
        let waiting = std::mem::take(&mut self.changes.waiting);
        for (token, request) in waiting {
            self.refuse_change(token, &request, ErrorCode::NotController, out);
        }
        self.give_up_driving(out);
        self.give_up_producer_ids(out);
    }
}

/// Everything in the answer that said success says `code` instead.
pub(super) fn fail(response: &mut Response, code: ErrorCode) {
    fail_where(response, code, |_| true);
}

/// The same for these parts only.
pub(super) fn fail_parts(response: &mut Response, parts: &[u32], code: ErrorCode) {
    fail_where(response, code, |number| parts.contains(&number));
}

fn fail_where(response: &mut Response, code: ErrorCode, fails: impl Fn(u32) -> bool) {
    let mut number = 0..;
    let mut is_due = || fails(number.next().expect("endless"));
    let mut set = |slot: &mut ErrorCode| {
        if is_due() && slot.is_none() {
            *slot = code;
        }
    };
    match response {
        Response::Produce(response) => {
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                set(&mut partition.refusal.code);
                if !partition.refusal.is_ok() {
                    partition.base_offset = -1;
                }
            }
        }
        Response::DeleteRecords(response) => {
            for (_, log_start, error) in response.topics.iter_mut().flat_map(|(_, results)| results) {
                set(error);
                if !error.is_none() {
                    *log_start = -1;
                }
            }
        }
        Response::CreateTopics(response) => {
            response.topics.iter_mut().for_each(|topic| set(&mut topic.refusal.code));
        }
        Response::DeleteTopics(response) => {
            response.topics.iter_mut().for_each(|topic| set(&mut topic.refusal.code));
        }
        Response::CreatePartitions(response) => {
            response.topics.iter_mut().for_each(|(_, refusal)| set(&mut refusal.code));
        }
        Response::AlterConfigs(response) => {
            response.resources.iter_mut().for_each(|(_, refusal)| set(&mut refusal.code));
        }
        Response::DescribeQuorum(response) => set(&mut response.error),
        Response::RemoveRaftVoter(response) => set(&mut response.refusal.code),
        Response::InitProducerId(response) => {
            set(&mut response.error);
            response.producer_id = -1;
            response.producer_epoch = -1;
        }
        other => unreachable!("{other:?} is never gathered"),
    }
}

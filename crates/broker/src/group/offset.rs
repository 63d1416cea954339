//! OffsetCommit, OffsetDelete and OffsetFetch. A commit is judged by the group as it is now and takes its place in the log behind
//! everything proposed before; a fetch reads what is applied, so it sees every commit that was acknowledged.

use super::classic::{Group, Phase};
use super::command::{CommittedOffset, GroupCommand, split};
use super::flight::Waiter;
use super::refusal;
use super::subscription;
use super::table::{GroupTable, Offsets, growth};
use super::turn::Turn;
use crate::request::{
    FetchedGroup, FetchedOffset, OffsetCommit, OffsetCommitResponse, OffsetDelete, OffsetDeleteResponse,
    OffsetFetchGroup, OffsetToCommit, Response, TopicRef,
};
use model::ErrorCode;

/// What a commit meets.
pub(super) struct Stored<'a> {
    /// The group's positions applied so far.
    pub offsets: Option<&'a Offsets>,
    /// Bytes by which those of all groups may grow.
    pub room: usize,
}

impl Stored<'_> {
    /// Takes the room for a position, or says what is wrong with it: the text, if it would fit without, or that it is one more.
    fn take_room(&mut self, topic: &str, position: &OffsetToCommit) -> ErrorCode {
        let text = position.metadata.as_ref().map_or(0, String::len);
        let bytes = growth(self.offsets, topic, position.index, text);
        if bytes <= self.room {
            self.room -= bytes;
            ErrorCode::None
        } else if growth(self.offsets, topic, position.index, 0) <= self.room {
            ErrorCode::OffsetMetadataTooLarge
        } else {
            ErrorCode::InvalidCommitOffsetSize
        }
    }
}

impl Group {
    /// Remembers positions.
    pub(super) fn on_commit(
        &mut self,
        turn: &mut Turn<'_>,
        waiter: Waiter,
        request: OffsetCommit,
        mut stored: Stored<'_>,
    ) {
        if let Err(error) = self.check_commit(turn, &request) {
            return turn.reply(waiter, Response::OffsetCommit(refusal::commit(request, error)));
        }
        if !self.members.is_empty() {
            self.heard(turn, &request.member_id);
        }
        if !fits(stored.offsets, &request, turn.config.group_offsets_max) {
            let error = ErrorCode::InvalidCommitOffsetSize;
            return turn.reply(waiter, Response::OffsetCommit(refusal::commit(request, error)));
        }
        let room = stored.room;
        let mut is_full = false;
        let mut offsets = Vec::new();
        let mut answers = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in request.topics {
            let mut accepted = Vec::new();
            let mut codes = Vec::with_capacity(partitions.len());
            for partition in partitions {
                let code = match &topic {
                    TopicRef::Id(_) => ErrorCode::UnknownTopicId,
                    TopicRef::Name(_) if is_too_large(&partition, turn.config.offset_metadata_bytes_max) => {
                        ErrorCode::OffsetMetadataTooLarge
                    }
                    TopicRef::Name(name) => {
                        let code = stored.take_room(name, &partition);
                        is_full |= !code.is_none();
                        code
                    }
                };
                codes.push((partition.index, code));
                if code.is_none() {
                    let offset = CommittedOffset {
                        offset: partition.offset,
                        leader_epoch: partition.leader_epoch,
                        metadata: partition.metadata.unwrap_or_default(),
                        at: turn.now.wall,
                    };
                    accepted.push((partition.index, offset));
                }
            }
            if let TopicRef::Name(name) = &topic
                && !accepted.is_empty()
            {
                offsets.push((name.clone(), accepted));
            }
            answers.push((topic, codes));
        }
        let response = Response::OffsetCommit(OffsetCommitResponse { topics: answers });
        if is_full {
            turn.report_full();
        }
        if offsets.is_empty() {
            return turn.reply(waiter, response);
        }
        let mut newest = None;
        for offsets in split(offsets, |(_, offset)| 32 + offset.metadata.len()) {
            let group = turn.name.to_owned();
            let ticket = turn.propose(GroupCommand::OffsetsCommitted { group, at: turn.now.wall, offsets });
            newest = Some(ticket);
        }
        newest.into_iter().for_each(|ticket| turn.desk.flights.weigh(ticket, room - stored.room));
        turn.answer(waiter, response);
    }

    /// Forgets positions. A group with members must be one of consumers, whose subscriptions can be looked at; when they
    /// cannot be read, every topic may be in use.
    pub(super) fn on_delete_offsets(&mut self, turn: &mut Turn<'_>, waiter: Waiter, request: OffsetDelete) {
        let is_of_consumers = subscription::is_of_consumers(self);
        if self.phase != Phase::Empty && !is_of_consumers {
            let error = ErrorCode::NonEmptyGroup;
            let response = OffsetDeleteResponse { error, topics: Vec::new() };
            return turn.reply(waiter, Response::OffsetDelete(response));
        }
        let subscribed = subscription::topics(self);
        let mut removed = Vec::new();
        let mut answers = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in request.topics {
            let code = match &topic {
                TopicRef::Id(_) => ErrorCode::UnknownTopicId,
                TopicRef::Name(name) => match &subscribed {
                    Some(topics) if !topics.contains(name) => ErrorCode::None,
                    None if !is_of_consumers => ErrorCode::None,
                    _ => ErrorCode::GroupSubscribedToTopic,
                },
            };
            answers.push((topic.clone(), partitions.iter().map(|index| (*index, code)).collect()));
            if let TopicRef::Name(name) = topic
                && code.is_none()
            {
                removed.push((name, partitions));
            }
        }
        for partitions in split(removed, |_| 5) {
            turn.propose(GroupCommand::OffsetsRemoved { group: turn.name.to_owned(), partitions });
        }
        let response = OffsetDeleteResponse { error: ErrorCode::None, topics: answers };
        turn.answer(waiter, Response::OffsetDelete(response));
    }

    fn check_commit(&self, turn: &Turn<'_>, request: &OffsetCommit) -> Result<(), ErrorCode> {
        let is_member_request =
            request.generation >= 0 || !request.member_id.is_empty() || request.instance_id.is_some();
        if request.generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        if !is_member_request {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(turn, request.generation)?;
        if self.phase == Phase::Completing { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }
}

/// Kafka counts the text in UTF-16 units.
fn is_too_large(partition: &OffsetToCommit, max: usize) -> bool {
    let Some(text) = &partition.metadata else { return false };
    text.len() > max && text.encode_utf16().count() > max
}

fn fits(stored: Option<&Offsets>, request: &OffsetCommit, max: usize) -> bool {
    let asked: usize = request.topics.iter().map(|(_, partitions)| partitions.len()).sum();
    let Some(stored) = stored else { return asked <= max };
    let before: usize = stored.values().map(|partitions| partitions.len()).sum();
    if before + asked <= max {
        return true;
    }
    let is_known = |topic: &TopicRef, index: i32| match topic {
        TopicRef::Name(name) => stored.get(name).is_some_and(|partitions| partitions.contains_key(&index)),
        TopicRef::Id(_) => true,
    };
    let fresh =
        request.topics.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic, p)));
    before + fresh.filter(|(topic, partition)| !is_known(topic, partition.index)).count() <= max
}

/// Positions of one group; -1 where it has none, also when nobody knows the group.
pub(super) fn fetch(table: &GroupTable, asked: OffsetFetchGroup) -> FetchedGroup {
    let stored = table.groups.get(&asked.group);
    let topics = match asked.topics {
        None => stored.map(|stored| all(&stored.offsets)).unwrap_or_default(),
        Some(topics) => topics
            .into_iter()
            .map(|(topic, indexes)| {
                let found = indexes.into_iter().map(|index| match &topic {
                    TopicRef::Name(name) => fetched(index, table.offset(&asked.group, name, index)),
                    TopicRef::Id(_) => {
                        FetchedOffset { error: ErrorCode::UnknownTopicId, ..fetched(index, None) }
                    }
                });
                let found = found.collect();
                (topic, found)
            })
            .collect(),
    };
    FetchedGroup { group: asked.group, error: ErrorCode::None, topics }
}

fn all(offsets: &Offsets) -> Vec<(TopicRef, Vec<FetchedOffset>)> {
    let topics = offsets.iter().map(|(topic, partitions)| {
        let found = partitions.iter().map(|(index, offset)| fetched(*index, Some(offset)));
        (TopicRef::Name(topic.clone()), found.collect())
    });
    topics.collect()
}

fn fetched(index: i32, offset: Option<&CommittedOffset>) -> FetchedOffset {
    FetchedOffset {
        index,
        offset: offset.map_or(-1, |offset| offset.offset),
        leader_epoch: offset.map_or(-1, |offset| offset.leader_epoch),
        metadata: Some(offset.map(|offset| offset.metadata.clone()).unwrap_or_default()),
        error: ErrorCode::None,
    }
}

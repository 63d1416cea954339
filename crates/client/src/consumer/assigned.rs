//! A consumer of partitions that the caller names. A supervisor keeps one fetcher for each leader and moves partitions
//! when leaders move; all fetchers feed one short queue.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka::wire::Str;
use model::ErrorCode;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::fetcher::{self, Fetched, GivenBack, is_out_of_range};
use super::{FetchConfig, Reset};
use crate::admin::OffsetAt;
use crate::backoff::Backoff;
use crate::{Address, Client, Error, TopicPartition};

/// Answers of partitions that wait for the reader.
const FETCHED_QUEUED_MAX: usize = 16;

/// A consumer of named partitions.
#[derive(Debug)]
pub struct Assigned {
    queue: mpsc::Receiver<Result<Fetched, Error>>,
    supervisor: JoinHandle<()>,
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Assigned {
    /// Starts reading each partition at its offset. Call [`Client::topic`] for their topics first.
    pub fn start(client: &Client, positions: BTreeMap<TopicPartition, i64>, config: FetchConfig) -> Assigned {
        let (sender, queue) = mpsc::channel(FETCHED_QUEUED_MAX);
        let supervisor = tokio::spawn(supervise(client.clone(), positions, config, sender));
        Assigned { queue, supervisor }
    }

    /// What came next, from any of the partitions. After an error nothing more comes.
    pub async fn next(&mut self) -> Option<Result<Fetched, Error>> {
        self.queue.recv().await
    }
}

async fn supervise(
    client: Client,
    positions: BTreeMap<TopicPartition, i64>,
    config: FetchConfig,
    queue: mpsc::Sender<Result<Fetched, Error>>,
) {
    let mut homeless = positions;
    let mut fetchers: JoinSet<Option<GivenBack>> = JoinSet::new();
    let mut backoff = Backoff::default();
    // Since when nothing has been fetched.
    let mut failing: Option<Instant> = None;
    loop {
        let mut by_leader: BTreeMap<Address, BTreeMap<TopicPartition, i64>> = BTreeMap::new();
        let mut last_error = None;
        for (at, position) in std::mem::take(&mut homeless) {
            match client.leader(&at) {
                Ok(leader) => {
                    by_leader.entry(leader).or_default().insert(at, position);
                }
                Err(error) => {
                    last_error = Some(error);
                    homeless.insert(at, position);
                }
            }
        }
        for (leader, positions) in by_leader {
            fetchers.spawn(fetcher::run(client.clone(), leader, positions, config, queue.clone()));
        }
        if homeless.is_empty() {
            let begun = Instant::now();
            let given_back = match fetchers.join_next().await {
                Some(Ok(Some(given_back))) => given_back,
                // Nobody reads any more.
                _ => return,
            };
            if begun.elapsed() > client.config().request_timeout {
                failing = None;
                backoff = Backoff::default();
            }
            match settle(&client, given_back, config.reset).await {
                Ok((positions, error)) => {
                    homeless = positions;
                    last_error = error;
                }
                Err(error) => return drop(queue.send(Err(error)).await),
            }
        }
        if let Some(error) = last_error {
            let since = *failing.get_or_insert_with(Instant::now);
            if since.elapsed() > client.config().operation_timeout {
                return drop(queue.send(Err(error)).await);
            }
            backoff.pause().await;
        }
        let mut topics: Vec<Str> = homeless.keys().map(|at| at.topic.clone()).collect();
        topics.dedup();
        // A failed refresh leaves the old leaders: the next try tells.
        drop(client.refresh(&topics, false).await);
    }
}

/// What to do with partitions that came back: positions to go on from, or the error that ends it.
async fn settle(
    client: &Client,
    given_back: GivenBack,
    reset: Reset,
) -> Result<(BTreeMap<TopicPartition, i64>, Option<Error>), Error> {
    let GivenBack { mut positions, errors } = given_back;
    let mut last_error = None;
    for (at, error) in errors {
        if is_out_of_range(&error) {
            let wanted = match reset {
                Reset::Earliest => OffsetAt::Earliest,
                Reset::Latest => OffsetAt::Latest,
                Reset::None => return Err(error),
            };
            let found = client.list_offsets(&[(at.clone(), wanted)]).await?;
            positions.insert(at.clone(), found.get(&at).map_or(0, |listed| listed.offset));
        } else if error.is_retriable() || error.code() == Some(ErrorCode::UnknownTopicOrPartition) {
            last_error = Some(error);
        } else {
            return Err(error);
        }
    }
    Ok((positions, last_error))
}

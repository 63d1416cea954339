//! A random world: two replicas, one log, clients that come, go, crash and change their minds, leaders that change,
//! proposals that are late or dropped. `judge` watches; at the end, after quiet, every group must be at rest.

use super::client::{Client, State};
use super::judge::{Commit, Judge};
use crate::group::{
    Coordinator, GroupCommand, GroupConfig, GroupEffect, GroupMutant, GroupTable, StoredPhase, Ticket,
};
use crate::request::*;
use model::{Mono, Now, WallMs};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const STEPS: u32 = 2500;
const QUIET: Duration = Duration::from_secs(240);
const GROUPS: [&str; 2] = ["a", "b"];
const MILLISECOND: Duration = Duration::from_millis(1);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

enum Asked {
    Join,
    Sync { generation: i32 },
    Commit(Commit),
    Other,
}

struct Proposal {
    ticket: Ticket,
    command: GroupCommand,
    applied_at: Mono,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counters {
    leader_changes: u64,
    lost_with_the_leader: u64,
    snapshots: u64,
    drops: u64,
    crashes: u64,
    leaves: u64,
    late_commits: u64,
    static_returns: u64,
    commits_acked: u64,
    commits_refused: u64,
    assignments_told: u64,
    log: u64,
}

struct Model {
    random: Random,
    now: Now,
    replicas: [Coordinator; 2],
    applied: [usize; 2],
    leader: usize,
    log: Vec<GroupCommand>,
    proposals: VecDeque<Proposal>,
    clients: Vec<Client>,
    asked: BTreeMap<Token, (usize, Asked)>,
    tokens: u64,
    offsets: i64,
    is_quiet: bool,
    judge: Judge,
    counters: Counters,
}

impl Model {
    fn new(seed: u64, mutant: Option<GroupMutant>) -> Model {
        let config = GroupConfig {
            initial_rebalance_delay: Duration::from_secs(1),
            new_member_join_timeout: Duration::from_secs(60),
            offsets_retention_check_interval: Duration::from_secs(1_000_000),
            mutant,
            ..Default::default()
        };
        let mut model = Model {
            random: Random(seed),
            now: Now { mono: Mono(1), wall: WallMs(1) },
            replicas: [Coordinator::new(config.clone(), seed), Coordinator::new(config, seed)],
            applied: [0, 0],
            leader: 0,
            log: Vec::new(),
            proposals: VecDeque::new(),
            clients: Vec::new(),
            asked: BTreeMap::new(),
            tokens: 0,
            offsets: 0,
            is_quiet: false,
            judge: Judge::default(),
            counters: Counters::default(),
        };
        model.replicas[0].become_leader(model.now);
        for group in GROUPS {
            for index in 0..1 + model.random.below(4) {
                let instance = (index % 2 == 1).then(|| format!("{group}{index}"));
                model.clients.push(Client::new(group, instance, Mono(1)));
            }
        }
        model
    }

    fn run(mut self) -> Result<Counters, String> {
        for _ in 0..STEPS {
            self.step()?;
            self.disturb()?;
        }
        self.is_quiet = true;
        let end = self.now.mono.plus(QUIET);
        while self.now.mono < end {
            self.step()?;
        }
        self.check_rest()?;
        self.counters.commits_acked = self.judge.commits_acked;
        self.counters.commits_refused = self.judge.commits_refused;
        self.counters.assignments_told = self.judge.assignments_told;
        self.counters.log = self.log.len() as u64;
        Ok(self.counters)
    }

    fn step(&mut self) -> Result<(), String> {
        let pause = self.random.below(150) as u32;
        self.now.mono = self.now.mono.plus(MILLISECOND * pause);
        self.now.wall.0 += i64::from(pause);
        while self.proposals.front().is_some_and(|first| first.applied_at <= self.now.mono) {
            self.apply_first()?;
        }
        let leader = &mut self.replicas[self.leader];
        if leader.next_deadline().is_some_and(|at| at <= self.now.mono) {
            let mut out = Vec::new();
            leader.on_timer(self.now, &mut out);
            self.take(out)?;
            let next = self.replicas[self.leader].next_deadline();
            assert!(next.is_none_or(|at| at > self.now.mono), "nothing due is left");
        }
        for index in 0..self.clients.len() {
            if !self.clients[index].is_busy && self.clients[index].acts_at <= self.now.mono {
                self.act(index)?;
            }
        }
        self.read()
    }

    fn apply_first(&mut self) -> Result<(), String> {
        let Some(first) = self.proposals.pop_front() else { return Ok(()) };
        self.log.push(first.command.clone());
        self.replicas[self.leader].apply(&first.command);
        self.applied[self.leader] = self.log.len();
        let mut out = Vec::new();
        self.replicas[self.leader].on_applied(self.now, first.ticket, &mut out);
        self.take(out)
    }

    fn act(&mut self, index: usize) -> Result<(), String> {
        let pause = MILLISECOND * (100 + self.random.below(1500) as u32);
        let session = Duration::from_millis(6000 + self.random.below(6000));
        let rebalance = Duration::from_millis(4000 + self.random.below(8000));
        let asks_id = !self.random.one_in(5);
        let client = &mut self.clients[index];
        client.acts_at = self.now.mono.plus(pause);
        let (request, asked) = match client.state {
            State::Dead => return Ok(()),
            State::Out => (client.join(session, rebalance, asks_id), Asked::Join),
            State::Joined => (client.sync(self.random.next()), Asked::Sync { generation: client.generation }),
            State::Member if self.random.one_in(3) => return self.commit(index),
            State::Member if !self.is_quiet && self.random.one_in(20) && !client.roster.is_empty() => {
                (client.sync(self.random.next()), Asked::Sync { generation: client.generation })
            }
            State::Member => (client.heartbeat(), Asked::Other),
        };
        client.is_busy = true;
        self.send(index, request, asked)
    }

    fn commit(&mut self, index: usize) -> Result<(), String> {
        self.offsets += 1;
        let client = &mut self.clients[index];
        client.is_busy = true;
        let synced_before = self.judge.synced(&client.group);
        let commit = Commit { offset: self.offsets, generation: client.generation, synced_before };
        let request = client.commit(self.offsets);
        self.send(index, request, Asked::Commit(commit))
    }

    fn send(&mut self, index: usize, request: Request, asked: Asked) -> Result<(), String> {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.asked.insert(token, (index, asked));
        let replica = if self.is_quiet || !self.random.one_in(50) { self.leader } else { 1 - self.leader };
        let client = ClientInfo { client_id: format!("c{index}"), host: "h".into() };
        let asker = Asker { token, connection: ConnectionId(index as u64), client: &client };
        let mut out = Vec::new();
        self.replicas[replica].on_request(self.now, asker, request, &mut out);
        self.take(out)
    }

    fn take(&mut self, out: Vec<GroupEffect>) -> Result<(), String> {
        for effect in out {
            match effect {
                GroupEffect::Log(..) => {}
                GroupEffect::Propose { ticket, command } => {
                    let late = if self.random.one_in(8) { 3000 } else { 60 };
                    let applied_at = self.now.mono.plus(MILLISECOND * self.random.below(late) as u32);
                    self.proposals.push_back(Proposal { ticket, command, applied_at });
                }
                GroupEffect::Reply(token, response) => {
                    let (index, asked) = self.asked.remove(&token).ok_or("an answer without a question")?;
                    self.hear(index, &asked, &response)?;
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, index: usize, asked: &Asked, response: &Response) -> Result<(), String> {
        let client = &mut self.clients[index];
        match (asked, response) {
            (Asked::Join, Response::JoinGroup(answer)) => self.judge.on_join(&client.group, answer)?,
            (Asked::Sync { generation }, Response::SyncGroup(answer)) => {
                self.judge.on_sync(&client.group, *generation, client.identity(), answer)?;
            }
            (Asked::Commit(commit), Response::OffsetCommit(answer)) => {
                self.judge.on_commit(&client.group, *commit, answer)?;
            }
            _ => {}
        }
        client.on_reply(response)?;
        if client.state == State::Joined {
            client.acts_at = self.now.mono;
        }
        Ok(())
    }

    /// Reads the offsets of a group from the leader.
    fn read(&mut self) -> Result<(), String> {
        for group in GROUPS {
            let stored = self.replicas[self.leader].table().offset(group, "t", 0);
            self.judge.on_read(group, stored.map_or(-1, |offset| offset.offset).max(0))?;
        }
        Ok(())
    }

    fn disturb(&mut self) -> Result<(), String> {
        if self.random.one_in(250) {
            self.change_leader()?;
        }
        if self.random.one_in(120) && !self.proposals.is_empty() {
            self.drop_proposals()?;
        }
        let index = self.random.below(self.clients.len() as u64) as usize;
        let group = self.clients[index].group.clone();
        match self.random.below(400) {
            0..2 => self.crash(index),
            2 if self.clients[index].state == State::Member && !self.clients[index].is_busy => {
                self.counters.leaves += 1;
                self.clients[index].is_busy = true;
                let request = self.clients[index].leave();
                self.send(index, request, Asked::Other)?;
            }
            3 if self.clients[index].state == State::Member => {
                self.clients[index].metadata = self.clients[index].metadata.wrapping_add(1);
                self.clients[index].state = State::Out;
            }
            4 if self.clients.iter().filter(|c| c.group == group && c.state != State::Dead).count() < 5 => {
                self.clients.push(Client::new(&group, None, self.now.mono));
            }
            5..15 if self.clients[index].state == State::Dead && !self.clients[index].is_busy => {
                self.counters.late_commits += 1;
                self.commit(index)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A client dies in the middle of what it does. A static one comes back under its name, sometimes while the old
    /// one is still taken for alive.
    fn crash(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.state == State::Dead {
            return;
        }
        self.counters.crashes += 1;
        client.state = State::Dead;
        let (group, instance) = (client.group.clone(), client.instance.clone());
        if !self.random.one_in(4) {
            self.counters.static_returns += u64::from(instance.is_some());
            let back = self.now.mono.plus(MILLISECOND * self.random.below(9000) as u32);
            self.clients.push(Client::new(&group, instance, back));
        }
    }

    /// The leader refuses proposals: the first alone, or all that are under way.
    fn drop_proposals(&mut self) -> Result<(), String> {
        let all = self.random.one_in(2);
        while let Some(first) = self.proposals.pop_front() {
            self.counters.drops += 1;
            let mut out = Vec::new();
            self.replicas[self.leader].on_dropped(self.now, first.ticket, &mut out);
            self.take(out)?;
            if !all {
                break;
            }
        }
        Ok(())
    }

    /// The leader falls; some of its proposals made it into the log. The other replica takes over, by the log or by a
    /// snapshot and the rest of the log.
    fn change_leader(&mut self) -> Result<(), String> {
        self.counters.leader_changes += 1;
        let kept = self.random.below(self.proposals.len() as u64 + 1) as usize;
        let proposals: Vec<Proposal> = self.proposals.drain(..).collect();
        self.counters.lost_with_the_leader += (proposals.len() - kept) as u64;
        let old = self.leader;
        let snapshot = (self.replicas[old].snapshot(), self.log.len());
        self.log.extend(proposals.into_iter().take(kept).map(|proposal| proposal.command));
        let mut out = Vec::new();
        self.replicas[old].resign(&mut out);
        assert_eq!(self.replicas[old].waiting_count(), 0, "nobody waits for a follower");
        self.leader = 1 - old;
        if self.random.one_in(2) {
            self.counters.snapshots += 1;
            let bytes = postcard::to_stdvec(&snapshot.0).map_err(|e| e.to_string())?;
            let table: GroupTable = postcard::from_bytes(&bytes).map_err(|e| e.to_string())?;
            self.replicas[self.leader].restore(table);
            self.applied[self.leader] = snapshot.1;
        }
        for replica in 0..2 {
            for command in &self.log[self.applied[replica]..] {
                self.replicas[replica].apply(command);
            }
            self.applied[replica] = self.log.len();
        }
        let (mut replayed, mut replayed_bytes) = (GroupTable::default(), 0);
        self.log.iter().for_each(|command| replayed.apply(command, &mut replayed_bytes));
        if replayed_bytes != replayed.positions_bytes() {
            return Err("the bytes of positions are counted wrongly".into());
        }
        for replica in &self.replicas {
            if replica.table() != &replayed {
                return Err("a replica differs from its log".into());
            }
        }
        self.replicas[self.leader].become_leader(self.now);
        self.take(out)
    }

    /// After quiet: every group is stable, of exactly the clients that live, and the log says the same.
    fn check_rest(&mut self) -> Result<(), String> {
        for group in GROUPS {
            let alive: Vec<&Client> =
                self.clients.iter().filter(|c| c.group == group && c.state != State::Dead).collect();
            let stored = self.replicas[self.leader].table().groups.get(group);
            let membership = stored.and_then(|stored| stored.membership.as_ref());
            let Some(membership) = membership else {
                if alive.is_empty() {
                    continue;
                }
                return Err(format!("{group}: nothing in the log"));
            };
            let mut ids: Vec<&str> = alive.iter().map(|client| client.id.as_str()).collect();
            ids.sort_unstable();
            let known: Vec<&str> = membership.members.iter().map(|member| member.id.as_str()).collect();
            if known != ids {
                return Err(format!("{group}: members {known:?}, alive {ids:?}"));
            }
            if ids.is_empty() {
                continue;
            }
            if membership.phase != StoredPhase::Stable {
                return Err(format!("{group}: not stable but {:?}", membership.phase));
            }
            for client in alive {
                if client.state != State::Member || client.generation != membership.generation {
                    return Err(format!("{group}: {client:?} in generation {}", membership.generation));
                }
            }
        }
        Ok(())
    }
}

fn run(seed: u64, mutant: Option<GroupMutant>) -> Result<Counters, String> {
    Model::new(seed, mutant).run()
}

#[test]
fn random_histories_keep_every_promise() {
    let mut total = Counters::default();
    for seed in 0..60 {
        let counters = run(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        total.leader_changes += counters.leader_changes;
        total.lost_with_the_leader += counters.lost_with_the_leader;
        total.snapshots += counters.snapshots;
        total.drops += counters.drops;
        total.crashes += counters.crashes;
        total.leaves += counters.leaves;
        total.late_commits += counters.late_commits;
        total.static_returns += counters.static_returns;
        total.commits_acked += counters.commits_acked;
        total.commits_refused += counters.commits_refused;
        total.assignments_told += counters.assignments_told;
        total.log += counters.log;
    }
    println!("{total:?}");
    for (name, count, least) in [
        ("leader changes", total.leader_changes, 100),
        ("proposals lost with the leader", total.lost_with_the_leader, 20),
        ("snapshots", total.snapshots, 50),
        ("drops", total.drops, 50),
        ("crashes", total.crashes, 100),
        ("leaves", total.leaves, 20),
        ("late commits", total.late_commits, 50),
        ("static members that came back", total.static_returns, 20),
        ("commits acknowledged", total.commits_acked, 5_000),
        ("commits refused", total.commits_refused, 500),
        ("assignments", total.assignments_told, 1_000),
    ] {
        assert!(count >= least, "only {count} {name}: the histories prove little");
    }
}

#[test]
fn one_seed_gives_one_history() {
    assert_eq!(run(7, None), run(7, None));
}

#[test]
fn every_mutant_is_noticed() {
    for mutant in GroupMutant::ALL {
        let noticed = (0..40).find_map(|seed| {
            let outcome = std::panic::catch_unwind(|| run(seed, Some(*mutant)));
            match outcome {
                Ok(Ok(_)) => None,
                Ok(Err(broken)) => Some((seed, broken)),
                Err(_) => Some((seed, "a broken invariant".to_owned())),
            }
        });
        let Some((seed, broken)) = noticed else { panic!("{mutant:?} was not noticed") };
        println!("{mutant:?}: seed {seed}: {broken}");
    }
}

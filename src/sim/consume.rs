//! A consumer: the core without its driver, and a user who takes records out of its hand.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    answers,
    book::{Book, GROUP, Tenure},
    client::SimClient,
    user::{Taken, User, record},
    world::{PARTITIONS, TOPIC, World},
};
use crate::{
    engine::{
        assign::{CooperativeStickyAssignor, RangeAssignor},
        backoff::{Backoff, Random},
        commit::{self, Ticket},
        consumer::{
            core::Core,
            settings::{CoreSettings, GroupProtocol, MembershipSettings, OutOfRange, Source, Truncated},
            types::{Change, Event},
        },
        coordinator, fetch,
        fetch::Buffered,
        group::GroupSettings,
        hand::Hand,
        machine::{Call, Now, Outbox, earlier},
        position,
    },
    message::{Desk, Message},
    sync::wake::Wake,
    types::{Offset, OffsetAndMetadata, Position, TopicName, TopicPartition},
    wire::{
        calls::Request,
        messages::{FetchRequest, OffsetCommitRequest},
        str::Str,
    },
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest session and rebalance timeouts that a member is given.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// No answer holds more than this for one partition but for a first batch, which is smaller.
const PARTITION_BYTES: usize = 4 << 10;
/// Time moves in steps.
const SLACK: Duration = Duration::from_millis(1);

/// How a group gives partitions from one member to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the classic protocol: everybody gives everything up.
    Eager,
    /// By the classic protocol: who has to give something up does.
    Cooperative,
    /// By the consumer protocol.
    Consumer,
}

/// What a consumer is for.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Reads chosen partitions.
    Reader(Vec<(i32, Position)>),
    /// A member of the group, with a name that survives it or without.
    Member { instance: Option<u64>, way: Way },
}

/// A consumer and its user.
pub(super) struct Consumer {
    kind: Kind,
    name: u64,
    /// Whether the user acknowledges what it is done with.
    acknowledges: bool,
    core: Core,
    hand: Arc<Hand>,
    buffered: Arc<Buffered>,
    limit: usize,
    wake: Arc<Wake>,
    random: Random,
    user: User,
    book: Rc<RefCell<Book>>,
    /// The offset that must be handed out next, where the position is known.
    next: BTreeMap<TopicPartition, Option<i64>>,
    /// How often each partition was assigned.
    tenures: BTreeMap<TopicPartition, u64>,
    /// In which tenure each partition was first committed under a member id and generation.
    members: BTreeMap<(TopicPartition, String, i32), u64>,
    /// The tenures that ended without the user's consent, as far as it was told.
    lost: BTreeSet<(TopicPartition, u64)>,
    /// What the user has asked for, and when it must be answered.
    asked: BTreeMap<Ticket, Instant>,
    /// Changes that the listener works on, and until when.
    listener: VecDeque<(Instant, u64)>,
    closing: Option<Instant>,
    is_closed: bool,
    /// Whether nothing is to hinder the reading any more.
    is_calm: bool,
}

impl Consumer {
    pub(super) fn new(world: &mut World, kind: Kind, name: u64, book: Rc<RefCell<Book>>) -> Self {
        let mut random = Random::new(world.random.next_u64());
        let wake = Arc::new(Wake::default());
        let acknowledges = matches!(kind, Kind::Member { .. }) && random.below(3) == 0;
        let desk = acknowledges.then(|| Desk::new(Arc::clone(&wake)));
        let hand = Arc::new(Hand::new(Arc::clone(&wake), 1 << 20, desk, Arc::default()));
        let limit = PARTITION_BYTES << random.below(4);
        let buffered = Buffered::new(limit, Arc::clone(&wake));
        let settings = settings(&kind, acknowledges, &mut random);
        let seed = Random::new(random.next_u64());
        let user = User::new(world.now, Arc::clone(&hand), acknowledges, seed);
        let seed = Random::new(random.next_u64());
        let core = Core::new(world.now, settings, Arc::clone(&hand), Arc::clone(&buffered), seed);
        Self {
            kind,
            name,
            acknowledges,
            core,
            hand,
            buffered,
            limit,
            wake,
            random,
            user,
            book,
            next: BTreeMap::new(),
            tenures: BTreeMap::new(),
            members: BTreeMap::new(),
            lost: BTreeSet::new(),
            asked: BTreeMap::new(),
            listener: VecDeque::new(),
            closing: None,
            is_closed: false,
            is_calm: false,
        }
    }

    pub(super) fn instance(&self) -> Option<u64> {
        match self.kind {
            Kind::Member { instance, .. } => instance,
            Kind::Reader(_) => None,
        }
    }

    /// Whether the partition was chosen to be read.
    pub(super) fn chose(&self, index: i32) -> bool {
        matches!(&self.kind, Kind::Reader(chosen) if chosen.iter().any(|(chosen, _)| *chosen == index))
    }

    pub(super) fn position(&self, index: i32) -> Option<i64> {
        self.next.get(&TopicPartition::new(TOPIC, index)).copied().flatten()
    }

    /// The partitions of which something may be handed out.
    pub(super) fn reads(&self) -> Vec<TopicPartition> {
        self.hand.reads()
    }

    pub(super) fn close(&mut self, now: Now) {
        if self.closing.is_none() {
            self.core.close(now);
            self.closing = Some(now.instant + DRAIN_TIMEOUT + CLOSE_TIMEOUT + SLACK);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The process is over: everything that was buffered is given back.
    pub(super) fn end(self) {
        let Self { core, hand, user, buffered, .. } = self;
        drop((core, user, hand));
        assert_eq!(buffered.used(), 0, "the budget is not given back");
    }

    /// The process stood still until now: what was due meanwhile is late.
    pub(super) fn overslept(&mut self, now: Now) {
        let soon = now.instant + SLACK;
        self.closing = self.closing.map(|until| until.max(soon));
        self.asked.values_mut().for_each(|until| *until = (*until).max(soon));
    }

    /// As the driver: takes news and answers, then lets the core and the user do what is due.
    pub(super) fn tick(&mut self, now: Now, client: &mut SimClient, met: &mut Vec<String>) {
        if self.is_closed {
            while client.take_outcome().is_some() {}
            client.take_changed();
            return;
        }
        if let Some(until) = self.closing {
            assert!(now.instant <= until, "closing takes too long");
        }
        if client.take_changed() {
            self.core.catalog(now, client.snapshot());
        }
        while let Some((token, outcome)) = client.take_outcome() {
            answers::note(&outcome, met);
            self.core.answer(now, token, outcome);
        }
        while let Some((_, number)) = self.listener.front().copied().filter(|(at, _)| *at <= now.instant) {
            self.listener.pop_front();
            self.core.listener_done(now, number);
        }
        self.run_core(now, client, met);
        loop {
            let has_asked = self.use_it(now, met);
            self.observe();
            if !self.has_rung() && !has_asked {
                break;
            }
            self.run_core(now, client, met);
        }
    }

    /// Whether the hand or a buffer has rung for the driver.
    fn has_rung(&self) -> bool {
        let rung = pin!(self.wake.rung());
        rung.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    fn run_core(&mut self, now: Now, client: &mut SimClient, met: &mut Vec<String>) {
        let mut out = Outbox::default();
        self.core.tick(now, &mut out);
        self.core.check();
        self.observe();
        for call in out.calls {
            self.check_call(&call);
            client.submit(now, call);
        }
        for event in out.events {
            self.event(now, event, client, met);
        }
        let most = self.limit + PARTITIONS * PARTITION_BYTES;
        assert!(self.buffered.used() <= most, "{} bytes are buffered", self.buffered.used());
        assert!(client.open_calls() < 64, "calls pile up");
        if let Some(late) = self.asked.values().min().filter(|at| **at < now.instant) {
            panic!("what was asked for is not answered in time: {late:?}");
        }
    }

    fn event(&mut self, now: Now, event: Event, client: &mut SimClient, met: &mut Vec<String>) {
        match event {
            Event::Want(topic) => client.want(now, &topic),
            Event::Refresh => client.refresh(now),
            Event::LeaderHint(hint) => client.leader_changed(now, hint),
            Event::Committed { ticket, result } => {
                assert!(self.asked.remove(&ticket).is_some(), "a commit is answered that was not asked for");
                met.push(match result {
                    Ok(()) => "commit: done".to_owned(),
                    Err(error) => format!("commit: failed, {}", answers::brief(&error)),
                });
            }
            Event::Looked { ticket, result } => {
                assert!(self.asked.remove(&ticket).is_some(), "a look-up is answered that was not asked for");
                for (partition, committed) in result.iter().flatten() {
                    let prefix = self.book.borrow().prefix(partition.partition.0);
                    assert!(committed.offset.0 <= prefix, "{committed:?} is committed of {partition}");
                }
                met.push(format!("look-up: {}", if result.is_ok() { "done" } else { "failed" }));
            }
            Event::Listener { number, change } => {
                if let Change::Lost(partitions) = &change {
                    let tenure = |p: &TopicPartition| (p.clone(), self.tenures.get(p).copied().unwrap_or(0));
                    self.lost.extend(partitions.iter().map(tenure));
                }
                let text = format!("{change:?}");
                let name = text.split('(').next().unwrap_or_default();
                met.push(format!("listener: {name}"));
                let pause = if self.random.below(8) == 0 { 9_000 } else { 200 };
                let last = self.listener.back().map_or(now.instant, |(at, _)| *at);
                let at = last.max(now.instant) + Duration::from_millis(1 + self.random.below(pause));
                self.listener.push_back((at, number));
            }
            Event::Closed => self.is_closed = true,
        }
    }

    /// Looks at how far every partition was read. A position moves by what is handed out, and by nothing else.
    fn observe(&mut self) {
        let assigned: BTreeSet<TopicPartition> = self.hand.assignment().into_iter().collect();
        self.next.retain(|partition, _| assigned.contains(partition));
        for partition in assigned {
            let position = self.hand.position(&partition).map(|spot| spot.offset);
            if !self.next.contains_key(&partition) {
                *self.tenures.entry(partition.clone()).or_default() += 1;
            }
            let next = self.next.entry(partition.clone()).or_default();
            if next.is_none()
                && self.closing.is_none()
                && let (Kind::Member { .. }, Some(start)) = (&self.kind, position)
            {
                let prefix = self.book.borrow().prefix(partition.partition.0);
                assert!(start <= prefix, "{partition} is read from {start}, but {prefix} was handed out");
            }
            match (*next, position) {
                (Some(expected), Some(found)) => {
                    assert_eq!(found, expected, "the position of {partition} has moved by itself");
                }
                (Some(_), None) => panic!("the position of {partition} is forgotten"),
                (None, _) => *next = position,
            }
        }
    }

    fn check_call(&mut self, call: &Call) {
        match &call.request {
            Request::Fetch(request) => self.check_fetch(request),
            Request::OffsetCommit(request) => self.check_commit(request),
            _ => {}
        }
    }

    /// Only what is read is fetched, and nothing that was handed out.
    fn check_fetch(&self, request: &FetchRequest) {
        let reads = self.hand.reads();
        for asked in request.topics.iter().flat_map(|topic| &topic.partitions) {
            let partition = TopicPartition::new(TOPIC, asked.partition);
            assert!(reads.contains(&partition), "{partition} is fetched and not read");
            let next = self.next.get(&partition).copied().flatten();
            assert!(next <= Some(asked.fetch_offset), "{partition} is fetched from {}", asked.fetch_offset);
        }
    }

    /// Only what is assigned is committed, by a member, and not further than it was handed out.
    fn check_commit(&mut self, request: &OffsetCommitRequest) {
        let generation = request.generation_id_or_member_epoch;
        assert!(generation >= 0, "somebody commits who is no member");
        let assigned = self.hand.assignment();
        for topic in &request.topics {
            for asked in &topic.partitions {
                let (index, offset) = (asked.partition_index, asked.committed_offset);
                let partition = TopicPartition::new(TOPIC, index);
                let number = self.tenures.get(&partition).copied().unwrap_or(0);
                // What was sent before a loss must not be taken any more, and the coordinator tells by nothing else.
                let key = (partition.clone(), request.member_id.to_string(), generation);
                let first = *self.members.entry(key).or_insert(number);
                let was_lost = first != number && self.lost.contains(&(partition.clone(), first));
                assert!(!was_lost, "{partition} was lost and is owned anew by {}", request.member_id);
                let tenure = Tenure { member: request.member_id.to_string(), generation, number };
                let is_again = self.book.borrow_mut().commit(tenure, index, offset);
                let is_assigned = assigned.contains(&partition);
                assert!(is_assigned || is_again, "partition {index} is committed and not assigned");
            }
        }
    }

    // ---- the user ----------------------------------------------------------------------------------------------

    /// Whether the user has asked the core for something.
    fn use_it(&mut self, now: Now, met: &mut Vec<String>) -> bool {
        let mut has_asked = false;
        for message in self.user.acknowledge(now) {
            let mut book = self.book.borrow_mut();
            book.acknowledge(message.partition().0, message.offset().0);
            met.push("user: acknowledges".to_owned());
        }
        while let Some(taken) = self.user.act(now) {
            match taken {
                Taken::Records(partition, records) => self.take(&partition, records),
                Taken::Error(error) => {
                    met.push(format!("user: {}", answers::brief(&error)));
                    if error.is_fatal() {
                        self.close(now);
                        has_asked = true;
                    }
                }
                Taken::End => break,
            }
            // So that what it asks next is asked with the true positions in mind.
            self.observe();
            has_asked |= self.ask(now, met);
        }
        has_asked
    }

    fn take(&mut self, partition: &TopicPartition, messages: Vec<Message>) {
        for (offset, value) in messages.iter().map(record) {
            let next = self.next.get_mut(partition).and_then(Option::as_mut);
            let next = next.expect("a position of what is handed out");
            assert_eq!(offset, *next, "{partition}: a record is handed out in the wrong place");
            *next += 1;
            assert!(value.starts_with(&format!("{}/", partition.partition)), "{value} is in {partition}");
            self.book.borrow_mut().hand_out(partition.partition.0, offset, value);
            if !self.acknowledges {
                self.book.borrow_mut().acknowledge(partition.partition.0, offset);
            }
        }
        self.user.keep(messages);
    }

    /// Sometimes the user asks for more than records. Whether it asked the core.
    fn ask(&mut self, now: Now, met: &mut Vec<String>) -> bool {
        let kind = self.random.below(40);
        match self.kind {
            _ if self.closing.is_some() => false,
            _ if kind == 0 && !self.is_calm => self.pause(met),
            Kind::Reader(_) if kind == 1 && !self.is_calm => self.seek(now, met),
            Kind::Member { .. } if (1..=3).contains(&kind) => {
                let asked = match (kind, self.pick()) {
                    (1, _) => self.core.commit(now, None),
                    (2, Some((partition, next))) if !self.acknowledges => {
                        let offsets = [(partition, OffsetAndMetadata::new(Offset(next)))].into();
                        self.core.commit(now, Some(offsets))
                    }
                    _ => self.core.look_up(now, self.next.keys().cloned().collect()),
                };
                let ticket = asked.expect("what is assigned may be committed");
                self.asked.insert(ticket, now.instant + 2 * REQUEST_TIMEOUT + SLACK);
                true
            }
            _ => false,
        }
    }

    /// One of the partitions whose position is known, and the position.
    fn pick(&mut self) -> Option<(TopicPartition, i64)> {
        let known = self.next.iter().filter_map(|(partition, next)| Some((partition.clone(), (*next)?)));
        let known: Vec<(TopicPartition, i64)> = known.collect();
        let place = self.random.below(known.len() as u64) as usize;
        known.get(place).cloned()
    }

    fn pause(&mut self, met: &mut Vec<String>) -> bool {
        for partition in self.hand.assignment() {
            let paused = self.random.below(3) == 0;
            self.hand.pause(&partition, paused);
            met.push(format!("user: {}", if paused { "pauses" } else { "resumes" }));
        }
        false
    }

    fn seek(&mut self, now: Now, met: &mut Vec<String>) -> bool {
        let Some((partition, next)) = self.pick() else { return false };
        let to = match self.random.below(3) {
            0 => Position::Earliest,
            _ => Position::At(Offset(self.random.below(next as u64 + 1) as i64)),
        };
        met.push("user: seeks".to_owned());
        self.next.insert(partition.clone(), None);
        self.core.seek(now, vec![(partition, to)]).expect("it is assigned");
        true
    }

    /// Nothing is held back any more: the user resumes all, and takes what comes.
    pub(super) fn calm_down(&mut self) {
        self.is_calm = true;
        self.user.calm_down();
        for partition in self.hand.assignment() {
            self.hand.pause(&partition, false);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        let listener = self.listener.front().map(|(at, _)| *at);
        earlier(earlier(self.core.deadline(), listener), self.user.deadline())
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, next, closing, core, .. } = self;
        write!(f, "Consumer {name} {kind:?} next {next:?} closing {closing:?} {core:?}")
    }
}

fn settings(kind: &Kind, acknowledges: bool, random: &mut Random) -> CoreSettings {
    let retry = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
    let fetch = fetch::Settings {
        read_committed: random.below(2) == 0,
        min_bytes: 1,
        max_wait: Duration::from_millis(100 + random.below(1_500)),
        max_bytes: PARTITION_BYTES << random.below(3),
        partition_max_bytes: PARTITION_BYTES >> random.below(3),
        batch_max_bytes: 1 << 20,
        // Near one of the nodes, or near none.
        rack: Str::from(format!("rack-{}", random.below(6)).as_str()),
        replica_max_age: Duration::from_secs(300),
        request_timeout: REQUEST_TIMEOUT,
        retry,
    };
    let topics: BTreeSet<TopicName> = [TopicName::from(TOPIC)].into();
    let source = match kind {
        Kind::Reader(chosen) => {
            let partitions = chosen.iter().map(|(index, at)| (TopicPartition::new(TOPIC, *index), *at));
            Source::Chosen { partitions: partitions.collect(), topics: BTreeSet::new() }
        }
        Kind::Member { instance, way } => {
            let drain_timeout = if acknowledges { DRAIN_TIMEOUT } else { Duration::ZERO };
            Source::Group(Box::new(membership(*instance, *way, topics, retry, drain_timeout, random)))
        }
    };
    CoreSettings {
        positions: position::Settings {
            read_committed: fetch.read_committed,
            request_timeout: REQUEST_TIMEOUT,
            retry,
        },
        fetch,
        out_of_range: OutOfRange::Fail,
        truncated: Truncated::Fail,
        follows_recreated: false,
        start_at: Position::Earliest,
        topic_timeout: Duration::from_secs(60),
        source,
        pattern: None,
    }
}

fn membership(
    instance: Option<u64>,
    way: Way,
    topics: BTreeSet<TopicName>,
    retry: Backoff,
    drain_timeout: Duration,
    random: &mut Random,
) -> MembershipSettings {
    let session_timeout = Duration::from_millis(6_000 + random.below(6_000));
    let max_poll_interval = session_timeout + Duration::from_millis(random.below(15_000));
    // For some the coordinator matches the topic's name.
    let is_matched = way == Way::Consumer && random.below(3) == 0;
    MembershipSettings {
        group: GroupSettings {
            group: GROUP.into(),
            instance_id: instance.map(|name| format!("instance-{name}").as_str().into()),
            topics: if is_matched { BTreeSet::new() } else { topics },
            regex: is_matched.then(|| format!("{TOPIC}|none").as_str().into()),
            rack: None,
            assignors: match way {
                Way::Eager => vec![Arc::new(RangeAssignor)],
                Way::Cooperative | Way::Consumer => vec![Arc::new(CooperativeStickyAssignor)],
            },
            server_assignor: None,
            session_timeout,
            heartbeat_interval: session_timeout / (2 + random.below(4) as u32),
            rebalance_timeout: max_poll_interval,
            request_timeout: REQUEST_TIMEOUT,
            retry,
        },
        protocol: if way == Way::Consumer { GroupProtocol::Consumer } else { GroupProtocol::Classic },
        coordinator: coordinator::Settings { request_timeout: REQUEST_TIMEOUT, retry },
        commits: commit::Settings {
            group: GROUP.into(),
            request_timeout: REQUEST_TIMEOUT,
            patience: REQUEST_TIMEOUT * 2,
            retry,
        },
        auto_commit: Some(Duration::from_millis(300 + random.below(4_000))),
        max_poll_interval,
        drain_timeout,
        close_timeout: CLOSE_TIMEOUT,
        has_listener: random.below(2) == 0,
    }
}

//! A transactional producer under faults: the core without its driver, and a user who begins transactions, writes, adds
//! offsets of a group, tarries, commits and aborts.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answers,
    client::SimClient,
    ledger::{DeedId, Entry, Ledger, Told},
    packer::Packer,
    produce::{self, BATCH_SIZE, BUDGET, REQUEST_TIMEOUT},
    world::{PARTITIONS, TOPIC, World},
};
use crate::{
    engine::{
        backoff::{Backoff, Random},
        machine::{Call, Now, Outbox, Outcome, Token, earlier},
        produce::{
            accumulator::Accumulator,
            gate::Pass,
            outcome::{BatchDone, Fate},
            queue::Refused,
            sender,
        },
        producer::{Core, Event},
        txn::{self, OffsetsOf, Ticket},
    },
    error::{Error, ErrorKind},
    record::Record,
    types::{GroupMetadata, Offset, OffsetAndMetadata, TopicName, TopicPartition},
    wire::{calls::Request, versions::ApiKey},
};

/// For how long the user waits for the begin of a transaction.
const MAX_BLOCK: Duration = Duration::from_secs(20);
/// Time moves in steps.
const SLACK: Duration = Duration::from_millis(1);
/// The newest EndTxn of the first version of transactions.
const LAST_OF_V1: i16 = 4;
/// How often the user of a producer that is at its end asks once more.
const PROBES: u32 = 2;

/// A producer and its user.
pub(super) struct Writer {
    /// Which transactional id, and which producer of it.
    id: usize,
    instance: u64,
    core: Core,
    accumulator: Arc<Accumulator>,
    random: Random,
    ledger: Rc<RefCell<Ledger>>,
    stage: Stage,
    /// When the user does something next.
    at: Option<Instant>,
    /// When what it waits for has to be answered.
    until: Option<Instant>,
    /// The transactions that are still to be begun.
    left: u32,
    /// After how long a transaction is aborted.
    timeout: Duration,
    delivery_timeout: Duration,
    deliveries: Vec<(Arc<BatchDone>, u32, Instant)>,
    /// Offsets that were not answered.
    asked: BTreeSet<Ticket>,
    tickets: u64,
    /// What was sent and has no outcome yet.
    calls: BTreeMap<Token, ApiKey>,
    packer: Packer,
    is_calm: bool,
}

#[derive(Debug)]
enum Stage {
    Starting,
    Idle,
    Beginning,
    Open(Open),
    Ending {
        deed: DeedId,
        commit: bool,
    },
    /// There are no more transactions: why, and how often the user has yet to be told so.
    Over {
        why: Error,
        probes: u32,
    },
}

#[derive(Debug)]
struct Open {
    deed: DeedId,
    number: u64,
    /// What the user is still to do.
    steps: u64,
}

impl Writer {
    pub(super) fn new(
        world: &mut World,
        client: &mut SimClient,
        id: usize,
        left: u32,
        ledger: Rc<RefCell<Ledger>>,
    ) -> Self {
        client.want(world.now, &TopicName::from(TOPIC));
        let mut random = Random::new(world.random.next_u64());
        let mut config = produce::config(&mut random);
        let transactional_id = Ledger::transactional_id(id).as_str().into();
        config.transactional_id = Some(transactional_id);
        let delivery_timeout = config.delivery_timeout;
        let timeout = Duration::from_millis(5_000 + random.below(30_000));
        let settings = txn::Settings {
            transactional_id: Ledger::transactional_id(id).as_str().into(),
            timeout,
            request_timeout: REQUEST_TIMEOUT,
            retry: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) },
        };
        let accumulator = Arc::new(Accumulator::new(BUDGET, Arc::default()));
        accumulator.prepare(&TOPIC.into(), PARTITIONS as u32);
        let seed = Random::new(random.next_u64());
        let instance = ledger.borrow_mut().start(id);
        let core = Core::new(config, Some(settings), Arc::clone(&accumulator), client.snapshot(), seed);
        Self {
            id,
            instance,
            core,
            accumulator,
            random,
            ledger,
            stage: Stage::Starting,
            at: Some(world.now.instant),
            until: None,
            left,
            timeout,
            delivery_timeout,
            deliveries: Vec::new(),
            asked: BTreeSet::new(),
            tickets: 0,
            calls: BTreeMap::new(),
            packer: Packer::default(),
            is_calm: false,
        }
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    /// The transactions that it has not begun.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// Whether it can do nothing more, and its user knows.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { probes: 0, .. }) && self.core.is_idle()
    }

    /// Whether everything that was to be done is done.
    pub(super) fn is_settled(&self) -> bool {
        let is_done = matches!(self.stage, Stage::Idle) && self.left == 0 && self.core.is_idle();
        is_done || self.is_over()
    }

    /// Whether everything was given back.
    pub(super) fn judge(&self) {
        assert!(self.is_settled(), "{self:?} is not settled");
        assert_eq!(self.accumulator.budget.used(), 0, "the budget is not given back");
        assert!(self.asked.is_empty(), "offsets were not answered");
    }

    /// The user hurries.
    pub(super) fn calm_down(&mut self) {
        self.is_calm = true;
        self.left = self.left.min(3);
    }

    /// The process stood still until now: what was due meanwhile is late.
    pub(super) fn overslept(&mut self, now: Now) {
        let soon = now.instant + SLACK;
        self.until = self.until.map(|until| until.max(soon));
        self.deliveries.iter_mut().for_each(|(.., until)| *until = (*until).max(soon));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earlier(earlier(self.at, self.packer.deadline()), self.core.deadline())
    }

    /// As the driver: takes news and answers, lets the user do what is due, and then the core.
    pub(super) fn tick(&mut self, now: Now, client: &mut SimClient, met: &mut Vec<String>) {
        if client.take_changed() {
            self.core.catalog(now, client.snapshot());
        }
        while let Some((token, outcome)) = client.take_outcome() {
            self.note(token, &outcome, met);
            self.core.answer(now, token, outcome);
            self.core.check();
        }
        if self.at.is_some_and(|at| at <= now.instant) {
            self.act(now, client, met);
        }
        // One that is broken off fails its transaction, for which a refusal does as well.
        self.packer.tick(now, &mut self.random, false, met);
        let mut out = Outbox::default();
        self.core.tick(now, &mut out);
        self.core.check();
        for event in out.events {
            match event {
                Event::Sender(event) => self.hear_sender(now, event, client, met),
                event => self.hear(now, event, met),
            }
        }
        for call in out.calls {
            self.check_call(&call, met);
            client.submit(now, call);
        }
        self.check_deadlines(now);
    }

    fn note(&mut self, token: Token, outcome: &Outcome, met: &mut Vec<String>) {
        let key = self.calls.remove(&token).expect("an outcome of what was asked");
        answers::note(outcome, met);
        match outcome {
            Ok(answer) if key == ApiKey::EndTxn && answer.version <= LAST_OF_V1 => {
                met.push("EndTxn: of the first version".to_owned());
            }
            Ok(_) if key == ApiKey::EndTxn => met.push("EndTxn: of the second version".to_owned()),
            Err(failure) if failure.maybe_sent => met.push(format!("{key:?}: no answer")),
            _ => {}
        }
    }

    /// The end is told when nothing is under way any more.
    fn check_call(&mut self, call: &Call, met: &mut Vec<String>) {
        let key = call.request.key();
        if let Request::EndTxn(request) = &call.request {
            assert!(self.asked.is_empty(), "the end is told before offsets are answered");
            let other = self.calls.values().find(|key| **key != ApiKey::FindCoordinator);
            assert_eq!(other, None, "the end is told while something is under way");
            let is_wanted = matches!(self.stage, Stage::Ending { commit: true, .. });
            assert!(is_wanted || !request.committed, "a commit that nobody wants");
        }
        if let Request::InitProducerId(request) = &call.request
            && request.producer_id >= 0
        {
            met.push("InitProducerId: for another epoch".to_owned());
        }
        self.calls.insert(call.token, key);
    }

    fn hear_sender(&mut self, now: Now, event: sender::Event, client: &mut SimClient, met: &mut Vec<String>) {
        match event {
            sender::Event::Completed(completion) => {
                self.accumulator.budget.give(completion.charged);
                if let Some(spare) = completion.spare {
                    self.accumulator.recycle(spare);
                }
                let path = match &completion.outcome {
                    Ok(_) => "produce: acked",
                    Err(error) if error.requires_abort() => "produce: given up with its transaction",
                    Err(error) if error.maybe_written() => "produce: failed, maybe written",
                    Err(_) => "produce: failed, not written",
                };
                if completion.done.fate.set(Fate::Ended(completion.outcome)) {
                    met.push(path.to_owned());
                }
            }
            sender::Event::Divided(divided) => {
                self.accumulator.budget.give(divided.charged);
                divided.done.fate.set(Fate::Divided(divided.stretches));
                met.push("produce: a batch is taken apart".to_owned());
            }
            sender::Event::RefreshMetadata => client.refresh(now),
            sender::Event::LeaderChanged(hint) => client.leader_changed(now, hint),
            sender::Event::Pack(packing) => self.packer.pack(now, &mut self.random, packing),
            sender::Event::Join(..) => {}
            sender::Event::Retried(_) => met.push("produce: a batch is sent again".to_owned()),
        }
    }

    /// What the user is told.
    fn hear(&mut self, now: Now, event: Event, met: &mut Vec<String>) {
        match event {
            Event::Sender(_) => {}
            Event::Ready(result) => {
                self.until = None;
                match result {
                    Ok(()) => self.stage = Stage::Idle,
                    Err(error) => self.refused(now, error, "ready", met),
                }
                self.pause(now, 100);
            }
            Event::Begun(result) => {
                self.until = None;
                assert!(matches!(self.stage, Stage::Beginning | Stage::Over { .. }), "{self:?} begins");
                match result {
                    Ok(number) => {
                        let deed = self.ledger.borrow_mut().begin(self.id, self.instance);
                        let steps = self.random.below(5);
                        self.left = self.left.saturating_sub(1);
                        self.stage = Stage::Open(Open { deed, number, steps });
                    }
                    Err(error) => self.refused(now, error, "begin", met),
                }
                self.pause(now, 100);
            }
            Event::OffsetsTaken { ticket, result } => {
                assert!(self.asked.remove(&ticket), "offsets are answered twice");
                match result {
                    Ok(()) => met.push("offsets: taken".to_owned()),
                    Err(error) => {
                        assert!(is_of_transaction(&error), "offsets are refused: {error}");
                        met.push("offsets: refused".to_owned());
                    }
                }
            }
            Event::Ended(result) => self.ended(now, result, met),
        }
    }

    /// The transaction is over.
    fn ended(&mut self, now: Now, result: Result<(), Error>, met: &mut Vec<String>) {
        let Stage::Ending { deed, commit } = self.stage else { panic!("{self:?}: what has ended?") };
        assert!(self.asked.is_empty(), "the end is answered before the offsets");
        let told = match &result {
            Ok(()) if commit => Told::Committed,
            Ok(()) => Told::Aborted,
            Err(error) if error.is_fatal() && commit => Told::Asked,
            Err(error) if error.is_fatal() => Told::Nothing,
            Err(error) => {
                assert!(commit && error.requires_abort(), "the end fails with {error}");
                Told::Aborted
            }
        };
        self.ledger.borrow_mut().tell(deed, told);
        met.push(format!("transaction: {}, {told:?}", if commit { "commit" } else { "abort" }));
        self.stage = Stage::Idle;
        if let Err(error) = result {
            met.push(format!("transaction: {}", cause(&error)));
            if error.is_fatal() {
                self.refused(now, error, "end", met);
            }
        }
        self.pause(now, 500);
    }

    /// What was asked for is not possible: now, or never.
    fn refused(&mut self, now: Now, error: Error, what: &str, met: &mut Vec<String>) {
        if error.is_fatal() {
            if let Stage::Over { why, .. } = &self.stage {
                assert_eq!(format!("{why}"), format!("{error}"), "it says something else than before");
                return;
            }
            met.push(format!("{what}: {}", cause(&error)));
            if matches!(error.kind(), ErrorKind::Fenced { .. }) {
                let is_newest = self.ledger.borrow().is_newest(self.id, self.instance);
                let by = if is_newest { "its coordinator" } else { "another instance" };
                met.push(format!("transaction: fenced by {by}"));
            }
            self.stage = Stage::Over { why: error, probes: PROBES };
        } else {
            let is_late = matches!(error.kind(), ErrorKind::Timeout { .. });
            assert!(is_late, "{what} fails with {error} at {now:?}");
            met.push(format!("{what}: not in time"));
            if matches!(self.stage, Stage::Beginning) {
                self.stage = Stage::Idle;
            }
        }
    }

    /// Every call and every delivery ends in time, whatever goes wrong.
    fn check_deadlines(&mut self, now: Now) {
        assert!(self.until.is_none_or(|until| now.instant <= until), "{self:?} is not answered in time");
        self.deliveries.retain(|(done, index, until)| {
            let is_open = done.of(*index).is_none();
            assert!(!is_open || now.instant <= *until, "a record has no outcome in time");
            is_open
        });
    }

    fn pause(&mut self, now: Now, longest: u64) {
        let longest = if self.is_calm { longest.min(50) } else { longest };
        self.at = Some(now.instant + Duration::from_millis(1 + self.random.below(longest)));
    }

    // ---- the user ----------------------------------------------------------------------------------------------

    fn act(&mut self, now: Now, client: &SimClient, met: &mut Vec<String>) {
        self.at = None;
        let until = now.instant + MAX_BLOCK;
        match &self.stage {
            Stage::Starting => {
                self.core.make_ready(now, until);
                self.until = Some(until + SLACK);
            }
            Stage::Idle if self.left > 0 => {
                self.core.begin(now, until);
                self.until = Some(until + SLACK);
                self.stage = Stage::Beginning;
            }
            Stage::Open(Open { deed, number, steps }) => {
                let (deed, number, steps) = (*deed, *number, *steps);
                self.go_on(now, deed, number, steps, client, met);
            }
            Stage::Over { probes: 1.., .. } => self.probe(now, until, met),
            Stage::Idle | Stage::Beginning | Stage::Ending { .. } | Stage::Over { .. } => {}
        }
    }

    /// The next step in the open transaction.
    fn go_on(
        &mut self,
        now: Now,
        deed: DeedId,
        number: u64,
        steps: u64,
        client: &SimClient,
        met: &mut Vec<String>,
    ) {
        let has_failed = self.accumulator.gate.reason(Pass::of_transaction(number)).is_some();
        if steps == 0 || has_failed {
            return self.end(now, deed, number, has_failed, met);
        }
        self.stage = Stage::Open(Open { deed, number, steps: steps - 1 });
        match self.random.below(12) {
            0..=2 => self.send_offsets(deed, number, client),
            3 if !self.is_calm => {
                met.push("user: tarries".to_owned());
                let longest = self.timeout.as_millis() as u64 * 5 / 4;
                return self.pause(now, longest);
            }
            _ => self.write(now, deed, number, met),
        }
        self.pause(now, 200);
    }

    fn end(&mut self, now: Now, deed: DeedId, number: u64, has_failed: bool, met: &mut Vec<String>) {
        let commit = self.random.below(4) > 0;
        if has_failed {
            met.push("user: sees that the transaction has failed".to_owned());
        }
        if commit {
            self.ledger.borrow_mut().tell(deed, Told::Asked);
        }
        self.core.end(now, number, commit);
        self.stage = Stage::Ending { deed, commit };
    }

    fn write(&mut self, now: Now, deed: DeedId, number: u64, met: &mut Vec<String>) {
        let topic = self.accumulator.topic(TOPIC).expect("it was prepared");
        let pass = Pass::of_transaction(number);
        // Sometimes so much for one partition that a batch grows larger than some topics take.
        let (burst, partitions) = if self.random.below(4) == 0 { (24, 1) } else { (8, PARTITIONS as u64) };
        for _ in 0..1 + self.random.below(burst) {
            let partition = self.random.below(partitions) as usize;
            let queue = &topic.partitions[partition];
            if !self.accumulator.budget.try_take(100) {
                break;
            }
            let mut ledger = self.ledger.borrow_mut();
            let value = format!("{partition}/{}/{}", self.id, ledger.next_number());
            let record = match self.random.below(100) {
                // A compacted topic does not take it.
                0 => Record::new(TOPIC, &value),
                _ => Record::new(TOPIC, &value).key("key"),
            };
            match queue.append(pass, now.instant, now.unix_ms, &record, 100, BATCH_SIZE) {
                Ok(appended) => {
                    if appended.news {
                        self.accumulator.announce(queue);
                    }
                    let (done, index) = (appended.done, appended.index);
                    let until = now.instant + self.delivery_timeout + SLACK;
                    self.deliveries.push((Arc::clone(&done), index, until));
                    ledger.write(deed, Entry { partition, value, done, index });
                }
                Err(refused) => {
                    self.accumulator.budget.give(100);
                    assert_eq!(refused, Refused::Ended, "a record is refused");
                    let reason = self.accumulator.gate.reason(pass);
                    assert!(reason.as_ref().is_some_and(is_of_transaction), "for no reason: {reason:?}");
                    met.push("user: a record is not taken".to_owned());
                    break;
                }
            }
        }
    }

    fn send_offsets(&mut self, deed: DeedId, number: u64, client: &SimClient) {
        let partition = self.random.below(PARTITIONS as u64) as i32;
        let Some(offset) = self.ledger.borrow_mut().add_offset(deed, partition) else { return };
        let offsets = [(TopicPartition::new(TOPIC, partition), OffsetAndMetadata::new(Offset(offset)))];
        self.ask_for(number, offsets.into(), client);
    }

    fn ask_for(
        &mut self,
        number: u64,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        client: &SimClient,
    ) {
        let group = GroupMetadata::of_group(Ledger::group(self.id));
        let mut topic_ids = BTreeMap::new();
        // Where the id is not known, topics are named.
        if self.random.below(2) == 0
            && let Some(id) = client.snapshot().topic(&TopicName::from(TOPIC)).and_then(|topic| topic.id)
        {
            topic_ids.insert(TopicName::from(TOPIC), id);
        }
        self.tickets += 1;
        self.asked.insert(Ticket(self.tickets));
        self.core.send_offsets(number, Ticket(self.tickets), OffsetsOf { group, offsets, topic_ids });
    }

    /// Whatever is asked of a producer that is at its end, it says why it is.
    fn probe(&mut self, now: Now, until: Instant, met: &mut Vec<String>) {
        let Stage::Over { why, probes } = &mut self.stage else { return };
        *probes -= 1;
        met.push("user: asks who is at the end".to_owned());
        let reason = self.accumulator.gate.reason(Pass::of_transaction(1));
        assert_eq!(reason.map(|reason| reason.to_string()), Some(why.to_string()), "what the gate says");
        self.core.begin(now, until);
        self.until = Some(now.instant);
        if *probes > 0 {
            self.pause(now, 2_000);
        }
    }
}

fn is_of_transaction(error: &Error) -> bool {
    error.requires_abort() || error.is_fatal()
}

/// Why a transaction or a producer has failed, in a few words.
fn cause(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Fenced { .. } => "fenced".to_owned(),
        ErrorKind::TransactionAborted { cause: Some(cause) } => {
            format!("failed, {}", answers::brief(cause))
        }
        _ => answers::brief(error),
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, stage, at, until, left, timeout, calls, core, .. } = self;
        write!(f, "Writer of {id} {stage:?} at {at:?} until {until:?} left {left} timeout {timeout:?} ")?;
        write!(f, "calls {calls:?} {core:?}")
    }
}

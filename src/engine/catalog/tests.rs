//! When the catalog asks, and whom.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests"
)]

use proptest::prelude::*;

use super::*;
use crate::{
    engine::{catalog::snapshot::Broker, machine::Failure},
    types::TopicPartition,
    wire::{
        calls::Request,
        messages::metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
        str::Str,
        uuid::Uuid,
    },
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A catalog, a clock, and what the catalog has said.
struct Rig {
    catalog: Catalog,
    now: Now,
    out: Outbox<Event>,
    updates: usize,
    attempts: Vec<Attempt>,
    hopeless: Option<Error>,
    brokers: Vec<i32>,
}

impl Rig {
    fn new(bootstrap: &[&str]) -> Self {
        let now = Now { instant: Instant::now(), unix_ms: 0 };
        let catalog = Catalog::new(&Config::new(bootstrap.iter().copied()), now, Random::new(1));
        let (out, attempts) = (Outbox::default(), Vec::new());
        let mut rig =
            Self { catalog, now, out, updates: 0, attempts, hopeless: None, brokers: vec![1, 2, 3] };
        rig.pass(ms(0));
        rig
    }

    /// A catalog that had its first answer.
    fn ready(bootstrap: &[&str]) -> Self {
        let mut rig = Self::new(bootstrap);
        rig.answer();
        rig.pass(ms(1000));
        rig
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.catalog.deadline().filter(|due| *due <= end.instant) {
            let step = due.saturating_duration_since(self.now.instant);
            self.now = self.now.after(step);
            self.catalog.tick(self.now, &mut self.out);
            self.look();
        }
        self.now = end;
    }

    fn look(&mut self) {
        self.catalog.check();
        assert!(self.out.calls.len() <= 1, "one request in flight");
        for event in self.out.events.drain(..) {
            match event {
                Event::Updated(_) => self.updates += 1,
                Event::Failed(attempts) => self.attempts = attempts,
                Event::Hopeless(error) => self.hopeless = Some(error),
            }
        }
    }

    /// The request in flight: who is asked, and for which topics.
    fn asked(&self) -> Option<(i32, Vec<String>)> {
        let call = self.out.calls.first()?;
        let (Target::Broker(node), Request::Metadata(request)) = (call.target, &call.request) else {
            panic!()
        };
        assert!(!request.allow_auto_topic_creation);
        let topics = request.topics.as_ref().unwrap();
        Some((node.0, topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect()))
    }

    fn outcome(&mut self, outcome: Outcome) {
        let call = self.out.calls.pop().unwrap();
        self.catalog.answer(self.now, call.token, outcome, &mut self.out);
        self.look();
    }

    /// Answers: every topic asked for has three partitions, led by broker 1, but `missing` does not exist.
    fn answer(&mut self) {
        let (node, topics) = self.asked().unwrap();
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            leader_epoch: 5,
            ..Default::default()
        };
        let topic = |name: String| MetadataResponseTopic {
            error_code: if name == "missing" { 3 } else { 0 },
            partitions: if name == "missing" { vec![] } else { (0..3).map(partition).collect() },
            name: Some(Str::from(name)),
            ..Default::default()
        };
        let broker = |&node_id: &i32| MetadataResponseBroker {
            node_id,
            host: Str::from("h"),
            port: 9092,
            ..Default::default()
        };
        let response = MetadataResponse {
            brokers: self.brokers.iter().map(broker).collect(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        self.outcome(Ok(Answer { node: NodeId(node), version: 12, response: response.into() }));
    }

    fn fail_for_good(&mut self) {
        let error = ErrorKind::NotKafka { peer: "x".into(), looks_like: "HTTP" }.into();
        self.outcome(Err(Failure { maybe_sent: false, error }));
    }

    fn fail(&mut self) {
        let kind = std::io::ErrorKind::ConnectionRefused;
        let error = ErrorKind::Io { peer: "x".into(), kind, detail: "refused".into() }.into();
        self.outcome(Err(Failure { maybe_sent: false, error }));
    }

    fn want(&mut self, topic: &str) {
        self.catalog.want(self.now, topic.into());
        self.pass(ms(0));
    }

    fn refresh(&mut self) {
        self.catalog.refresh(self.now);
        self.pass(ms(0));
    }
}

#[test]
fn bootstrap_addresses_have_ids_of_their_own() {
    for index in [0, 1, 100] {
        assert_eq!(bootstrap_node(index).and_then(bootstrap_index), Some(index));
    }
    for id in [0, 1, i32::MAX] {
        assert_eq!(bootstrap_index(NodeId(id)), None);
    }
    assert_eq!(bootstrap_index(NodeId(i32::MIN)), None);
}

#[test]
fn every_bootstrap_address_is_asked_then_comes_a_pause_then_all_again() {
    let mut rig = Rig::new(&["a:1", "b:1", "c:1"]);
    for _ in 0..3 {
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(rig.asked().unwrap().0);
            rig.fail();
        }
        asked.sort_unstable();
        assert_eq!(asked, [-3, -2, -1]);
        assert_eq!(rig.asked(), None, "a pause");
        rig.pass(ms(500));
    }
    let mut addresses: Vec<_> =
        rig.attempts.iter().map(|a| (a.address.as_str(), a.reason.as_str())).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [("a:1", "refused"), ("b:1", "refused"), ("c:1", "refused")]);
}

#[test]
fn hope_is_given_up_when_no_address_can_ever_answer() {
    let mut rig = Rig::new(&["a:1", "b:1"]);
    rig.fail_for_good();
    rig.fail();
    assert!(rig.hopeless.is_none(), "one of them may come up");
    rig.pass(ms(500));
    rig.fail_for_good();
    rig.fail_for_good();
    assert!(matches!(rig.hopeless.unwrap().kind(), ErrorKind::NotKafka { .. }));
    let mut rig = Rig::ready(&["a:1"]);
    rig.brokers = vec![];
    for _ in 0..4 {
        rig.refresh();
        rig.fail_for_good();
        rig.pass(ms(5000));
    }
    assert!(rig.hopeless.is_none(), "the cluster has answered before");
}

#[test]
fn who_answered_is_asked_again_and_known_brokers_before_addresses() {
    let mut rig = Rig::ready(&["a:1", "b:1"]);
    let first = rig.catalog.last.unwrap().0;
    rig.refresh();
    assert_eq!(rig.asked().unwrap().0, first);
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(rig.asked().unwrap().0);
        rig.fail();
    }
    assert_eq!(asked[0], first);
    assert!(asked[1..4].iter().all(|id| *id > 0), "{asked:?}");
    assert!(asked[4] < 0 && asked[4] != first, "{asked:?}");
    assert_eq!((rig.asked(), rig.attempts.len()), (None, 5));
}

#[test]
fn a_cluster_that_moved_is_found_again_by_its_bootstrap_addresses() {
    let mut rig = Rig::ready(&["a:1"]);
    rig.refresh();
    while rig.asked().unwrap().0 != -1 {
        rig.fail();
    }
    rig.brokers = vec![7];
    rig.answer();
    assert_eq!(rig.catalog.snapshot().brokers().map(|broker| broker.id.0).collect::<Vec<_>>(), [7]);
}

#[test]
fn only_wanted_topics_are_asked_for() {
    let mut rig = Rig::new(&["a:1"]);
    assert_eq!(rig.asked(), Some((-1, vec![])));
    rig.want("t");
    rig.want("u");
    rig.want("t");
    rig.answer();
    // They were wanted while a request was in flight, so another follows at once.
    assert_eq!(rig.asked().unwrap().1, ["t", "u"]);
    rig.answer();
    assert_eq!(rig.asked(), None);
    assert_eq!(rig.catalog.snapshot().partition_count("t"), Some(3));
    rig.want("t");
    assert_eq!(rig.asked(), None, "it is known");
}

#[test]
fn requests_of_many_become_one() {
    let mut rig = Rig::ready(&["a:1"]);
    rig.refresh();
    for _ in 0..50 {
        rig.refresh();
    }
    rig.answer();
    assert_eq!(rig.asked(), None);
    for _ in 0..50 {
        rig.refresh();
    }
    rig.pass(ms(99));
    assert_eq!(rig.asked(), None);
    rig.pass(ms(1));
    rig.answer();
    rig.pass(ms(1000));
    assert_eq!((rig.asked(), rig.updates), (None, 3));
}

#[test]
fn a_missing_topic_is_asked_for_again_with_growing_pauses() {
    let mut rig = Rig::ready(&["a:1"]);
    rig.want("missing");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        rig.answer();
        let due = rig.catalog.deadline().unwrap();
        pauses.push(due.saturating_duration_since(rig.now.instant).as_millis());
        rig.pass(ms(1300));
    }
    assert!(pauses[0] <= 120 && pauses[7] >= 800, "{pauses:?}");
    assert_eq!(rig.catalog.snapshot().topic_error("missing"), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    // After a minute nobody is waiting for it any more, unless they say so.
    rig.pass(ms(60_000));
    rig.answer();
    rig.pass(ms(200_000));
    assert_eq!(rig.asked(), None);
    rig.want("missing");
    rig.refresh();
    rig.answer();
    rig.pass(ms(2000));
    assert!(rig.asked().is_some());
}

#[test]
fn an_old_view_is_refreshed_and_interest_ends() {
    let mut rig = Rig::ready(&["a:1"]);
    rig.want("t");
    rig.answer();
    rig.pass(ms(300_000));
    assert_eq!(rig.asked().unwrap().1, ["t"]);
    rig.answer();
    rig.pass(ms(300_000));
    assert_eq!(rig.asked().unwrap().1, [""; 0]);
    rig.answer();
    assert!(rig.catalog.snapshot().topic("t").is_none());
}

#[test]
fn an_answer_without_brokers_or_with_an_error_is_none() {
    let mut rig = Rig::new(&["a:1"]);
    rig.brokers = vec![];
    rig.answer();
    assert!(rig.attempts[0].reason.contains("names no broker"), "{:?}", rig.attempts);
    rig.pass(ms(500));
    let response = MetadataResponse { error_code: 129, ..Default::default() };
    rig.outcome(Ok(Answer { node: NodeId(-1), version: 13, response: response.into() }));
    assert!(rig.attempts[0].reason.contains("REBOOTSTRAP_REQUIRED"), "{:?}", rig.attempts);
    assert_eq!(rig.updates, 0);
}

#[test]
fn an_answer_to_something_else_is_ignored() {
    let mut rig = Rig::new(&["a:1"]);
    let error = Error::from(ErrorKind::Closed { what: "client" });
    let failure = Failure { maybe_sent: false, error };
    rig.catalog.answer(rig.now, Token(999), Err(failure), &mut rig.out);
    rig.look();
    assert!(rig.asked().is_some() && rig.attempts.is_empty());
}

#[test]
fn a_hint_counts_only_if_it_is_newer() {
    let mut rig = Rig::ready(&["a:1"]);
    rig.want("t");
    rig.answer();
    rig.pass(ms(1000));
    let partition = TopicPartition::new("t", 1);
    let leader = |rig: &Rig| rig.catalog.snapshot().leader(&TopicPartition::new("t", 1)).unwrap();
    let hint = |leader: i32, leader_epoch, broker| LeaderHint {
        partition: partition.clone(),
        topic_id: Uuid::ZERO,
        leader: NodeId(leader),
        leader_epoch,
        broker,
    };
    for old in [-1, 4, 5] {
        rig.catalog.leader_changed(rig.now, hint(2, old, None), &mut rig.out);
        assert_eq!(leader(&rig), (NodeId(1), Some(5)));
    }
    rig.catalog.leader_changed(rig.now, hint(2, 6, None), &mut rig.out);
    assert_eq!(leader(&rig), (NodeId(2), Some(6)));
    // Of a broker that nobody knows, the address comes with the hint, or is asked for.
    rig.catalog.leader_changed(rig.now, hint(9, 7, None), &mut rig.out);
    assert_eq!(leader(&rig), (NodeId(2), Some(6)));
    rig.pass(ms(0));
    assert!(rig.asked().is_some());
    let broker = Broker::new(9, &Str::from("h9"), 9092, None);
    rig.catalog.leader_changed(rig.now, hint(9, 7, broker), &mut rig.out);
    rig.look();
    assert_eq!(leader(&rig), (NodeId(9), Some(7)));
    assert_eq!(&*rig.catalog.snapshot().broker(NodeId(9)).unwrap().host, "h9");
    // An answer that is behind the hint does not undo it.
    rig.brokers = vec![1, 2, 3, 9];
    rig.answer();
    assert_eq!(leader(&rig), (NodeId(9), Some(7)));
}

#[test]
fn a_hint_about_a_topic_that_is_gone_says_nothing_about_its_successor() {
    let mut rig = Rig::ready(&["a:1"]);
    let info = |leader_epoch| PartitionInfo {
        leader: Some(NodeId(1)),
        leader_epoch: Some(leader_epoch),
        replicas: vec![],
        isr: vec![],
        offline: vec![],
    };
    let (old, new) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    let topic = Topic { name: "t".into(), id: Some(new), internal: false, partitions: [(0, info(0))].into() };
    rig.catalog.snapshot = Arc::new(Snapshot::of_topics([topic]));
    for (topic_id, leader_epoch) in [(old, 0), (new, 40)] {
        let hint = LeaderHint {
            partition: TopicPartition::new("t", 0),
            topic_id,
            leader: NodeId(1),
            leader_epoch: 40,
            broker: None,
        };
        rig.catalog.leader_changed(rig.now, hint, &mut rig.out);
        let (_, epoch) = rig.catalog.snapshot().leader(&TopicPartition::new("t", 0)).unwrap();
        assert_eq!(epoch, Some(leader_epoch));
    }
}

#[test]
fn interest_outlives_an_outage() {
    let mut rig = Rig::ready(&["a:1"]);
    rig.want("t");
    rig.answer();
    rig.want("t");
    rig.refresh();
    for _ in 0..200 {
        if rig.asked().is_some() {
            rig.fail();
        }
        rig.pass(ms(5000));
    }
    assert_eq!(rig.asked().unwrap().1, ["t"]);
    rig.answer();
    assert!(rig.catalog.snapshot().topic("t").is_some());
}

proptest! {
    #[test]
    fn the_view_is_kept_fresh_whatever_happens(operations in prop::collection::vec(0..7_u8, 0..150)) {
        let mut rig = Rig::new(&["a:1", "b:1"]);
        for (step, operation) in operations.into_iter().enumerate() {
            match operation {
                0 if rig.asked().is_some() => rig.answer(),
                1 if rig.asked().is_some() => rig.fail(),
                2 => rig.want(["t", "u", "missing"][step % 3]),
                3 => rig.refresh(),
                4 => rig.pass(ms(50)),
                5 => rig.pass(ms(20_000)),
                6 => rig.brokers = vec![i32::try_from(step).unwrap()],
                _ => {}
            }
        }
        // Once the brokers answer, a view comes within the longest pause and the age that a view may have.
        let before = rig.updates;
        rig.want("late");
        rig.pass(ms(300_000));
        if rig.asked().is_some() {
            rig.answer();
        }
        prop_assert!(rig.updates > before);
        rig.pass(ms(2000));
        if rig.asked().is_some() {
            rig.answer();
        }
        prop_assert!(rig.catalog.snapshot().topic("late").is_some());
    }
}

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::mem;

use super::*;
use crate::{
    engine::{
        catalog::snapshot::{PartitionInfo, Topic},
        machine::Failure,
        script,
    },
    wire::{calls::Request, messages::consumer_group_heartbeat_response as response},
};

const SECOND: Duration = Duration::from_secs(1);
/// What the coordinator says.
const INTERVAL: Duration = Duration::from_secs(5);

struct Bench {
    group: ConsumerGroup,
    now: Now,
    snapshot: Arc<Snapshot>,
    out: Outbox<Event>,
}

impl Bench {
    fn new(instance_id: Option<&str>) -> Self {
        Self::with_seed(instance_id, 1)
    }

    fn with_seed(instance_id: Option<&str>, seed: u64) -> Self {
        let settings = GroupSettings {
            rack: Some("r".into()),
            server_assignor: Some("range".into()),
            ..GroupSettings::of_tests(instance_id)
        };
        let now = script::start();
        let mut group = ConsumerGroup::new(settings, now, Tokens::default(), Random::new(seed));
        group.set_coordinator(Some(NodeId(1)));
        group.join(now, "test");
        Self { group, now, snapshot: snapshot(7), out: Outbox::default() }
    }

    /// A member of epoch 2 that owns these partitions and has said so.
    fn owning(partitions: &[i32]) -> Self {
        let mut bench = Self::new(None);
        let (token, _) = bench.heartbeat();
        bench.respond(token, 2, Some(partitions));
        if !partitions.is_empty() {
            let (token, _) = bench.heartbeat();
            bench.respond(token, 2, None);
        }
        assert!(bench.tick().is_none());
        bench.out.events.clear();
        bench
    }

    fn tick(&mut self) -> Option<(Token, ConsumerGroupHeartbeatRequest)> {
        self.group.tick(self.now, &self.snapshot, &mut self.out);
        self.group.check();
        assert!(self.group.deadline().is_none_or(|at| at > self.now.instant), "a driver would spin");
        self.call()
    }

    fn call(&mut self) -> Option<(Token, ConsumerGroupHeartbeatRequest)> {
        let call = self.out.calls.pop()?;
        let Request::ConsumerGroupHeartbeat(request) = call.request else { panic!("{call:?}") };
        assert_eq!(&*request.member_id, &*self.group.member_id);
        Some((call.token, request))
    }

    /// It leaves, and joins as somebody else.
    fn comes_back(&mut self) -> (Token, ConsumerGroupHeartbeatRequest) {
        let (token, leaves) = self.heartbeat();
        assert_eq!(leaves.member_epoch, -1);
        self.respond(token, -1, None);
        let (token, joins) = self.heartbeat();
        assert_eq!((joins.member_epoch, told(&joins)), (0, Some(vec![])));
        assert_ne!(joins.member_id, leaves.member_id);
        (token, joins)
    }

    fn heartbeat(&mut self) -> (Token, ConsumerGroupHeartbeatRequest) {
        self.tick().unwrap()
    }

    fn answer(&mut self, token: Token, response: ConsumerGroupHeartbeatResponse) {
        self.group.answer(self.now, token, script::answer(1, response), &mut self.out);
        self.group.check();
    }

    /// Confirms a heartbeat; perhaps with an assignment.
    fn respond(&mut self, token: Token, epoch: i32, assigned: Option<&[i32]>) {
        let assignment = assigned.map(|partitions| assignment(7, partitions));
        let heartbeat_interval_ms = 5_000;
        let response = ConsumerGroupHeartbeatResponse {
            member_epoch: epoch,
            heartbeat_interval_ms,
            assignment,
            ..Default::default()
        };
        self.answer(token, response);
    }

    fn refuse(&mut self, token: Token, code: Code) {
        let refused = ConsumerGroupHeartbeatResponse { error_code: code.get(), ..Default::default() };
        self.answer(token, refused);
    }

    fn events(&mut self) -> Vec<String> {
        let event = |event: Event| match event {
            Event::Assigned(partitions) => format!("assigned {}", names(&partitions)),
            Event::Revoke(partitions) => format!("revoke {}", names(&partitions)),
            Event::Lost(partitions) => format!("lost {}", names(&partitions)),
            Event::Renewed => "renewed".to_owned(),
            event => format!("{event:?}").split(['(', ' ']).next().unwrap().to_lowercase(),
        };
        mem::take(&mut self.out.events).into_iter().map(event).collect()
    }

    fn advance(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn assignment(id: u8, partitions: &[i32]) -> response::Assignment {
    let topic = response::TopicPartitions {
        topic_id: script::topic_id(id),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    response::Assignment { topic_partitions: vec![topic], ..Default::default() }
}

/// The topic "t" under this id.
fn snapshot(id: u8) -> Arc<Snapshot> {
    let info = PartitionInfo {
        leader: Some(NodeId(1)),
        leader_epoch: Some(0),
        replicas: Vec::new(),
        isr: Vec::new(),
        offline: Vec::new(),
    };
    let partitions = (0..8).map(|index| (index, info.clone())).collect();
    let id = Some(script::topic_id(id));
    Arc::new(Snapshot::of_topics([Topic { name: "t".into(), id, internal: false, partitions }]))
}

fn told(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<i32>> {
    let topics = request.topic_partitions.as_ref()?;
    Some(topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

#[test]
fn a_member_says_everything_when_it_joins_and_later_only_what_changes() {
    let mut bench = Bench::new(None);
    let (token, joins) = bench.heartbeat();
    assert_eq!((joins.member_epoch, joins.rebalance_timeout_ms), (0, 300_000));
    assert_eq!(joins.subscribed_topic_names, Some(vec!["t".into()]));
    assert_eq!((joins.rack_id.as_deref(), joins.server_assignor.as_deref()), (Some("r"), Some("range")));
    assert_eq!(told(&joins), Some(vec![]));
    assert!(bench.group.identity().is_none());
    bench.respond(token, 2, None);
    assert_eq!(bench.group.identity().unwrap().generation, 2);
    assert_eq!(bench.events(), ["renewed"]);
    assert!(bench.tick().is_none());
    bench.advance(INTERVAL);
    let (_, next) = bench.heartbeat();
    assert_eq!((next.member_epoch, next.rebalance_timeout_ms), (2, -1));
    assert_eq!((&next.subscribed_topic_names, &next.rack_id, &next.server_assignor), (&None, &None, &None));
    assert_eq!(told(&next), None);
}

/// KIP-1082: a UUID as Kafka writes it, 22 characters of URL-safe base64, chosen before the coordinator is asked. Then a
/// heartbeat that is lost, and made again, adds no second member.
#[test]
fn a_member_chooses_an_id_that_nobody_else_has_and_keeps_it_whatever_becomes_of_its_heartbeats() {
    let ids = (1..=50).map(|seed| Bench::with_seed(None, seed).heartbeat().1.member_id);
    let ids: BTreeSet<Str> = ids.collect();
    assert_eq!(ids.len(), 50);
    for id in &ids {
        let is_legal = |symbol: char| symbol.is_ascii_alphanumeric() || symbol == '-' || symbol == '_';
        // The last character stands for two bits, and four that are zero.
        assert!(id.len() == 22 && id.chars().all(is_legal) && id.ends_with(['A', 'Q', 'g', 'w']), "{id}");
    }

    let mut bench = Bench::new(None);
    let (mut token, joins) = bench.heartbeat();
    let codes = [Code::COORDINATOR_LOAD_IN_PROGRESS, Code::GROUP_MAX_SIZE_REACHED, Code::FENCED_MEMBER_EPOCH];
    for code in [None].into_iter().chain(codes.map(Some)) {
        match code {
            Some(code) => bench.refuse(token, code),
            // The answer is lost.
            None => bench.group.answer(bench.now, token, script::failure(), &mut bench.out),
        }
        bench.group.set_coordinator(Some(NodeId(2)));
        bench.advance(5 * SECOND);
        let (next, again) = bench.heartbeat();
        assert_eq!((again.member_epoch, &again.member_id), (0, &joins.member_id), "{code:?}");
        token = next;
    }
    bench.respond(token, 2, None);
    bench.advance(INTERVAL);
    let (token, beats) = bench.heartbeat();
    assert_eq!((beats.member_epoch, &beats.member_id), (2, &joins.member_id));
    // It had nothing to lose.
    bench.refuse(token, Code::FENCED_MEMBER_EPOCH);
    let (_, again) = bench.heartbeat();
    assert_eq!((again.member_epoch, &again.member_id), (0, &joins.member_id));
}

#[test]
fn what_is_assigned_is_taken_on_and_told_at_once() {
    let mut bench = Bench::new(None);
    let (token, _) = bench.heartbeat();
    bench.respond(token, 2, Some(&[0, 3]));
    let (token, acknowledges) = bench.heartbeat();
    assert_eq!(bench.events(), ["renewed", "assigned t-0 t-3"]);
    assert_eq!(told(&acknowledges), Some(vec![0, 3]));
    bench.respond(token, 2, None);
    assert!(bench.tick().is_none(), "once");
}

#[test]
fn what_is_not_assigned_any_more_is_given_up_before_anything_is_added() {
    let mut bench = Bench::owning(&[0, 1]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.respond(token, 3, Some(&[1, 2]));
    assert!(bench.tick().is_none());
    assert_eq!(bench.events(), ["renewed", "revoke t-0"]);
    // The user takes its time: heartbeats go on, and say nothing of what is owned.
    bench.advance(INTERVAL);
    let (token, meanwhile) = bench.heartbeat();
    assert_eq!(told(&meanwhile), None);
    bench.respond(token, 3, None);
    bench.group.revoked(bench.now);
    let (_, done) = bench.heartbeat();
    assert_eq!(told(&done), Some(vec![1, 2]));
    assert_eq!(bench.events(), ["assigned t-2"]);
}

#[test]
fn an_assignment_that_comes_while_partitions_are_given_up_is_taken_next() {
    let mut bench = Bench::owning(&[0, 1]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.respond(token, 3, Some(&[1]));
    bench.tick();
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.respond(token, 4, Some(&[0, 1]));
    assert!(bench.tick().is_none());
    bench.group.revoked(bench.now);
    let (_, done) = bench.heartbeat();
    assert_eq!(
        bench.events(),
        ["renewed", "revoke t-0", "renewed", "assigned t-0"],
        "what was given up comes back"
    );
    assert_eq!(told(&done), Some(vec![0, 1]));
}

#[test]
fn a_member_that_does_not_give_up_in_time_has_lost_everything() {
    let mut bench = Bench::owning(&[0, 1]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.respond(token, 3, Some(&[1]));
    bench.tick();
    bench.events();
    for _ in 0..59 {
        bench.advance(INTERVAL);
        if let Some((token, _)) = bench.tick() {
            bench.respond(token, 3, None);
        }
        assert!(bench.events().is_empty());
    }
    // Counted from when the heartbeat was sent: the coordinator throws the member out, with all that it has.
    bench.advance(INTERVAL);
    bench.comes_back();
    assert_eq!(bench.events(), ["lost t-0 t-1"]);
}

#[test]
fn the_time_for_giving_up_counts_from_the_first_heartbeat_that_was_not_answered() {
    let mut bench = Bench::owning(&[0, 1]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.group.answer(bench.now, token, script::failure(), &mut bench.out);
    bench.group.set_coordinator(Some(NodeId(1)));
    bench.advance(20 * SECOND);
    let (token, _) = bench.heartbeat();
    bench.respond(token, 2, Some(&[1]));
    bench.tick();
    assert_eq!(bench.group.deadline().map(|at| at <= bench.now.instant + 280 * SECOND), Some(true));
    let until = bench.now.instant + 280 * SECOND;
    assert_eq!(bench.group.give_up_by, Some(until));
    // It is over when the coordinator has heard of it, and not before.
    bench.group.revoked(bench.now);
    let (token, tells) = bench.heartbeat();
    assert_eq!((told(&tells), bench.group.give_up_by), (Some(vec![1]), Some(until)));
    bench.respond(token, 3, None);
    assert_eq!(bench.group.give_up_by, None);
}

#[test]
fn a_member_that_is_fenced_or_forgotten_loses_all_and_joins_at_once() {
    for code in [Code::FENCED_MEMBER_EPOCH, Code::UNKNOWN_MEMBER_ID] {
        let mut bench = Bench::owning(&[0, 1]);
        let id = bench.group.member_id.clone();
        bench.advance(INTERVAL);
        let (token, _) = bench.heartbeat();
        bench.refuse(token, code);
        assert_eq!(bench.events(), ["lost t-0 t-1"], "{code}");
        // Whom the coordinator does not know has nothing to leave.
        let is_known = code == Code::FENCED_MEMBER_EPOCH;
        let (token, joins) = if is_known { bench.comes_back() } else { bench.heartbeat() };
        assert_eq!((joins.member_epoch, told(&joins)), (0, Some(vec![])), "{code}");
        assert_ne!(joins.member_id, id, "{code}");
        bench.refuse(token, code);
        assert!(bench.tick().is_none(), "{code}: not again and again");
    }
}

#[test]
fn after_a_lost_heartbeat_everything_is_said_again() {
    let mut bench = Bench::owning(&[0]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.group.answer(bench.now, token, script::failure(), &mut bench.out);
    assert_eq!(bench.events(), ["coordinatorlost"]);
    assert!(bench.group.needs_coordinator() && bench.group.identity().is_some(), "it goes on being a member");
    assert!(bench.tick().is_none());
    bench.group.set_coordinator(Some(NodeId(2)));
    bench.advance(SECOND);
    let (token, again) = bench.heartbeat();
    assert_eq!((again.member_epoch, told(&again)), (2, Some(vec![0])));
    assert_eq!(again.subscribed_topic_names, Some(vec!["t".into()]));
    bench.respond(token, 2, None);
    assert!(bench.tick().is_none() && bench.events().is_empty());
}

#[test]
fn a_coordinator_that_loads_is_asked_again_a_little_later() {
    let mut bench = Bench::owning(&[0]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.refuse(token, Code::COORDINATOR_LOAD_IN_PROGRESS);
    assert!(bench.tick().is_none() && bench.events().is_empty());
    bench.advance(SECOND);
    assert_eq!(bench.heartbeat().1.member_epoch, 2);
}

#[test]
fn the_session_ends_a_while_after_the_last_confirmed_heartbeat_was_sent() {
    let mut bench = Bench::owning(&[0]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.advance(14 * SECOND);
    bench.respond(token, 2, None);
    let (token, _) = bench.heartbeat();
    bench.group.answer(bench.now, token, script::failure(), &mut bench.out);
    bench.events();
    bench.advance(30 * SECOND);
    assert!(bench.tick().is_none() && bench.events().is_empty());
    bench.advance(SECOND);
    bench.tick();
    assert_eq!(bench.events(), ["lost t-0"]);
    assert!(bench.group.identity().is_none());
}

/// Or what it had sent before could still be committed, while it has read the same again.
#[test]
fn who_has_lost_partitions_comes_back_as_another_member() {
    for (instance, epoch) in [(None, -1), (Some("i"), -2)] {
        let mut bench = Bench::new(instance);
        let (token, _) = bench.heartbeat();
        bench.respond(token, 2, Some(&[0]));
        bench.tick();
        bench.advance(45 * SECOND);
        bench.out.calls.clear();
        let (token, leaves) = bench.heartbeat();
        assert_eq!((leaves.member_epoch, leaves.instance_id.as_deref()), (epoch, instance));
        assert_eq!(bench.events(), ["renewed", "assigned t-0", "lost t-0"]);
        // Until it is known to have left.
        bench.group.answer(bench.now, token, script::failure(), &mut bench.out);
        assert_eq!(bench.events(), ["coordinatorlost"]);
        bench.group.set_coordinator(Some(NodeId(1)));
        bench.advance(2 * SECOND);
        let (token, again) = bench.heartbeat();
        assert_eq!((again.member_epoch, &again.member_id), (epoch, &leaves.member_id));
        bench.refuse(token, Code::UNKNOWN_MEMBER_ID);
        let (_, joins) = bench.heartbeat();
        assert_eq!((joins.member_epoch, joins.instance_id.as_deref()), (0, instance));
        assert_ne!(joins.member_id, leaves.member_id);
        assert!(bench.events().is_empty(), "the user has not asked for it");
    }
}

#[test]
fn what_a_session_that_is_over_was_to_wait_for_is_over_too() {
    let mut bench = Bench::owning(&[0]);
    bench.advance(44 * SECOND);
    let (token, _) = bench.heartbeat();
    bench.refuse(token, Code::COORDINATOR_LOAD_IN_PROGRESS);
    bench.advance(SECOND);
    // The session ends before the heartbeat is tried again.
    assert!(bench.tick().is_none());
    bench.advance(SECOND);
    let (token, _) = bench.comes_back();
    bench.respond(token, 5, None);
    bench.advance(SECOND);
    assert!(bench.tick().is_none(), "nothing is due");
}

#[test]
fn topics_that_are_not_known_by_their_ids_yet_are_waited_for() {
    let mut bench = Bench::new(None);
    bench.snapshot = Arc::default();
    let (token, _) = bench.heartbeat();
    bench.respond(token, 2, Some(&[0]));
    assert!(bench.tick().is_none());
    assert_eq!(bench.events(), ["renewed", "refresh"]);
    bench.advance(SECOND);
    bench.tick();
    assert_eq!(bench.events(), ["refresh"]);
    bench.snapshot = snapshot(7);
    bench.group.catalog(bench.now, &bench.snapshot.clone(), &mut bench.out);
    assert_eq!(bench.events(), ["assigned t-0"]);
    assert_eq!(told(&bench.heartbeat().1), Some(vec![0]));
}

#[test]
fn a_topic_that_was_created_anew_is_given_up_and_taken_on_under_its_new_id() {
    let mut bench = Bench::owning(&[0]);
    bench.snapshot = snapshot(8);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    let assignment = Some(assignment(8, &[0]));
    bench.answer(token, ConsumerGroupHeartbeatResponse { member_epoch: 3, assignment, ..Default::default() });
    bench.tick();
    bench.group.revoked(bench.now);
    let (_, told) = bench.heartbeat();
    assert_eq!(bench.events(), ["renewed", "revoke t-0", "assigned t-0"]);
    assert_eq!(told.topic_partitions.unwrap()[0].topic_id, script::topic_id(8));
}

#[test]
fn a_member_that_wants_other_topics_says_so_at_once() {
    let mut bench = Bench::owning(&[0]);
    bench.group.subscribe(["t", "u"].map(TopicName::from).into());
    let (token, request) = bench.tick().unwrap();
    let names: Vec<_> = request.subscribed_topic_names.iter().flatten().map(|name| &**name).collect();
    assert_eq!(names, ["t", "u"]);
    assert_eq!(told(&request), Some(vec![0]), "nothing of what is owned is in question");
    bench.respond(token, 3, None);
    bench.advance(INTERVAL);
    assert!(bench.heartbeat().1.subscribed_topic_names.is_none(), "once");
}

#[test]
fn a_dynamic_member_leaves_for_good_and_a_static_one_for_now() {
    for (instance, epoch) in [(None, -1), (Some("i"), -2)] {
        let mut bench = Bench::new(instance);
        let (token, _) = bench.heartbeat();
        bench.respond(token, 2, None);
        bench.events();
        bench.group.leave(bench.now, "done", &mut bench.out);
        let (token, leaves) = bench.call().unwrap();
        assert_eq!((leaves.member_epoch, leaves.instance_id.as_deref()), (epoch, instance));
        assert_eq!((&leaves.subscribed_topic_names, told(&leaves)), (&None, None));
        bench.respond(token, epoch, None);
        assert_eq!(bench.events(), ["left"]);
        assert!(bench.tick().is_none());
        bench.group.join(bench.now, "back");
        assert_eq!(bench.heartbeat().1.member_epoch, 0);
    }
}

#[test]
fn a_broker_that_does_not_speak_the_protocol_is_told() {
    let mut bench = Bench::new(None);
    let (token, _) = bench.heartbeat();
    bench.refuse(token, Code::UNSUPPORTED_VERSION);
    assert_eq!(bench.events(), ["unsupported"]);
    let mut bench = Bench::new(None);
    let (token, _) = bench.heartbeat();
    let kind =
        ErrorKind::UnsupportedVersion { request: "ConsumerGroupHeartbeat", ours: (0, 1), theirs: None };
    let failure = Failure { maybe_sent: false, error: kind.into() };
    bench.group.answer(bench.now, token, Err(failure), &mut bench.out);
    assert_eq!(bench.events(), ["unsupported"]);
    assert!(!bench.group.needs_coordinator(), "the coordinator is none the worse");
}

#[test]
fn a_member_whose_coordinator_does_not_speak_the_protocol_any_more_loses_all_and_goes_on_by_it() {
    let mut bench = Bench::owning(&[0]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.refuse(token, Code::UNSUPPORTED_VERSION);
    assert_eq!(bench.events(), ["refused", "lost t-0"]);

    let mut bench = Bench::owning(&[0]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    let kind =
        ErrorKind::UnsupportedVersion { request: "ConsumerGroupHeartbeat", ours: (0, 1), theirs: None };
    let failure = Failure { maybe_sent: false, error: kind.into() };
    bench.group.answer(bench.now, token, Err(failure), &mut bench.out);
    assert_eq!(bench.events(), ["coordinatorlost", "refused", "lost t-0"]);
    bench.group.set_coordinator(Some(NodeId(2)));
    bench.advance(2 * SECOND);
    let (token, _) = bench.heartbeat();
    let kind =
        ErrorKind::UnsupportedVersion { request: "ConsumerGroupHeartbeat", ours: (0, 1), theirs: None };
    let failure = Failure { maybe_sent: false, error: kind.into() };
    bench.group.answer(bench.now, token, Err(failure), &mut bench.out);
    assert_eq!(bench.heartbeat().1.member_epoch, 0, "there is nothing to leave");
}

#[test]
fn a_group_of_members_that_speak_the_other_protocol_alone_is_told() {
    let mut bench = Bench::new(None);
    let (token, _) = bench.heartbeat();
    bench.refuse(token, Code::GROUP_ID_NOT_FOUND);
    assert_eq!(bench.events(), ["unsupported"]);
}

#[test]
fn a_refusal_is_told_with_the_brokers_words_and_tried_again_slowly() {
    for code in [Code::UNRELEASED_INSTANCE_ID, Code::UNSUPPORTED_ASSIGNOR, Code::GROUP_AUTHORIZATION_FAILED] {
        let mut bench = Bench::new(Some("i"));
        let (token, _) = bench.heartbeat();
        let error_message = Some("because".into());
        let refused =
            ConsumerGroupHeartbeatResponse { error_code: code.get(), error_message, ..Default::default() };
        bench.answer(token, refused);
        let [Event::Refused(error)] = &bench.out.events[..] else { panic!("{:?}", bench.out.events) };
        // Who may not is told of what; else in the broker's own words.
        let words = if code == Code::GROUP_AUTHORIZATION_FAILED { "not authorized" } else { "because" };
        assert!(error.to_string().contains(words), "{error}");
        bench.out.events.clear();
        assert!(bench.tick().is_none());
        bench.advance(2 * SECOND);
        assert_eq!(bench.heartbeat().1.member_epoch, 0);
    }
}

#[test]
fn a_static_member_whose_name_was_taken_over_is_dead() {
    let mut bench = Bench::owning(&[0]);
    bench.advance(INTERVAL);
    let (token, _) = bench.heartbeat();
    bench.refuse(token, Code::FENCED_INSTANCE_ID);
    assert_eq!(bench.events(), ["lost t-0", "fatal"]);
    bench.advance(60 * SECOND);
    assert!(bench.tick().is_none() && bench.group.deadline().is_none());
}

//! Fault rules and the journal.

use super::*;
use crate::error::Code;
use crate::testing::{Api, Fault, Rule};
use crate::types::{Partition, TopicPartition};
use crate::wire::messages::metadata_request::MetadataRequestTopic;
use crate::wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    HeartbeatRequest, HeartbeatResponse, MetadataRequest, MetadataResponse,
};

fn world() -> World {
    let mut world = World::new(1);
    world.topic("t", 2, &[]);
    world
}

fn code(world: &mut World, partition: i32) -> Code {
    Code::new(world.produce(partition, batch(&["value"])).error_code)
}

#[test]
fn a_refused_partition_is_not_written_and_the_others_are() {
    let mut world = world();
    let rule =
        Rule::new(Fault::Refuse(Code::NOT_LEADER_OR_FOLLOWER)).on(Api::Produce).topic("t").partition(1);
    let (id, hits) = world.broker.add_fault(rule);
    assert_eq!(code(&mut world, 0), Code::NONE);
    assert_eq!(code(&mut world, 1), Code::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(world.broker.log_range("t", 1), Some((0, 0)));
    assert_eq!(hits.load(std::sync::atomic::Ordering::Relaxed), 1);
    // Fetches are another matter.
    let request = FetchRequest { max_wait_ms: 0, ..fetch_request(&world, "t", 1, 0) };
    let response: FetchResponse = world.ask(1, 18, request);
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    world.broker.remove_fault(id);
    assert_eq!(code(&mut world, 1), Code::NONE);
}

#[test]
fn what_is_applied_and_refused_is_in_the_log() {
    let mut world = world();
    world.broker.add_fault(Rule::new(Fault::ApplyThenRefuse(Code::REQUEST_TIMED_OUT)).topic("t").times(1));
    let answer = world.produce(0, batch(&["value"]));
    assert_eq!((Code::new(answer.error_code), answer.base_offset), (Code::REQUEST_TIMED_OUT, -1));
    assert_eq!(world.broker.log_range("t", 0), Some((0, 1)));
    assert_eq!(code(&mut world, 0), Code::NONE);
}

#[test]
fn some_pass_and_some_are_hit() {
    let mut world = world();
    world
        .broker
        .add_fault(Rule::new(Fault::Refuse(Code::KAFKA_STORAGE_ERROR)).on(Api::Produce).skip(1).times(2));
    let codes: Vec<bool> = (0..5).map(|_| code(&mut world, 0) == Code::NONE).collect();
    assert_eq!(codes, [true, false, false, true, true]);
    let half = Rule::new(Fault::Refuse(Code::KAFKA_STORAGE_ERROR)).on(Api::Produce).chance(0.5);
    let (_, hits) = world.broker.add_fault(half);
    for _ in 0..100 {
        code(&mut world, 0);
    }
    let hits = hits.load(std::sync::atomic::Ordering::Relaxed);
    assert!((25..=75).contains(&hits), "{hits} of 100");
}

#[test]
fn conditions_are_about_node_group_and_client() {
    let mut world = World::new(2);
    let refuse = || Rule::new(Fault::Refuse(Code::COORDINATOR_LOAD_IN_PROGRESS));
    let find = |world: &mut World, node, group: &str| {
        let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
        let response: FindCoordinatorResponse = world.ask(node, 4, request);
        response.coordinators[0].error_code != 0
    };
    let (id, _) = world.broker.add_fault(refuse().node(2));
    assert_eq!((find(&mut world, 1, "g"), find(&mut world, 2, "g")), (false, true));
    world.broker.remove_fault(id);
    let (id, _) = world.broker.add_fault(refuse().group("g"));
    assert_eq!((find(&mut world, 1, "g"), find(&mut world, 1, "h")), (true, false));
    world.broker.remove_fault(id);
    let (id, _) = world.broker.add_fault(refuse().client_id("another"));
    assert!(!find(&mut world, 1, "g"));
    world.broker.remove_fault(id);
    world.broker.add_fault(refuse().client_id("test"));
    assert!(find(&mut world, 1, "g"));
}

#[test]
fn requests_without_partitions_are_refused_as_a_whole() {
    let mut world = world();
    world.broker.add_fault(Rule::new(Fault::Refuse(Code::NOT_COORDINATOR)));
    let beat = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
    let response: HeartbeatResponse = world.ask(1, 4, beat);
    assert_eq!(Code::new(response.error_code), Code::NOT_COORDINATOR);
    let response: ApiVersionsResponse = world.ask(1, 2, ApiVersionsRequest::default());
    assert_eq!(Code::new(response.error_code), Code::NOT_COORDINATOR);
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let response: MetadataResponse = world.ask(1, 12, request);
    assert_eq!(Code::new(response.topics[0].error_code), Code::NOT_COORDINATOR);
}

#[test]
fn a_fetch_can_lose_its_session() {
    let mut world = world();
    let code = Code::FETCH_SESSION_ID_NOT_FOUND;
    world.broker.add_fault(Rule::new(Fault::Refuse(code)).on(Api::Fetch).times(1));
    let request = FetchRequest { max_wait_ms: 0, ..fetch_request(&world, "t", 0, 0) };
    let response: FetchResponse = world.ask(1, 18, request.clone());
    assert_eq!((Code::new(response.error_code), response.responses.len()), (code, 0));
    assert_eq!(world.ask::<FetchResponse>(1, 18, request).error_code, 0);
}

#[test]
fn connections_close_before_or_after_the_work() {
    let mut world = world();
    for (fault, end) in [(Fault::CloseBefore, 0), (Fault::CloseAfter, 1)] {
        world.broker.add_fault(Rule::new(fault).on(Api::Produce).times(1));
        let connection = world.connect(1);
        let request = produce_request(&world, "t", 0, batch(&["value"]), -1);
        world.send(connection, 13, request);
        assert!(world.is_closed(connection));
        assert!(world.answer::<ProduceResponse>(connection).is_none());
        assert_eq!(world.broker.log_range("t", 0), Some((0, end)));
    }
}

#[test]
fn ignored_and_dropped_requests_leave_a_dead_connection() {
    let mut world = world();
    for (fault, end) in [(Fault::Ignore, 0), (Fault::DropAnswer, 1)] {
        world.broker.add_fault(Rule::new(fault).on(Api::Produce).times(1));
        let connection = world.connect(1);
        let request = produce_request(&world, "t", 0, batch(&["value"]), -1);
        world.send(connection, 13, request.clone());
        world.send(connection, 13, request);
        world.pass(Duration::from_secs(3600));
        assert!(world.answer::<ProduceResponse>(connection).is_none());
        assert!(!world.is_closed(connection));
        assert_eq!(world.broker.log_range("t", 0), Some((0, end)));
    }
}

#[test]
fn a_delayed_answer_holds_up_what_is_behind_it() {
    let mut world = world();
    world.broker.add_fault(Rule::new(Fault::Delay(Duration::from_secs(2))).on(Api::Produce).times(1));
    let connection = world.connect(1);
    let request = produce_request(&world, "t", 0, batch(&["value"]), -1);
    world.send(connection, 13, request.clone());
    world.send(connection, 13, request);
    assert_eq!(world.end("t"), 1);
    world.pass(Duration::from_millis(1999));
    assert!(world.answer::<ProduceResponse>(connection).is_none());
    world.pass(Duration::from_millis(1));
    assert!(world.answer::<ProduceResponse>(connection).is_some());
    assert!(world.answer::<ProduceResponse>(connection).is_some());
    assert_eq!(world.end("t"), 2);
}

#[test]
fn a_throttled_client_is_told_and_its_connection_muted() {
    let mut world = world();
    world.broker.add_fault(Rule::new(Fault::Throttle(Duration::from_millis(700))).on(Api::Produce).times(1));
    let connection = world.connect(1);
    let request = produce_request(&world, "t", 0, batch(&["value"]), -1);
    world.send(connection, 13, request.clone());
    let response: ProduceResponse = world.answer(connection).unwrap();
    assert_eq!(response.throttle_time_ms, 700);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    world.send(connection, 13, request);
    assert_eq!(world.end("t"), 1);
    assert_eq!(world.broker.deadline(), Some(world.now.instant + Duration::from_millis(700)));
    world.pass(Duration::from_millis(700));
    assert_eq!(world.answer::<ProduceResponse>(connection).unwrap().throttle_time_ms, 0);
}

#[test]
fn garbage_is_sent_as_it_is() {
    let mut world = world();
    world.broker.add_fault(Rule::new(Fault::Garbage(b"HTTP/1.1".to_vec())).times(1));
    let connection = world.connect(1);
    let frame = Request::from(ApiVersionsRequest::default()).encode_frame(0, 1, None).unwrap().into_bytes();
    world.broker.request(world.now, connection, frame.slice(4..));
    let Some(Reaction::Reply { frame, .. }) = world.broker.reaction() else { panic!("no reply") };
    assert_eq!(frame.into_bytes(), "HTTP/1.1");
}

#[test]
fn rules_also_hit_requests_that_have_waited() {
    let mut world = world();
    world.broker.add_fault(Rule::new(Fault::CloseAfter).on(Api::Fetch));
    let connection = world.connect(1);
    let request = fetch_request(&world, "t", 0, 0);
    world.send(connection, 18, request);
    assert!(!world.is_closed(connection));
    world.produce(0, batch(&["value"]));
    assert!(world.is_closed(connection));
}

#[test]
fn the_journal_tells_what_was_asked() {
    let mut world = World::with(1, |_, limits| limits.journal_entries = 2);
    world.topic("t", 2, &[]);
    world.produce(0, batch(&["forgotten"]));
    world.produce(1, batch(&["value"]));
    world.pass(Duration::from_secs(1));
    let beat = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
    let _: HeartbeatResponse = world.ask(1, 4, beat);
    let entries: Vec<_> = world.broker.journal().cloned().collect();
    assert_eq!(entries.len(), 2);
    let (produce, beat) = (&entries[0], &entries[1]);
    assert_eq!((produce.api, produce.version, produce.node), (Api::Produce, 13, NodeId(1)));
    assert_eq!(produce.partitions, [TopicPartition::new("t", Partition(1))]);
    assert_eq!((produce.client_id.as_str(), produce.groups.len()), ("test", 0));
    assert_eq!((beat.api, beat.groups.as_slice()), (Api::Heartbeat, &["g".to_owned()][..]));
    assert_eq!(beat.at_ms - produce.at_ms, 1000);
    assert!(beat.connection > produce.connection);
}

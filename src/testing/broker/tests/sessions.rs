//! Fetch sessions.

use super::*;
use crate::error::Code;
use crate::wire::messages::FetchResponse;
use crate::wire::messages::fetch_request::ForgottenTopic;

/// A session over both partitions of topic `t`.
fn session(world: &mut World, version: i16) -> i32 {
    let mut request = FetchRequest { max_wait_ms: 0, session_epoch: 0, ..fetch_request(world, "t", 0, 0) };
    let second = FetchPartition { partition: 1, ..request.topics[0].partitions[0].clone() };
    request.topics[0].partitions.push(second);
    let response: FetchResponse = world.ask(1, version, request);
    assert_eq!(partitions(&response), [0, 1], "the first answer names all");
    assert_ne!(response.session_id, 0);
    response.session_id
}

/// The next request of a session, which changes nothing.
fn next(session_id: i32, session_epoch: i32) -> FetchRequest {
    FetchRequest { max_bytes: 1 << 20, min_bytes: 1, session_id, session_epoch, ..Default::default() }
}

/// The request with a new position for partition 0.
fn moved(world: &World, request: FetchRequest, offset: i64) -> FetchRequest {
    FetchRequest { topics: fetch_request(world, "t", 0, offset).topics, ..request }
}

fn partitions(response: &FetchResponse) -> Vec<i32> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.partition_index).collect()
}

fn world() -> World {
    let mut world = World::with(1, |settings, _| settings.fetch_sessions = 2);
    world.topic("t", 2, &[]);
    world
}

#[test]
fn only_news_is_answered() {
    for version in [7, 12, 13, 18] {
        let mut world = world();
        let id = session(&mut world, version);
        let response: FetchResponse = world.ask(1, version, next(id, 1));
        assert_eq!((response.session_id, partitions(&response)), (id, vec![]));
        world.produce(1, batch(&["news"]));
        let response: FetchResponse = world.ask(1, version, next(id, 2));
        assert_eq!(partitions(&response), [1]);
        // Its records are served until the position moves on.
        let response: FetchResponse = world.ask(1, version, next(id, 3));
        assert_eq!(partitions(&response), [1]);
        world.produce(0, batch(&["a", "b"]));
        let request = moved(&world, next(id, 4), 2);
        let response: FetchResponse = world.ask(1, version, request);
        // Partition 0 has nothing to read, but its end has moved.
        assert_eq!(partitions(&response).len(), 2, "{version}");
        let response: FetchResponse = world.ask(1, version, next(id, 5));
        assert_eq!(partitions(&response), [1]);
    }
}

#[test]
fn partitions_come_and_go() {
    let mut world = world();
    let id = session(&mut world, 18);
    world.produce(0, batch(&["a"]));
    world.produce(1, batch(&["b"]));
    let topic_id = world.broker.topic_id("t").unwrap();
    let forgotten = ForgottenTopic { topic_id, partitions: vec![0], ..Default::default() };
    let request = FetchRequest { forgotten_topics_data: vec![forgotten], ..next(id, 1) };
    let response: FetchResponse = world.ask(1, 18, request);
    assert_eq!(partitions(&response), [1]);
    let request = moved(&world, next(id, 2), 0);
    let response: FetchResponse = world.ask(1, 18, request);
    assert_eq!(partitions(&response).len(), 2);
    let forgotten = ForgottenTopic { topic_id, partitions: vec![0, 1], ..Default::default() };
    let request = FetchRequest { forgotten_topics_data: vec![forgotten], ..next(id, 3) };
    let response: FetchResponse = world.ask(1, 18, request);
    assert_eq!((response.error_code, response.session_id), (0, 0));
    let response: FetchResponse = world.ask(1, 18, next(id, 4));
    assert_eq!(Code::new(response.error_code), Code::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_session_is_named_rightly_or_refused() {
    let mut world = world();
    let id = session(&mut world, 18);
    let mut code = |version, request| -> Code {
        let response: FetchResponse = world.ask(1, version, request);
        assert_eq!((response.session_id, partitions(&response)), (0, vec![]));
        Code::new(response.error_code)
    };
    assert_eq!(code(18, next(id ^ 1, 1)), Code::FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(code(18, next(id, 2)), Code::INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(code(12, next(id, 1)), Code::FETCH_SESSION_TOPIC_ID_ERROR);
    // A final request ends it.
    assert_eq!(code(18, next(id, -1)), Code::NONE);
    assert_eq!(code(18, next(id, 1)), Code::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_session_is_of_one_node() {
    let mut world = World::new(2);
    world.topic("t", 2, &[]);
    for partition in 0..2 {
        world.broker.move_leader(world.now, "t", partition, NodeId(1));
    }
    let id = session(&mut world, 18);
    let response: FetchResponse = world.ask(2, 18, next(id, 1));
    assert_eq!(Code::new(response.error_code), Code::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn sessions_without_use_make_room_after_two_minutes() {
    let mut world = world();
    let first = session(&mut world, 18);
    session(&mut world, 18);
    let request = FetchRequest { session_epoch: 0, max_wait_ms: 0, ..fetch_request(&world, "t", 0, 0) };
    let response: FetchResponse = world.ask(1, 18, request);
    assert_eq!(response.session_id, 0, "no room: it is answered without a session");
    world.pass(Duration::from_secs(120));
    session(&mut world, 18);
    let response: FetchResponse = world.ask(1, 18, next(first, 1));
    assert_eq!(Code::new(response.error_code), Code::FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn a_topic_created_again_is_inconsistent_with_the_session() {
    let mut world = world();
    let id = session(&mut world, 18);
    world.broker.delete_topic(world.now, "t");
    world.topic("t", 2, &[]);
    for epoch in 1..4 {
        let response: FetchResponse = world.ask(1, 18, next(id, epoch));
        let codes = response.responses[0].partitions.iter().map(|partition| Code::new(partition.error_code));
        assert_eq!(codes.collect::<Vec<_>>(), [Code::INCONSISTENT_TOPIC_ID; 2]);
    }
}

#[test]
fn a_waiting_fetch_of_a_session_is_answered_what_is_new() {
    let mut world = world();
    let id = session(&mut world, 18);
    let connection = world.connect(1);
    world.send(connection, 18, FetchRequest { max_wait_ms: 500, ..next(id, 1) });
    assert!(world.answer::<FetchResponse>(connection).is_none());
    world.produce(1, batch(&["news"]));
    assert_eq!(partitions(&world.answer(connection).unwrap()), [1]);
}

#[test]
fn partitions_take_turns_when_there_is_too_much_to_read() {
    let mut world = world();
    let id = session(&mut world, 18);
    let size = i32::try_from(batch(&["a"]).len()).unwrap();
    for partition in [0, 1] {
        world.produce(partition, batch(&["a"]));
    }
    let mut first = |epoch| {
        let response: FetchResponse = world.ask(1, 18, FetchRequest { max_bytes: size, ..next(id, epoch) });
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        let read = partitions.find(|partition| partition.records.as_ref().is_some_and(|r| !r.is_empty()));
        read.unwrap().partition_index
    };
    assert_eq!([first(1), first(2), first(3), first(4)], [0, 1, 0, 1]);
}

#[test]
fn who_is_new_stands_last_and_who_was_served_goes_there() {
    let mut world = World::new(1);
    world.topic("t", 3, &[]);
    let id = session(&mut world, 16);
    let request = FetchRequest { topics: fetch_request(&world, "t", 2, 9).topics, ..next(id, 1) };
    let response: FetchResponse = world.ask(1, 16, request);
    assert_eq!(partitions(&response), [2], "out of range");
    world.produce(0, batch(&["a"]));
    world.produce(1, batch(&["b"]));
    let response: FetchResponse = world.ask(1, 16, next(id, 2));
    assert_eq!(partitions(&response), [0, 1, 2]);
    let response: FetchResponse = world.ask(1, 16, next(id, 3));
    assert_eq!(partitions(&response), [2, 0, 1]);
}

//! What a leader remembers of a member between its fetches, and when those wait.

use super::*;

#[test]
fn sessions_go_on_epoch_by_epoch() {
    let mut world = world();
    let mut a = Member::new(&mut world, "a");
    let code = |a: &mut Member, world: &mut World, epoch| {
        let request = ShareFetchRequest { share_session_epoch: epoch, ..a.request(world) };
        Code::new(a.ask(world, request).error_code)
    };
    assert_eq!(code(&mut a, &mut world, 1), Code::SHARE_SESSION_NOT_FOUND);
    assert_eq!(code(&mut a, &mut world, -1), Code::SHARE_SESSION_NOT_FOUND);
    assert_eq!(code(&mut a, &mut world, 0), Code::NONE);
    assert_eq!(code(&mut a, &mut world, 2), Code::INVALID_SHARE_SESSION_EPOCH);
    assert_eq!(code(&mut a, &mut world, 1), Code::NONE);
    let acknowledge = |world: &mut World, a: &Member, epoch| {
        let request = ShareAcknowledgeRequest { share_session_epoch: epoch, ..ack_request(world, a, vec![]) };
        world.send(a.connection, 1, request);
        Code::new(world.answer::<ShareAcknowledgeResponse>(a.connection).unwrap().error_code)
    };
    assert_eq!(acknowledge(&mut world, &a, 0), Code::INVALID_SHARE_SESSION_EPOCH);
    assert_eq!(acknowledge(&mut world, &a, 2), Code::NONE);
    assert_eq!(acknowledge(&mut world, &a, 2), Code::INVALID_SHARE_SESSION_EPOCH);
    assert_eq!(code(&mut a, &mut world, 3), Code::NONE);
    let with_acks = ShareFetchRequest {
        share_session_epoch: 0,
        topics: vec![topic(&world, 0, vec![ack(0, 0, &[ACCEPT])])],
        ..a.request(&world)
    };
    assert_eq!(Code::new(a.ask(&mut world, with_acks).error_code), Code::INVALID_REQUEST);
    assert_eq!(code(&mut a, &mut world, 4), Code::NONE, "that one opened nothing");
    assert_eq!(acknowledge(&mut world, &a, -1), Code::NONE);
    assert_eq!(code(&mut a, &mut world, 5), Code::SHARE_SESSION_NOT_FOUND);
}

#[test]
fn a_session_reads_all_that_it_was_told_of_until_it_is_forgotten() {
    let mut world = world();
    let mut a = Member::new(&mut world, "a");
    a.fetch(&mut world);
    let request = ShareFetchRequest { topics: vec![topic(&world, 1, Vec::new())], ..a.request(&world) };
    assert!(partitions(&a.ask(&mut world, request)).is_empty());
    world.produce(0, batch(&["a"]));
    world.produce(1, batch(&["b"]));
    let request = a.request(&world);
    let response = a.ask(&mut world, request);
    let indexes: Vec<i32> = partitions(&response).iter().map(|data| data.partition_index).collect();
    assert_eq!(indexes, [0, 1]);
    world.produce(0, batch(&["c"]));
    world.produce(1, batch(&["d"]));
    let forgotten = ForgottenTopic {
        topic_id: world.broker.topic_id("t").unwrap(),
        partitions: vec![1],
        ..ForgottenTopic::default()
    };
    // What is named for its acknowledgements and forgotten at once is not read.
    let request = ShareFetchRequest {
        topics: vec![topic(&world, 1, vec![ack(0, 0, &[ACCEPT])])],
        forgotten_topics_data: vec![forgotten],
        ..a.request(&world)
    };
    let response = a.ask(&mut world, request);
    let [first, second] = partitions(&response)[..] else { panic!("{response:?}") };
    assert_eq!((first.partition_index, first.acquired_records.len()), (0, 1));
    assert_eq!((second.partition_index, second.acquired_records.len()), (1, 0));
    assert_eq!(second.acknowledge_error_code, 0);
}

#[test]
fn the_last_request_of_a_session_releases_what_is_left() {
    let mut world = world();
    world.produce(0, batch(&["a", "b"]));
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    for last_by_fetch in [false, true] {
        a.epoch = 0;
        b.epoch = 0;
        world.produce(0, batch(&["a", "b"]));
        let taken = a.fetch(&mut world);
        assert!(!taken.is_empty());
        let first = taken[0].0;
        a.epoch = -1;
        if last_by_fetch {
            let mut request = a.request(&world);
            request.topics = vec![topic(&world, 0, vec![ack(first, first, &[ACCEPT])])];
            let response = a.ask(&mut world, request);
            assert_eq!((runs(&response), partitions(&response)[0].acknowledge_error_code), (vec![], 0));
        } else {
            assert_eq!(a.acknowledge(&mut world, vec![ack(first, first, &[ACCEPT])]), Code::NONE);
        }
        let again = b.fetch(&mut world);
        assert_eq!((again[0].0, again[0].2), (first + 1, 2));
        let acks = again.iter().map(|(first, last, _)| ack(*first, *last, &[ACCEPT])).collect();
        assert_eq!(b.acknowledge(&mut world, acks), Code::NONE);
    }
}

#[test]
fn a_connection_that_breaks_releases_what_came_over_it() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    assert_eq!(a.fetch(&mut world), [(0, 0, 1)]);
    let request = ShareFetchRequest { max_wait_ms: 500, ..b.request(&world) };
    b.send(&mut world, request);
    assert!(world.answer::<ShareFetchResponse>(b.connection).is_none());
    world.broker.connection_closed(world.now, a.connection);
    world.collect();
    assert_eq!(runs(&world.answer(b.connection).unwrap()), [(0, 0, 2)]);
    a.connection = world.connect(1);
    let request = a.request(&world);
    assert_eq!(Code::new(a.ask(&mut world, request).error_code), Code::SHARE_SESSION_NOT_FOUND);
}

#[test]
fn a_fetch_waits_until_something_is_written_or_released_or_its_time_is_over() {
    let mut world = world();
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    let waits = |member: &mut Member, world: &mut World| {
        let request = ShareFetchRequest { max_wait_ms: 500, ..member.request(world) };
        member.send(world, request);
        assert!(world.answer::<ShareFetchResponse>(member.connection).is_none());
    };
    waits(&mut a, &mut world);
    waits(&mut b, &mut world);
    world.produce(1, batch(&["elsewhere"]));
    assert!(world.answer::<ShareFetchResponse>(a.connection).is_none());
    world.produce(0, batch(&["a"]));
    assert_eq!(runs(&world.answer(a.connection).unwrap()), [(0, 0, 1)], "who came first");
    assert!(world.answer::<ShareFetchResponse>(b.connection).is_none());
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[RELEASE])]), Code::NONE);
    assert_eq!(runs(&world.answer(b.connection).unwrap()), [(0, 0, 2)]);
    waits(&mut a, &mut world);
    world.pass(Duration::from_millis(499));
    assert!(world.answer::<ShareFetchResponse>(a.connection).is_none());
    world.pass(Duration::from_millis(1));
    assert_eq!(runs(&world.answer(a.connection).unwrap()), []);
    // A lock that ends wakes too.
    world.pass(29 * SECOND);
    let request = ShareFetchRequest { max_wait_ms: 5_000, ..a.request(&world) };
    a.send(&mut world, request);
    world.pass(SECOND);
    assert_eq!(runs(&world.answer(a.connection).unwrap()), [(0, 0, 3)]);
}

#[test]
fn a_session_that_is_opened_anew_ends_the_waiting_of_the_old_one() {
    let mut world = world();
    let mut old = Member::new(&mut world, "a");
    let request = ShareFetchRequest { max_wait_ms: 500, ..old.request(&world) };
    old.send(&mut world, request);
    let mut new = Member::new(&mut world, "a");
    assert_eq!(new.fetch(&mut world), []);
    // The old connection has no part in the new session.
    world.produce(0, batch(&["a"]));
    assert_eq!(runs(&world.answer(old.connection).unwrap()), []);
    assert_eq!(new.fetch(&mut world), [(0, 0, 1)]);
    world.broker.connection_closed(world.now, old.connection);
    assert_eq!(new.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::NONE);
}

#[test]
fn sessions_are_limited() {
    let mut world = World::with(1, |settings, _| settings.share_sessions = 1);
    world.topic("t", 1, &[]);
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    a.fetch(&mut world);
    let request = b.request(&world);
    assert_eq!(Code::new(b.ask(&mut world, request).error_code), Code::SHARE_SESSION_LIMIT_REACHED);
    a.epoch = 0;
    a.fetch(&mut world);
    world.broker.connection_closed(world.now, a.connection);
    b.epoch = 0;
    b.fetch(&mut world);
}

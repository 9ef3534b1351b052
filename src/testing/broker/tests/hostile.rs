//! Bytes that no honest client sends.

use proptest::prelude::*;

use super::*;

/// A world with something in it, and a connection.
fn world() -> (World, ConnectionId) {
    let mut world = World::new(2);
    world.topic("t", 2, &[]);
    let connection = world.connect(1);
    (world, connection)
}

fn drain(broker: &mut Broker) {
    while broker.reaction().is_some() {}
}

proptest! {
    #[test]
    fn arbitrary_frames_do_no_harm(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let (mut world, connection) = world();
        for frame in frames {
            world.broker.request(world.now, connection, frame.into());
        }
        world.broker.tick(world.now.after(Duration::from_secs(3600)));
        drain(&mut world.broker);
    }

    #[test]
    fn arbitrary_bodies_of_known_requests_do_no_harm(
        key in prop::sample::select(vec![0_i16, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 60, 76, 78, 79]),
        version in 0_i16..14,
        body in prop::collection::vec(prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], 0..120),
    ) {
        let (mut world, connection) = world();
        let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
        frame.extend_from_slice(&[0, 0, 0, 1, 255, 255]);
        frame.extend_from_slice(&body);
        world.broker.request(world.now, connection, frame.into());
        world.broker.tick(world.now.after(Duration::from_secs(3600)));
        drain(&mut world.broker);
    }

    #[test]
    fn a_damaged_produce_request_writes_whole_batches_or_nothing(at in 0_usize..150, flip in 1_u8..=255) {
        let (mut world, connection) = world();
        let request = Request::from(produce_request(&world, "t", 0, batch(&["one", "two"]), -1));
        let mut frame = request.encode_frame(13, 1, None).unwrap().into_bytes().to_vec();
        frame.drain(..4);
        let at = at % frame.len();
        frame[at] ^= flip;
        world.broker.request(world.now, connection, frame.into());
        drain(&mut world.broker);
        for partition in 0..2 {
            let end = world.broker.log_range("t", partition).unwrap().1;
            prop_assert!(end == 0 || end == 2);
        }
    }
}

#[test]
fn too_many_requests_behind_a_waiting_one_close_the_connection() {
    let mut world = World::with(1, |_, limits| limits.queued_requests = 3);
    world.topic("t", 1, &[]);
    let connection = world.connect(1);
    for sent in 0..5 {
        assert!(!world.is_closed(connection), "after {sent}");
        let fetch = fetch_request(&world, "t", 0, 0);
        world.send(connection, 18, fetch);
    }
    assert!(world.is_closed(connection));
    assert_eq!(world.broker.deadline(), None);
}

#[test]
fn connections_are_limited() {
    let mut world = World::with(1, |_, limits| limits.connections = 2);
    let first = world.connect(1);
    world.connect(1);
    assert!(!world.broker.connection_opened(NodeId(1), ConnectionId(100)));
    world.broker.connection_closed(world.now, first);
    assert!(world.broker.connection_opened(NodeId(1), ConnectionId(100)));
}

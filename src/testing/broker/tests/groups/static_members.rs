//! Members with the name of an instance (KIP-345).

use super::*;

#[test]
fn a_static_member_restarts_without_a_rebalance() {
    let mut world = World::new(1);
    let (mut a, mut b) = (Peer::fixed(&mut world, "ia"), Peer::fixed(&mut world, "ib"));
    a.send_join(&mut world);
    assert!(a.joined(&mut world).unwrap().member_id.starts_with("ia-"));
    b.send_join(&mut world);
    a.send_join(&mut world);
    settle(&mut world, &mut a, &mut b);

    let mut restarted = Peer::fixed(&mut world, "ib");
    restarted.send_join(&mut world);
    let response = restarted.joined(&mut world).unwrap();
    assert_eq!((response.error_code, response.generation_id), (0, b.generation));
    assert_ne!(restarted.id, b.id);
    restarted.send_sync(&mut world, &[]);
    let (code, assignment) = restarted.synced(&mut world).unwrap();
    assert_eq!((code, assignment), (Code::NONE, Bytes::from_static(b"second half")));
    assert_eq!(a.beat(&mut world), Code::NONE);
    // The one that was there before is fenced.
    assert_eq!(b.beat(&mut world), Code::FENCED_INSTANCE_ID);
    b.send_join(&mut world);
    assert_eq!(Code::new(b.joined(&mut world).unwrap().error_code), Code::FENCED_INSTANCE_ID);
    b.send_sync(&mut world, &[]);
    assert_eq!(b.synced(&mut world).unwrap().0, Code::FENCED_INSTANCE_ID);
    assert_eq!(b.leave(&mut world), Code::FENCED_INSTANCE_ID);
    // An admin removes a static member by its instance alone.
    let by_instance = Peer { id: Str::default(), ..Peer::fixed(&mut world, "ib") };
    assert_eq!(by_instance.leave(&mut world), Code::NONE);
    assert_eq!(a.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_static_leader_that_restarts_is_told_that_nothing_is_to_be_assigned() {
    for (version, skips) in [(9, true), (8, false)] {
        let mut world = World::new(1);
        let mut a = Peer::fixed(&mut world, "ia");
        a.send_join(&mut world);
        a.joined(&mut world).unwrap();
        a.send_sync(&mut world, &[(&a, "all")]);
        a.synced(&mut world).unwrap();
        let mut restarted = Peer { version, ..Peer::fixed(&mut world, "ia") };
        restarted.send_join(&mut world);
        let response = restarted.joined(&mut world).unwrap();
        assert_eq!((response.generation_id, response.skip_assignment), (1, skips));
        assert_eq!(response.leader == restarted.id, skips);
        assert_eq!(response.members.len(), usize::from(skips));
    }
}

#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_until_its_session_ends() {
    let mut world = World::new(1);
    let (mut a, mut b) = (Peer::fixed(&mut world, "ia"), Peer::fixed(&mut world, "ib"));
    a.send_join(&mut world);
    a.joined(&mut world).unwrap();
    b.send_join(&mut world);
    a.send_join(&mut world);
    settle(&mut world, &mut a, &mut b);
    a.send_join(&mut world);
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        b.beat(&mut world);
    }
    // It was heard, but did not join in time.
    assert_eq!(a.joined(&mut world).unwrap().members.len(), 2);
    world.pass(Duration::from_secs(9));
    assert_eq!(a.beat(&mut world), Code::NONE);
    world.pass(Duration::from_secs(1));
    assert_eq!(a.beat(&mut world), Code::REBALANCE_IN_PROGRESS);
}

#[test]
fn static_members_that_are_away_with_no_time_to_join_are_waited_for_quietly() {
    let mut world = World::new(1);
    let join = |world: &mut World, peer: &Peer| {
        let request = JoinGroupRequest { rebalance_timeout_ms: 0, ..peer.join_request() };
        world.send(peer.connection, 9, request);
    };
    let mut fixed = Peer::fixed(&mut world, "i");
    join(&mut world, &fixed);
    fixed.joined(&mut world).unwrap();
    let mut other = Peer::new(&mut world);
    join(&mut world, &other);
    other.joined(&mut world).unwrap();
    join(&mut world, &other);
    join(&mut world, &fixed);
    fixed.joined(&mut world).unwrap();
    other.joined(&mut world).unwrap();
    fixed.send_sync(&mut world, &[]);
    other.send_sync(&mut world, &[]);
    assert_eq!(other.leave(&mut world), Code::NONE);
    world.pass(Duration::ZERO);
    let session = world.now.instant + Duration::from_secs(10);
    assert_eq!(world.broker.deadline(), Some(session), "nothing is due before its session ends");
    world.pass(Duration::from_secs(10));
    assert_eq!((world.broker.deadline(), state(&mut world).1), (None, Vec::new()));
}

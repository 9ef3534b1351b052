//! What members get of logs that hold more than plain records, lose some, or move.

use super::*;

/// A transaction of two records, which takes three offsets, and another record.
fn transaction(world: &mut World) {
    let id = Str::from("tx");
    let init = InitProducerIdRequest {
        transactional_id: Some(id.clone()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let InitProducerIdResponse { producer_id, producer_epoch, .. } = world.ask(1, 5, init);
    let stamp = Stamp { producer_id, producer_epoch, base_sequence: 0, transactional: true };
    let batch_of_two = build(&["a", "b"], Some(stamp), Codec::None);
    let mut request = produce_request(world, "t", 0, batch_of_two, -1);
    request.transactional_id = Some(id.clone());
    let response: ProduceResponse = world.ask(1, 13, request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    let end = EndTxnRequest {
        transactional_id: id,
        producer_id,
        producer_epoch,
        committed: true,
        ..Default::default()
    };
    let response: EndTxnResponse = world.ask(1, 5, end);
    assert_eq!(response.error_code, 0);
    world.produce(0, batch(&["c"]));
}

#[test]
fn markers_are_acquired_and_said_to_be_gaps() {
    let mut world = World::with(1, |settings, _| settings.share_from_earliest = true);
    world.topic("t", 1, &[]);
    transaction(&mut world);
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 3, 1)]);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 3, &[1, 1, 0, 1])]), Code::NONE);
    assert_eq!(world.broker.share_start("g", "t", 0), Some(4));
}

#[test]
fn what_is_deleted_or_compacted_is_passed_over() {
    let mut world = World::with(1, |settings, _| settings.share_from_earliest = true);
    world.topic("t", 1, &[("cleanup.policy", "compact")]);
    world.produce(0, batch(&["a", "b"]));
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 1, 1)]);
    world.produce(0, batch(&["c", "d", "e"]));
    world.produce(0, batch(&["f", "g"]));
    world.broker.delete_records(world.now, "t", 0, 1);
    assert!(world.broker.compact(world.now, "t", 0));
    // Of one key only the last record stays, in its batch.
    assert_eq!(a.fetch(&mut world), [(5, 6, 1)]);
    assert_eq!(world.broker.share_start("g", "t", 0), Some(1));
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 1, &[ACCEPT])]), Code::NONE);
    assert_eq!(world.broker.share_start("g", "t", 0), Some(5));
}

#[test]
fn records_that_are_lost_may_be_written_again() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    world.produce(0, batch(&["b"]));
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 1, 1)]);
    world.broker.truncate(world.now, "t", 0, 1);
    world.produce(0, batch(&["c"]));
    assert_eq!(a.fetch(&mut world), [(0, 1, 1)], "a new leader knows of no delivery that has not ended");
}

#[test]
fn a_partition_that_moves_is_read_elsewhere() {
    let mut world = World::with(2, |settings, _| settings.share_from_earliest = true);
    world.topic("t", 1, &[]);
    world.broker.move_leader(world.now, "t", 0, NodeId(1));
    world.produce(0, batch(&["a", "b"]));
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 1, 1)]);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::NONE);
    let request = ShareFetchRequest { max_wait_ms: 500, ..a.request(&world) };
    a.send(&mut world, request);
    world.broker.move_leader(world.now, "t", 0, NodeId(2));
    world.collect();
    let response: ShareFetchResponse = world.answer(a.connection).expect("it ends the waiting");
    let data = partitions(&response)[0];
    let (leader, epoch) = world.broker.leader("t", 0).unwrap();
    assert_eq!(Code::new(data.error_code), Code::NOT_LEADER_OR_FOLLOWER);
    assert_eq!((data.current_leader.leader_id, data.current_leader.leader_epoch), (leader.0, epoch));
    assert_eq!(response.node_endpoints.iter().map(|node| node.node_id).collect::<Vec<_>>(), [2]);
    assert_eq!(a.acknowledge(&mut world, vec![ack(1, 1, &[ACCEPT])]), Code::NOT_LEADER_OR_FOLLOWER);
    let mut at_new = Member::at(&mut world, "a", 2);
    assert_eq!(at_new.fetch(&mut world), [(1, 1, 1)], "what was accepted stays so");
}

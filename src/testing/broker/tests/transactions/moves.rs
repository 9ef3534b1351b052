//! Coordinators and leaders that come and go.

use super::*;
use crate::wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

fn coordinator(world: &mut World, asked: i32) -> i32 {
    let request = FindCoordinatorRequest { key: ID.into(), key_type: 1, ..Default::default() };
    let answer: FindCoordinatorResponse = world.ask(asked, 3, request);
    assert_eq!(answer.error_code, 0);
    answer.node_id
}

fn init_at(world: &mut World, node: i32) -> (Code, Producer) {
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.into()),
        transaction_timeout_ms: 1_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let answer: InitProducerIdResponse = world.ask(node, 5, request);
    (Code::new(answer.error_code), (answer.producer_id, answer.producer_epoch))
}

fn stop(world: &mut World, node: i32) {
    world.broker.stop_node(world.now, NodeId(node));
    world.collect();
}

fn start(world: &mut World, node: i32) {
    world.broker.start_node(world.now, NodeId(node));
    world.collect();
}

#[test]
fn the_coordinator_alone_answers_and_another_node_takes_over() {
    let mut world = World::new(3);
    let first = coordinator(&mut world, 1);
    let others: Vec<i32> = (1..=3).filter(|node| *node != first).collect();
    assert_eq!(init_at(&mut world, others[0]), (Code::NOT_COORDINATOR, NOBODY));
    let (_, (id, epoch)) = init_at(&mut world, first);
    stop(&mut world, first);
    let next = coordinator(&mut world, others[0]);
    assert_ne!(next, first);
    assert_eq!(init_at(&mut world, next), (Code::NONE, (id, epoch + 1)), "nothing is forgotten");
}

#[test]
fn markers_wait_for_a_leader() {
    let mut world = World::with(2, |settings, _| settings.default_replication_factor = 1);
    world.topic("t", 2, &[]);
    let coordinator = coordinator(&mut world, 1);
    let other = 3 - coordinator;
    let led = |world: &World, node: i32| {
        (0..2).find(|index| world.broker.leader("t", *index).unwrap().0.0 == node).unwrap()
    };
    let partitions = [led(&world, coordinator), led(&world, other)];
    let (_, by) = init_at(&mut world, coordinator);
    let _: AddPartitionsToTxnResponse = world.ask(coordinator, 3, add_request(by, &partitions));
    stop(&mut world, other);
    let request = EndTxnRequest {
        transactional_id: ID.into(),
        producer_id: by.0,
        producer_epoch: by.1,
        committed: true,
        ..Default::default()
    };
    let answer: EndTxnResponse = world.ask(coordinator, 5, request);
    assert_eq!(answer.error_code, 0);
    assert_eq!(state(&world), TransactionState::PrepareCommit);
    assert_eq!(described(&world).partitions.len(), 1, "one marker is written");
    assert_eq!(world.broker.deadline(), None, "nothing to be done until the leader is back");
    start(&mut world, other);
    assert_eq!(state(&world), TransactionState::CompleteCommit);
}

#[test]
fn without_any_node_nothing_times_out() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    let (_, by) = init_at(&mut world, 1);
    add(&mut world, 3, by, &[0]);
    stop(&mut world, 1);
    assert_eq!(world.broker.deadline(), None);
    world.pass(Duration::from_secs(10));
    assert_eq!(state(&world), TransactionState::Ongoing);
    start(&mut world, 1);
    world.pass(Duration::ZERO);
    assert_eq!(state(&world), TransactionState::CompleteAbort);
}

#[test]
fn a_deleted_topic_needs_no_marker() {
    let mut world = world();
    let by = begin(&mut world);
    write(&mut world, by, 0);
    hold_markers(&mut world, true);
    end(&mut world, 5, by, true);
    assert!(world.broker.delete_topic(world.now, "t"));
    hold_markers(&mut world, false);
    assert_eq!(state(&world), TransactionState::CompleteCommit);
}

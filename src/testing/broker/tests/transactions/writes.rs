//! AddPartitionsToTxn, and records that are written in transactions.

use super::*;
use crate::error::Resource;

#[test]
fn writing_takes_the_partition_into_the_transaction() {
    let mut world = world();
    let by = begin(&mut world);
    assert_eq!(write(&mut world, by, 0), (Code::NONE, 0));
    assert_eq!(state(&world), TransactionState::Ongoing);
    assert_eq!(described(&world).partitions, [crate::types::TopicPartition::new("t", 0)]);
    assert_eq!(write(&mut world, by, 1), (Code::NONE, 1));
    assert_eq!((stable(&world), world.end("t")), (0, 2));
}

#[test]
fn in_the_first_version_a_partition_must_be_added_before() {
    let mut world = world();
    let by = begin(&mut world);
    for (version, code) in
        [(3, Code::INVALID_TXN_STATE), (10, Code::INVALID_TXN_STATE), (11, Code::TRANSACTION_ABORTABLE)]
    {
        assert_eq!(write_as(&mut world, version, transactional(by, 0, &["a"])), (code, -1), "{version}");
    }
    assert_eq!(add(&mut world, 3, by, &[1, 0, 1]), [Code::NONE, Code::NONE]);
    assert_eq!(write_as(&mut world, 11, transactional(by, 0, &["a"])), (Code::NONE, 0));
    assert_eq!(end(&mut world, 4, by, true).0, Code::NONE);
    assert_eq!(write_as(&mut world, 11, transactional(by, 1, &["a"])).0, Code::TRANSACTION_ABORTABLE);
    assert_eq!(add(&mut world, 0, by, &[0]), [Code::NONE]);
    assert_eq!(write_as(&mut world, 11, transactional(by, 1, &["a"])), (Code::NONE, 2));
}

#[test]
fn while_markers_are_missing_old_clients_are_told_that_replicas_are() {
    let mut world = world();
    let by = begin(&mut world);
    add(&mut world, 3, by, &[1]);
    hold_markers(&mut world, true);
    end(&mut world, 4, by, true);
    assert_eq!(write_as(&mut world, 11, transactional(by, 0, &["a"])).0, Code::NOT_ENOUGH_REPLICAS);
    assert_eq!(write_as(&mut world, 12, transactional(by, 0, &["a"])).0, Code::CONCURRENT_TRANSACTIONS);
}

#[test]
fn a_batch_without_the_bit_is_outside_the_transaction_and_seen_at_once() {
    let mut world = world();
    let by = begin(&mut world);
    assert_eq!(write_as(&mut world, 13, stamped(by, 0, &["a"])), (Code::NONE, 0));
    assert_eq!((stable(&world), state(&world)), (1, TransactionState::Empty));
    write(&mut world, by, 1);
    let outside = write_as(&mut world, 13, stamped(by, 2, &["a"]));
    assert_eq!(outside, (Code::INVALID_TXN_STATE, -1), "but not where the producer's transaction is open");
}

#[test]
fn whoever_is_not_the_producer_of_the_id_cannot_write_under_it() {
    let mut world = world();
    let old = begin(&mut world);
    let new = begin(&mut world);
    for version in [11, 13] {
        let mut code = |by| write_as(&mut world, version, transactional(by, 0, &["a"])).0;
        assert_eq!(code(old), Code::INVALID_PRODUCER_EPOCH);
        assert_eq!(code((new.0, new.1 + 1)), Code::INVALID_PRODUCER_EPOCH);
        assert_eq!(code((new.0 + 1, 0)), Code::INVALID_PRODUCER_ID_MAPPING);
    }
    world.broker.deny(Resource::TransactionalId, ID);
    assert_eq!(write(&mut world, new, 0).0, Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(
        write_as(&mut world, 13, stamped(new, 0, &["a"])).0,
        Code::NONE,
        "the bit is what is forbidden"
    );
}

#[test]
fn a_partition_that_cannot_be_added_has_the_others_not_tried() {
    let mut world = world();
    let by = begin(&mut world);
    let (unknown, untried) = (Code::UNKNOWN_TOPIC_OR_PARTITION, Code::OPERATION_NOT_ATTEMPTED);
    assert_eq!(add(&mut world, 3, by, &[0, 2, 1]), [untried, untried, unknown]);
    world.broker.add_fault(Rule::new(Fault::Refuse(Code::NOT_COORDINATOR)).topic("t").partition(1).times(1));
    assert_eq!(add(&mut world, 3, by, &[0, 1]), [untried, Code::NOT_COORDINATOR]);
    assert_eq!(state(&world), TransactionState::Empty);
    world.broker.deny(Resource::Topic, "t");
    assert_eq!(add(&mut world, 3, by, &[0]), [Code::TOPIC_AUTHORIZATION_FAILED]);
    world.broker.deny(Resource::TransactionalId, ID);
    assert_eq!(add(&mut world, 3, by, &[0]), [Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED]);
}

#[test]
fn only_the_producer_of_the_id_can_add() {
    let mut world = world();
    assert_eq!(add(&mut world, 3, (0, 0), &[0]), [Code::INVALID_PRODUCER_ID_MAPPING], "nobody has begun");
    let old = begin(&mut world);
    begin(&mut world);
    assert_eq!(add(&mut world, 3, (old.0 + 1, 0), &[0]), [Code::INVALID_PRODUCER_ID_MAPPING]);
    for (version, code) in [(1, Code::INVALID_PRODUCER_EPOCH), (2, Code::PRODUCER_FENCED)] {
        assert_eq!(add(&mut world, version, old, &[0]), [code]);
    }
}

#[test]
fn a_duplicate_is_known_in_the_transaction_and_not_behind_its_marker() {
    let mut world = world();
    let by = begin(&mut world);
    write(&mut world, by, 0);
    assert_eq!(write(&mut world, by, 0), (Code::NONE, 0));
    let (_, next) = end(&mut world, 5, by, true);
    assert_eq!(write(&mut world, next, 5).0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, "a new epoch begins at 0");
    assert_eq!(write(&mut world, next, 0), (Code::NONE, 2));
}

#[test]
fn an_open_transactions_producer_is_not_forgotten() {
    let mut world = World::with(1, |_, limits| limits.producers_per_partition = 1);
    world.topic("t", 1, &[]);
    let by = begin(&mut world);
    write(&mut world, by, 0);
    world.produce(0, stamped((77, 0), 0, &["a"]));
    world.broker.forget_producers();
    assert_eq!(write(&mut world, by, 0), (Code::NONE, 0), "a duplicate");
}

#[test]
fn the_journal_and_the_rules_know_what_requests_of_transactions_are_about() {
    let mut world = world();
    let by = begin(&mut world);
    add(&mut world, 3, by, &[1]);
    let entry = world.broker.journal().last().unwrap().clone();
    assert_eq!(entry.transactional_ids, [ID]);
    assert_eq!(entry.partitions, [crate::types::TopicPartition::new("t", 1)]);
    world.broker.add_fault(Rule::new(Fault::CloseBefore).transactional_id("other"));
    assert_eq!(add(&mut world, 3, by, &[0]), [Code::NONE]);
    let rule = Rule::new(Fault::ApplyThenRefuse(Code::NOT_COORDINATOR)).on(Api::AddPartitionsToTxn);
    world.broker.add_fault(rule.transactional_id(ID));
    assert_eq!(add(&mut world, 3, by, &[0]), [Code::NOT_COORDINATOR]);
    assert_eq!(described(&world).partitions.len(), 2);
}

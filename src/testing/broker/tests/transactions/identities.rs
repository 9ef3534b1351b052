//! InitProducerId with a transactional id.

use super::*;
use crate::error::Resource;

#[test]
fn a_new_instance_gets_the_next_epoch_of_the_same_id() {
    let mut world = world();
    let (id, epoch) = begin(&mut world);
    assert_eq!(epoch, 0);
    assert_eq!(begin(&mut world), (id, 1));
    assert_ne!(init(&mut world, 5, "other", NOBODY).1.0, id);
}

#[test]
fn an_ongoing_transaction_is_aborted_before_another_instance_begins() {
    let mut world = world();
    let old = begin(&mut world);
    write(&mut world, old, 0);
    hold_markers(&mut world, true);
    for _ in 0..2 {
        assert_eq!(init(&mut world, 5, ID, NOBODY), (Code::CONCURRENT_TRANSACTIONS, NOBODY));
    }
    assert_eq!(state(&world), TransactionState::PrepareAbort);
    hold_markers(&mut world, false);
    assert_eq!(begin(&mut world), (old.0, old.1 + 2));
    assert_eq!(write(&mut world, old, 1).0, Code::INVALID_PRODUCER_EPOCH);
    assert_eq!(read(&mut world, true, 0).aborted_transactions.unwrap().len(), 1);
}

#[test]
fn who_says_who_it_was_goes_on_and_may_ask_again() {
    let mut world = world();
    let old = begin(&mut world);
    let new = (old.0, old.1 + 1);
    assert_eq!(init(&mut world, 5, ID, old), (Code::NONE, new));
    assert_eq!(init(&mut world, 5, ID, old), (Code::NONE, new), "the answer was lost");
    assert_eq!(init(&mut world, 5, ID, new), (Code::NONE, (old.0, old.1 + 2)));
    assert_eq!(init(&mut world, 5, ID, old), (Code::PRODUCER_FENCED, NOBODY));
    assert_eq!(init(&mut world, 3, ID, old), (Code::INVALID_PRODUCER_EPOCH, NOBODY));
    assert_eq!(init(&mut world, 5, ID, (old.0 + 7, 0)).0, Code::PRODUCER_FENCED);
    begin(&mut world);
    assert_eq!(init(&mut world, 5, ID, (old.0, old.1 + 2)).0, Code::PRODUCER_FENCED, "another came between");
}

#[test]
fn whoever_had_the_id_aborts_what_is_ongoing_by_asking() {
    let mut world = world();
    let old = begin(&mut world);
    let new = begin(&mut world);
    write(&mut world, new, 0);
    assert_eq!(init(&mut world, 5, ID, (old.0 + 7, 0)).0, Code::PRODUCER_FENCED, "but nobody else");
    assert_eq!(state(&world), TransactionState::Ongoing);
    assert_eq!(init(&mut world, 5, ID, old).0, Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(state(&world), TransactionState::CompleteAbort);
    assert_eq!(init(&mut world, 5, ID, old).0, Code::PRODUCER_FENCED);
}

#[test]
fn half_an_identity_is_no_request() {
    let mut world = world();
    let (id, _) = begin(&mut world);
    for given in [(id, -1), (-1, 0)] {
        assert_eq!(init(&mut world, 5, ID, given), (Code::INVALID_REQUEST, NOBODY));
    }
}

fn at_the_last_epoch(world: &mut World) -> Producer {
    let (id, _) = begin(world);
    world.broker.use_up_epochs(ID);
    (id, i16::MAX - 1)
}

#[test]
fn epochs_that_are_used_up_give_a_new_id() {
    let mut world = world();
    let by = at_the_last_epoch(&mut world);
    let (code, next) = init(&mut world, 5, ID, by);
    assert_eq!((code, next.1), (Code::NONE, 0));
    assert_ne!(next.0, by.0);
    assert_eq!(init(&mut world, 5, ID, by), (Code::NONE, next), "the answer was lost");
    assert_eq!(init(&mut world, 5, ID, by).0, Code::PRODUCER_FENCED, "Kafka knows the old id once only");
}

#[test]
fn an_abort_that_uses_the_last_epoch_up_gives_a_new_id_in_the_second_version() {
    for (version, first) in [(1, 0), (2, 1)] {
        let mut world = World::with(1, |settings, _| settings.transaction_version = version);
        world.topic("t", 1, &[]);
        let by = at_the_last_epoch(&mut world);
        write(&mut world, by, 0);
        assert_eq!(init(&mut world, 5, ID, NOBODY).0, Code::CONCURRENT_TRANSACTIONS);
        let next = begin(&mut world);
        assert_ne!(next.0, by.0);
        assert_eq!(next.1, first, "version {version}");
        assert_eq!(init(&mut world, 5, ID, by).0, Code::PRODUCER_FENCED);
    }
}

#[test]
fn whose_last_epoch_was_fenced_goes_on_under_the_new_id() {
    let mut world = world();
    let by = at_the_last_epoch(&mut world);
    write(&mut world, by, 0);
    assert_eq!(init(&mut world, 5, ID, by).0, Code::CONCURRENT_TRANSACTIONS);
    let (code, next) = init(&mut world, 5, ID, by);
    assert_eq!((code, next.1), (Code::NONE, 0));
    assert_ne!(next.0, by.0);
    assert_eq!(init(&mut world, 5, ID, by).0, Code::PRODUCER_FENCED);
}

#[test]
fn an_end_that_uses_the_last_epoch_up_gives_a_new_id_and_is_known_again() {
    let mut world = world();
    let by = at_the_last_epoch(&mut world);
    write(&mut world, by, 0);
    hold_markers(&mut world, true);
    let (code, next) = end(&mut world, 5, by, true);
    assert_eq!((code, next.1), (Code::NONE, 0));
    assert_ne!(next.0, by.0);
    assert_eq!(end(&mut world, 5, by, true).0, Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(write(&mut world, next, 0).0, Code::CONCURRENT_TRANSACTIONS);
    hold_markers(&mut world, false);
    assert_eq!(end(&mut world, 5, by, true), (Code::NONE, next));
    assert_eq!(write(&mut world, next, 0), (Code::NONE, 2));
    assert_eq!(end(&mut world, 5, next, true), (Code::NONE, (next.0, 1)));
}

#[test]
fn a_timeout_must_be_one_that_the_broker_allows() {
    let mut world = world();
    for (timeout, code) in [
        (1, Code::NONE),
        (900_000, Code::NONE),
        (900_001, Code::INVALID_TRANSACTION_TIMEOUT),
        (0, Code::INVALID_TRANSACTION_TIMEOUT),
        (-1, Code::INVALID_TRANSACTION_TIMEOUT),
    ] {
        assert_eq!(init_for(&mut world, 5, ID, NOBODY, timeout).0, code, "{timeout}");
    }
}

#[test]
fn an_id_must_have_a_name_and_be_allowed_and_there_must_be_room_for_it() {
    let mut world = World::with(1, |_, limits| limits.transactional_ids = 1);
    assert_eq!(init(&mut world, 5, "", NOBODY), (Code::INVALID_REQUEST, NOBODY));
    world.broker.deny(Resource::TransactionalId, ID);
    assert_eq!(init(&mut world, 5, ID, NOBODY).0, Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert_eq!(end(&mut world, 5, (0, 0), true).0, Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    world.broker.allow(Resource::TransactionalId, ID);
    begin(&mut world);
    begin(&mut world);
    assert_eq!(init(&mut world, 5, "one more", NOBODY).0, Code::POLICY_VIOLATION);
}

//! EndTxn, and what coordinators end by themselves.

use super::*;
use crate::wire::batch::{Batches, ControlType};

#[test]
fn an_end_of_the_second_version_bumps_the_epoch_and_its_marker_bears_it() {
    let mut world = world();
    let (id, epoch) = begin(&mut world);
    write(&mut world, (id, epoch), 0);
    assert_eq!(end(&mut world, 5, (id, epoch), false), (Code::NONE, (id, epoch + 1)));
    assert_eq!(state(&world), TransactionState::CompleteAbort);
    write(&mut world, (id, epoch + 1), 0);
    assert_eq!(end(&mut world, 5, (id, epoch + 1), true), (Code::NONE, (id, epoch + 2)));
    let log = world.broker.log_bytes("t", 0).unwrap();
    let batches: Vec<_> = Batches::new(log).map(Result::unwrap).collect();
    let markers = batches.iter().filter(|batch| batch.header().attributes.is_control());
    let markers = markers.map(|batch| {
        let header = *batch.header();
        assert!(header.attributes.is_transactional());
        let mut cursor = batch.cursor(1 << 10).unwrap();
        let record = cursor.records().next().unwrap().unwrap();
        assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 0][..]));
        (header.base_offset, header.producer_epoch, ControlType::parse(record.key).unwrap())
    });
    let expected = [(1, epoch + 1, ControlType::Abort), (3, epoch + 2, ControlType::Commit)];
    assert_eq!(markers.collect::<Vec<_>>(), expected);
}

#[test]
fn an_end_of_the_second_version_that_is_repeated_waits_for_the_markers_and_is_answered_again() {
    let mut world = world();
    let old = begin(&mut world);
    let new = (old.0, old.1 + 1);
    write(&mut world, old, 0);
    hold_markers(&mut world, true);
    assert_eq!(end(&mut world, 5, old, false), (Code::NONE, new));
    assert_eq!(state(&world), TransactionState::PrepareAbort);
    for by in [old, new] {
        for committed in [false, true] {
            assert_eq!(end(&mut world, 5, by, committed).0, Code::CONCURRENT_TRANSACTIONS);
        }
    }
    hold_markers(&mut world, false);
    assert_eq!(end(&mut world, 5, old, false), (Code::NONE, new));
    assert_eq!(end(&mut world, 5, old, true), (Code::INVALID_TXN_STATE, NOBODY));
    assert_eq!(write(&mut world, old, 1).0, Code::INVALID_PRODUCER_EPOCH);
}

#[test]
fn a_record_that_is_late_but_before_the_marker_gets_into_the_transaction() {
    let mut world = world();
    let old = begin(&mut world);
    write_as(&mut world, 13, transactional(old, 0, &["a", "b", "c"]));
    hold_markers(&mut world, true);
    end(&mut world, 5, old, false);
    assert_eq!(write(&mut world, old, 3), (Code::NONE, 3));
    assert_eq!(stable(&world), 0);
    hold_markers(&mut world, false);
    assert_eq!((world.end("t"), stable(&world)), (5, 5));
    assert_eq!(write(&mut world, old, 4).0, Code::INVALID_PRODUCER_EPOCH);
}

#[test]
fn the_next_transaction_waits_for_the_markers_of_the_one_before() {
    let mut world = world();
    let old = begin(&mut world);
    write(&mut world, old, 0);
    hold_markers(&mut world, true);
    let (_, new) = end(&mut world, 5, old, true);
    assert_eq!(write(&mut world, new, 0).0, Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(add(&mut world, 3, new, &[0]), [Code::CONCURRENT_TRANSACTIONS]);
    assert_eq!(init(&mut world, 5, ID, NOBODY).0, Code::CONCURRENT_TRANSACTIONS);
    hold_markers(&mut world, false);
    assert_eq!(write(&mut world, new, 0), (Code::NONE, 2));
}

#[test]
fn in_the_second_version_an_empty_abort_bumps_and_an_empty_commit_is_refused() {
    let mut world = world();
    let mut by = begin(&mut world);
    assert_eq!(end(&mut world, 5, by, true), (Code::INVALID_TXN_STATE, NOBODY));
    for _ in 0..2 {
        let next = (by.0, by.1 + 1);
        assert_eq!(end(&mut world, 5, by, false), (Code::NONE, next));
        by = next;
        assert_eq!(end(&mut world, 5, by, true), (Code::INVALID_TXN_STATE, NOBODY));
    }
    write(&mut world, by, 0);
    let (_, by) = end(&mut world, 5, by, true);
    assert_eq!(end(&mut world, 5, by, true), (Code::INVALID_TXN_STATE, NOBODY));
    assert_eq!(end(&mut world, 5, by, false), (Code::NONE, (by.0, by.1 + 1)));
    assert_eq!(world.end("t"), 2, "what is empty has no marker");
}

#[test]
fn in_the_first_version_the_producer_stays_and_a_repeated_end_is_answered_again() {
    let mut world = world();
    let by = begin(&mut world);
    for committed in [false, true] {
        assert_eq!(end(&mut world, 4, by, committed).0, Code::INVALID_TXN_STATE, "of nothing");
    }
    add(&mut world, 3, by, &[0, 1]);
    hold_markers(&mut world, true);
    assert_eq!(end(&mut world, 4, by, true), (Code::NONE, NOBODY));
    for committed in [false, true] {
        assert_eq!(end(&mut world, 4, by, committed).0, Code::CONCURRENT_TRANSACTIONS);
    }
    hold_markers(&mut world, false);
    assert_eq!(state(&world), TransactionState::CompleteCommit);
    assert_eq!(end(&mut world, 4, by, true).0, Code::NONE);
    assert_eq!(end(&mut world, 4, by, false).0, Code::INVALID_TXN_STATE);
    assert_eq!(described(&world).producer_epoch, by.1);
    assert_eq!(world.broker.log_range("t", 1), Some((0, 1)), "what was added and not written has a marker");
}

#[test]
fn who_was_fenced_is_told_so_in_words_of_the_version() {
    let mut world = world();
    let old = begin(&mut world);
    begin(&mut world);
    for (version, code) in [
        (0, Code::INVALID_PRODUCER_EPOCH),
        (1, Code::INVALID_PRODUCER_EPOCH),
        (2, Code::PRODUCER_FENCED),
        (4, Code::PRODUCER_FENCED),
        (5, Code::PRODUCER_FENCED),
    ] {
        assert_eq!(end(&mut world, version, old, true).0, code, "{version}");
    }
    assert_eq!(end(&mut world, 5, (old.0 + 9, 0), true).0, Code::INVALID_PRODUCER_ID_MAPPING);
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted_and_its_producer_fenced() {
    let mut world = world();
    let (_, by) = init_for(&mut world, 5, ID, NOBODY, 1_000);
    world.pass(Duration::from_secs(5));
    write(&mut world, by, 0);
    assert!(world.broker.deadline().is_some());
    world.pass(Duration::from_millis(999));
    assert_eq!(state(&world), TransactionState::Ongoing);
    world.pass(Duration::from_millis(1));
    assert_eq!(state(&world), TransactionState::CompleteAbort);
    assert_eq!((stable(&world), world.end("t"), world.broker.deadline()), (2, 2, None));
    assert_eq!(write(&mut world, by, 1).0, Code::INVALID_PRODUCER_EPOCH);
    assert_eq!(end(&mut world, 4, by, true).0, Code::PRODUCER_FENCED);
    // By its epoch, the abort is that of the producer itself.
    assert_eq!(end(&mut world, 5, by, true).0, Code::INVALID_TXN_STATE);
    assert_eq!(end(&mut world, 5, by, false), (Code::NONE, (by.0, by.1 + 1)));
    assert_eq!(init(&mut world, 5, ID, by), (Code::NONE, (by.0, by.1 + 1)), "it goes on where it was fenced");
}

#[test]
fn markers_come_as_late_as_the_cluster_is_told() {
    let mut world =
        World::with(1, |settings, _| settings.transaction_marker_delay = Duration::from_millis(50));
    world.topic("t", 1, &[]);
    let by = begin(&mut world);
    write(&mut world, by, 0);
    end(&mut world, 5, by, true);
    assert_eq!(state(&world), TransactionState::PrepareCommit);
    world.pass(Duration::from_millis(49));
    assert_eq!((state(&world), stable(&world)), (TransactionState::PrepareCommit, 0));
    world.pass(Duration::from_millis(1));
    assert_eq!((state(&world), stable(&world)), (TransactionState::CompleteCommit, 2));
}

#[test]
fn a_lost_end_was_carried_out() {
    let mut world = world();
    let by = begin(&mut world);
    write(&mut world, by, 0);
    let rule = Rule::new(Fault::ApplyThenRefuse(Code::COORDINATOR_NOT_AVAILABLE));
    world.broker.add_fault(rule.on(Api::EndTxn).transactional_id(ID).times(1));
    assert_eq!(end(&mut world, 5, by, true).0, Code::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(state(&world), TransactionState::CompleteCommit);
    assert_eq!(end(&mut world, 5, by, true), (Code::NONE, (by.0, by.1 + 1)));
}

//! The sender's part in transactions.

use super::*;
use crate::engine::produce::joining::Joining::{self, ByAsking, ByWriting};
use crate::engine::producer_id::ProducerId;

/// A transactional producer in its first transaction, number 1, with id 77 and epoch 3.
fn begun(joining: Joining) -> Bench {
    let mut bench = Bench::new(|config| config.transactional_id = Some("tx".into()));
    bench.sender.identify(bench.now, Some(ProducerId { id: 77, epoch: 3 }));
    bench.sender.open_transaction(bench.now, joining);
    bench
}

fn joining(bench: &mut Bench) -> Vec<LaneId> {
    let lanes = bench.out.events.extract_if(.., |event| matches!(event, Event::Join(..)));
    lanes.map(|event| if let Event::Join(lane, _) = event { lane } else { unreachable!() }).collect()
}

fn aborted() -> Error {
    ErrorKind::Closed { what: "test" }.into()
}

#[test]
fn what_belongs_to_a_transaction_says_so() {
    let mut bench = begun(ByWriting);
    let call = bench.send(0, "a");
    let Request::Produce(request) = &call.request else { panic!("{call:?}") };
    assert_eq!(request.transactional_id.as_deref(), Some("tx"));
    let header = header(&call, 0);
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, 0));
    assert!(header.attributes.is_transactional());
    assert_eq!(call.max_version, None, "a version that brings the partition into the transaction");
}

#[test]
fn nothing_is_written_outside_a_transaction_or_without_an_identity() {
    let mut bench = Bench::new(|config| config.transactional_id = Some("tx".into()));
    bench.append(0, "a");
    assert!(bench.tick().is_empty(), "no id is asked for");
    bench.sender.identify(bench.now, Some(ProducerId { id: 77, epoch: 3 }));
    assert!(bench.tick().is_empty(), "no transaction is open");
    bench.sender.identify(bench.now, None);
    bench.sender.open_transaction(bench.now, ByWriting);
    assert!(bench.tick().is_empty(), "there is no identity");
    bench.sender.identify(bench.now, Some(ProducerId { id: 77, epoch: 3 }));
    assert_eq!(bench.tick().len(), 1);
}

#[test]
fn in_version_1_a_partition_is_written_to_when_the_coordinator_has_taken_it_in() {
    let mut bench = begun(ByAsking);
    bench.append(0, "a");
    bench.append(1, "b");
    assert!(bench.tick().is_empty());
    let lanes = joining(&mut bench);
    assert_eq!(lanes.len(), 2);
    assert!(bench.tick().is_empty() && joining(&mut bench).is_empty(), "told once");
    bench.sender.joined(bench.now, &lanes[..1]);
    let call = bench.tick().remove(0);
    assert_eq!((produce(&call).len(), call.max_version), (1, Some(11)));
    bench.answer(&call, &[(0, Code::NONE, 0)]);
    bench.sender.joined(bench.now, &lanes[1..]);
    let call = bench.tick().remove(0);
    bench.answer(&call, &[(1, Code::NONE, 0)]);
    bench.sender.end_transaction();
    bench.sender.open_transaction(bench.now, ByAsking);
    bench.append(0, "next");
    assert!(bench.tick().is_empty(), "each transaction takes it in anew");
    assert_eq!(joining(&mut bench).len(), 1);
}

#[test]
fn a_doomed_transaction_sends_nothing_more_and_waits_for_what_is_in_flight() {
    let mut bench = begun(ByWriting);
    let first = bench.send(0, "first");
    bench.answer(&first, &[(0, Code::NONE, 0)]);
    let lost = bench.send(0, "sent again");
    bench.lose(&lost, true);
    let flying = bench.send(1, "in flight");
    bench.append(2, "never sent");
    bench.completed();
    bench.sender.doom(bench.now, &aborted(), &mut bench.out);
    let ended = bench.completed();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().flat_map(|end| end.as_ref().err()).any(Error::maybe_written), "what was lost");
    bench.advance(Duration::from_secs(5));
    assert!(bench.tick().is_empty() && !bench.sender.is_idle());
    bench.answer(&flying, &[(1, Code::NOT_ENOUGH_REPLICAS, -1)]);
    assert_eq!(bench.completed().len(), 1, "it is not sent again");
    assert!(bench.sender.is_idle() && bench.sender.is_broken());
    assert_eq!(bench.accumulator.budget.used(), 0);
}

#[test]
fn what_is_refused_for_good_breaks_the_sequence_until_another_epoch_comes() {
    for code in [Code::OUT_OF_ORDER_SEQUENCE_NUMBER, Code::INVALID_PRODUCER_EPOCH, Code::INVALID_TXN_STATE] {
        let mut bench = begun(ByWriting);
        let first = bench.send(0, "first");
        bench.answer(&first, &[(0, Code::NONE, 0)]);
        let refused = bench.send(0, "refused");
        bench.answer(&refused, &[(0, code, -1)]);
        let ends = bench.completed();
        assert_eq!(super::code(&ends[1]), Some(code), "not sent again");
        assert!(bench.sender.is_broken() && bench.sender.is_idle());
        bench.sender.end_transaction();
        bench.sender.identify(bench.now, Some(ProducerId { id: 77, epoch: 4 }));
        assert!(!bench.sender.is_broken());
        bench.sender.open_transaction(bench.now, ByWriting);
        assert_eq!(stamp(&bench.send(0, "next"), 0), (4, 0));
        bench.append(0, "a leader that knows the producer id takes no other sequence first");
        assert_eq!(bench.tick().len(), 1);
    }
}

#[test]
fn sequences_go_on_from_transaction_to_transaction_under_one_epoch() {
    let mut bench = begun(ByWriting);
    for sequence in 0..3 {
        let call = bench.send(0, "a");
        assert_eq!(stamp(&call, 0), (3, sequence));
        bench.answer(&call, &[(0, Code::NONE, i64::from(sequence))]);
        bench.sender.end_transaction();
        bench.sender.open_transaction(bench.now, ByWriting);
    }
}

#[test]
fn a_batch_that_is_too_large_goes_in_parts_within_its_transaction() {
    let mut bench = begun(ByWriting);
    let first = bench.send(0, "first");
    bench.answer(&first, &[(0, Code::NONE, 0)]);
    for value in ["a", "b"] {
        bench.append(0, value);
    }
    let call = bench.tick().remove(0);
    bench.answer(&call, &[(0, Code::MESSAGE_TOO_LARGE, -1)]);
    for sequence in 1..=2 {
        let call = bench.tick().remove(0);
        assert_eq!(stamp(&call, 0), (3, sequence));
        assert!(header(&call, 0).attributes.is_transactional());
        bench.answer(&call, &[(0, Code::NONE, i64::from(sequence))]);
    }
    assert!(!bench.sender.is_broken() && bench.sender.is_idle());
}

#[test]
fn records_that_are_refused_take_the_others_of_their_batch_with_them_as_they_do_their_transaction() {
    let mut bench = begun(ByWriting);
    for value in ["a", "b", "c"] {
        bench.append(0, value);
    }
    let call = bench.tick().remove(0);
    bench.answer_with(&call, vec![divide::complaints(&[(1, "no key")])]);
    bench.completed();
    let words = |back: usize| match bench.error(back).kind() {
        ErrorKind::Broker { message, .. } => message.clone().unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    assert_eq!([words(3), words(2), words(1)], ["some are bad", "no key", "some are bad"]);
    assert!(bench.sender.is_broken() && bench.sender.is_idle());
    assert_eq!(bench.accumulator.budget.used(), 0);
}

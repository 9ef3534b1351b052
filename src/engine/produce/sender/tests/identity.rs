//! The producer id, its epoch, and what is stamped anew.

use super::*;

#[test]
fn nothing_is_sent_before_the_identity_is_known() {
    let mut bench = Bench::new(|_| {});
    bench.append(0, "a");
    let calls = bench.tick();
    assert_eq!(calls.len(), 1);
    assert!(bench.tick().is_empty(), "asked once");
    bench.give_identity(&calls[0], 5);
    let calls = bench.tick();
    let header = header(&calls[0], 0);
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 0, 0));
}

#[test]
fn an_identity_that_nobody_waits_for_any_more_is_not_asked_for() {
    let mut bench = Bench::new(|config| config.delivery_timeout = Duration::from_secs(1));
    bench.append(0, "a");
    let call = bench.tick().remove(0);
    bench.advance(Duration::from_millis(990));
    bench.lose(&call, false);
    bench.advance(Duration::from_secs(60));
    assert!(bench.tick().is_empty());
    assert_eq!((bench.completed().len(), bench.sender.deadline()), (1, None), "there is nothing to do");
    bench.append(0, "b");
    assert_eq!(bench.tick().len(), 1);
}

#[test]
fn an_identity_that_is_none_is_asked_for_again() {
    let mut bench = Bench::new(|_| {});
    bench.append(0, "a");
    let call = bench.tick().remove(0);
    bench.give_identity(&call, -1);
    assert!(bench.tick().is_empty(), "not sent without one, when brokers would take it twice");
    bench.advance(Duration::from_secs(1));
    let call = bench.tick().remove(0);
    bench.give_identity(&call, 5);
    assert_eq!(header(&bench.tick()[0], 0).producer_id, 5);
}

#[test]
fn a_refused_identity_fails_what_waits_and_is_asked_for_again() {
    let mut bench = Bench::new(|_| {});
    bench.append(0, "a");
    let call = bench.tick().remove(0);
    let refused = Code::CLUSTER_AUTHORIZATION_FAILED.get();
    let response = InitProducerIdResponse { error_code: refused, ..Default::default() };
    bench.respond(call.token, response.into());
    assert!(matches!(bench.completed()[0].as_ref().unwrap_err().kind(), ErrorKind::NotAuthorized { .. }));
    assert_eq!(bench.accumulator.budget.used(), 0);
    bench.append(0, "b");
    assert_eq!(bench.tick().len(), 1);
}

#[test]
fn a_real_gap_bumps_the_epoch_and_loses_nothing() {
    let mut bench = Bench::ready(|_| {});
    let calls: Vec<Call> = (0..2).map(|n| bench.send(0, &format!("{n}"))).collect();
    let other = bench.send(2, "elsewhere");
    bench.answer(&calls[0], &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    assert!(bench.tick().is_empty(), "the second one's fate is open");
    bench.answer(&calls[1], &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    let first = bench.tick().remove(0);
    assert_eq!(stamp(&first, 0), (1, 0));
    bench.answer(&first, &[(0, Code::NONE, 0)]);
    assert_eq!(stamp(&bench.tick()[0], 0), (1, 1));
    bench.answer(&other, &[(2, Code::NONE, 0)]);
    let next = bench.send(2, "elsewhere, later");
    assert_eq!(stamp(&next, 2), (1, 0), "with nothing in flight it takes the new epoch");
}

/// What was sent over a connection that is gone may arrive much later, together with what is missing before it.
#[test]
fn a_gap_before_a_batch_that_may_have_been_sent_before_does_not_stamp_it_anew() {
    let mut bench = Bench::ready(|config| config.delivery_timeout = Duration::from_secs(40));
    let missing = bench.send(0, "missing");
    bench.advance(Duration::from_secs(10));
    let behind = bench.send(0, "behind");
    bench.lose(&missing, true);
    bench.lose(&behind, true);
    bench.advance(Duration::from_secs(31));
    let again = bench.tick().remove(0);
    assert!(bench.completed()[0].as_ref().unwrap_err().maybe_written());
    assert_eq!(produce(&again), produce(&behind), "under its own stamp");
    bench.answer(&again, &[(0, Code::OUT_OF_ORDER_SEQUENCE_NUMBER, -1)]);
    let outcomes = bench.completed();
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].as_ref().unwrap_err().maybe_written());
    assert_eq!(stamp(&bench.send(0, "next"), 0), (1, 0));
}

#[test]
fn a_lost_answer_behind_a_rejected_batch_is_stamped_anew() {
    let mut bench = Bench::ready(|_| {});
    let large = bench.send(0, "large");
    let behind = bench.send(0, "behind");
    bench.answer(&large, &[(0, Code::MESSAGE_TOO_LARGE, -1)]);
    bench.lose(&behind, true);
    bench.advance(Duration::from_secs(2));
    assert_eq!(stamp(&bench.tick()[0], 0), (1, 0), "it cannot have been written over the gap");
}

#[test]
fn a_stale_identity_is_replaced() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send(0, "a");
    bench.answer(&call, &[(0, Code::INVALID_PRODUCER_EPOCH, -1)]);
    let ask = bench.tick().remove(0);
    bench.give_identity(&ask, 99);
    let header = header(&bench.tick()[0], 0);
    assert_eq!((header.producer_id, header.base_sequence), (99, 0));
}

#[test]
fn epochs_run_out_into_a_new_id() {
    let mut identity =
        Identity::new(Backoff { first: Duration::ZERO, max: Duration::ZERO }, Duration::ZERO, Random::new(0));
    let mut bench = Bench::new(|_| {});
    let token = identity.ask(bench.now, &mut bench.tokens).unwrap().token;
    let response =
        InitProducerIdResponse { producer_id: 1, producer_epoch: i16::MAX - 1, ..Default::default() };
    let answer = Answer { node: NodeId(1), version: 4, response: response.into() };
    assert!(identity.answer(bench.now, token, &Ok(answer)));
    identity.bump(identity.current().unwrap());
    assert_eq!(identity.current(), None);
    assert!(identity.ask(bench.now, &mut bench.tokens).is_some());
}

#[test]
fn a_refused_identity_leaves_what_may_have_been_written_to_its_own_stamp() {
    let mut bench = Bench::ready(|_| {});
    let lost = bench.send(0, "lost");
    let stale = bench.send(2, "stale");
    bench.lose(&lost, true);
    bench.answer(&stale, &[(2, Code::INVALID_PRODUCER_EPOCH, -1)]);
    let ask = bench.tick().remove(0);
    let refused = Code::CLUSTER_AUTHORIZATION_FAILED.get();
    bench.respond(ask.token, InitProducerIdResponse { error_code: refused, ..Default::default() }.into());
    assert_eq!(bench.completed().len(), 1, "the one that needs a new stamp");
    bench.advance(Duration::from_secs(2));
    let calls = bench.tick();
    let again = calls.iter().find(|call| matches!(call.request, Request::Produce(_))).expect("sent again");
    assert_eq!(produce(again), produce(&lost), "the same bytes");
}

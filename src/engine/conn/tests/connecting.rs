//! Connections that cannot be had, are lost, or stand idle.

use super::*;
use crate::wire::messages::ConsumerGroupHeartbeatRequest;

#[test]
fn a_failed_attempt_fails_who_waits_and_the_next_comes_later_each_time() {
    let mut rig = Rig::new(Purpose::General);
    let mut waits = Vec::new();
    for attempt in 0..12 {
        rig.submit(attempt, metadata(), ms(60_000));
        assert_eq!(rig.dials.last(), Some(&attempt));
        rig.refused();
        let (_, Failure { maybe_sent: false, error }) = rig.failure() else { panic!() };
        assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error}");
        let State::Backoff { until, .. } = rig.link.state else { panic!("{:?}", rig.link.state) };
        waits.push(until.saturating_duration_since(rig.now.instant));
        rig.pass(ms(6001));
    }
    for (attempt, nominal) in [(0, 50), (1, 100), (4, 800), (11, 5000)] {
        let allowed = ms(nominal * 8 / 10)..=ms(nominal * 12 / 10);
        assert!(allowed.contains(&waits[attempt]), "{attempt}: {:?}", waits[attempt]);
    }
}

/// A batch for a leader that is gone must not sit out the backoff of its connection: meanwhile there may be another one.
#[test]
fn a_call_that_comes_before_the_next_attempt_is_due_fails_at_once() {
    let mut rig = Rig::new(Purpose::Produce);
    rig.submit(1, produce(-1), ms(30_000));
    rig.refused();
    assert_eq!(rig.ids(), [1]);
    rig.submit(2, produce(-1), ms(30_000));
    let (2, Failure { maybe_sent: false, error }) = rig.failure() else { panic!() };
    assert!(
        matches!(error.kind(), ErrorKind::Io { kind: std::io::ErrorKind::ConnectionRefused, .. }),
        "{error}"
    );
    rig.pass(ms(100));
    rig.submit(3, produce(-1), ms(30_000));
    rig.connect();
    rig.answer(ProduceResponse::default().into());
    assert!(matches!(rig.outcome(), (3, Ok(_))));
}

#[test]
fn the_time_for_connecting_grows_to_half_a_minute() {
    let mut rig = Rig::new(Purpose::General);
    for seconds in [10, 20, 30, 30] {
        rig.submit(1, metadata(), ms(100_000));
        let State::Dialing { since, until } = rig.link.state else { panic!("{:?}", rig.link.state) };
        assert_eq!(until - since, Duration::from_secs(seconds));
        rig.pass(until - rig.now.instant);
        let (1, Failure { maybe_sent: false, error }) = rig.failure() else { panic!() };
        assert!(matches!(error.kind(), ErrorKind::Timeout { setting: "connect_timeout", .. }), "{error}");
        rig.pass(ms(6000));
    }
}

#[test]
fn a_listener_that_is_silent_or_closes_at_once_is_backed_off_from() {
    let mut rig = Rig::new(Purpose::General);
    rig.submit(1, metadata(), ms(100_000));
    rig.dialed(Ok(()));
    rig.write_all();
    rig.pass(ms(10_000));
    assert!(matches!(rig.failure(), (1, Failure { maybe_sent: false, .. })));
    assert_eq!(rig.closes, 1);
    rig.pass(ms(100));
    rig.submit(2, metadata(), ms(100_000));
    rig.dialed(Ok(()));
    rig.closed();
    let (2, Failure { error, .. }) = rig.failure() else { panic!() };
    assert!(error.to_string().contains("before the first answer"), "{error}");
    assert!(rig.link.failures == 2);
}

#[test]
fn a_listener_that_shakes_hands_and_closes_is_backed_off_from_ever_longer() {
    let mut rig = Rig::ready(Purpose::General);
    for expected in 1..8 {
        rig.submit(1, metadata(), ms(100_000));
        rig.pass(ms(6000));
        if expected > 1 {
            rig.connect();
        }
        rig.write_all();
        rig.closed();
        assert_eq!((rig.link.failures, rig.ids()), (expected, vec![1]));
    }
}

#[test]
fn what_was_not_sent_when_the_connection_was_lost_rides_on_the_next() {
    let mut rig = Rig::ready(Purpose::Produce);
    for id in 1..=7 {
        rig.submit(id, produce(-1), ms(30_000));
    }
    let one = rig.link.outgoing().len() / 5;
    // Two requests and a byte of the third were written.
    rig.write(2 * one + 1);
    rig.closed();
    let sent: Vec<_> =
        rig.outcomes.drain(..).map(|(id, outcome)| (id, outcome.unwrap_err().maybe_sent)).collect();
    assert_eq!(sent, [(1, true), (2, true), (3, true), (4, false), (5, false)]);
    rig.pass(ms(100));
    rig.connect();
    assert_eq!(rig.unanswered.len(), 2);
    rig.answer(ProduceResponse::default().into());
    rig.answer(ProduceResponse::default().into());
    assert_eq!(rig.ids(), [6, 7]);
}

#[test]
fn an_idle_connection_is_closed_and_opened_again_unnoticed() {
    let mut rig = Rig::ready(Purpose::General);
    rig.pass(ms(539_999));
    assert_eq!(rig.closes, 0);
    assert!(!rig.link.is_forgotten(rig.now));
    rig.pass(ms(1));
    assert_eq!(rig.closes, 1);
    assert!(rig.link.is_forgotten(rig.now));
    rig.submit(1, metadata(), ms(1000));
    assert!(!rig.link.is_forgotten(rig.now));
    rig.connect();
    rig.answer(MetadataResponse::default().into());
    assert!(matches!(rig.outcome(), (1, Ok(_))));
}

#[test]
fn a_broker_that_closes_an_idle_connection_is_not_held_in_suspicion() {
    let mut rig = Rig::ready(Purpose::General);
    rig.closed();
    assert!(matches!(rig.link.state, State::Idle));
    rig.submit(1, metadata(), ms(1000));
    assert_eq!(rig.dials, [0, 0]);
}

#[test]
fn a_broker_that_moved_is_connected_to_where_it_is() {
    let mut rig = Rig::ready(Purpose::Produce);
    for id in 1..=6 {
        rig.submit(id, produce(-1), ms(30_000));
    }
    rig.write_all();
    rig.link.moved(rig.now, place("c", 2));
    rig.look();
    assert_eq!((rig.ids(), rig.closes, rig.dials.len()), (vec![1, 2, 3, 4, 5], 1, 2));
    rig.connect();
    rig.answer(ProduceResponse::default().into());
    assert_eq!(rig.ids(), [6]);
}

#[test]
fn what_an_old_broker_cannot_be_asked_says_which_versions_could() {
    let mut rig = Rig::new(Purpose::COORDINATOR);
    let key = ApiKey::ConsumerGroupHeartbeat;
    let request = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some("t.*".into()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    rig.submit(1, request.into(), ms(1000));
    rig.dialed(Ok(()));
    rig.write_all();
    rig.answer(versions([(key.number(), 0, 0)]).into());
    let (1, Err(failure)) = rig.outcome() else { panic!() };
    let ErrorKind::UnsupportedVersion { request, ours, theirs } = failure.error.kind() else {
        panic!("{failure:?}")
    };
    assert_eq!((*request, *ours, *theirs), ("ConsumerGroupHeartbeat", (1, 1), Some((0, 0))));
    assert!(!failure.maybe_sent);
}

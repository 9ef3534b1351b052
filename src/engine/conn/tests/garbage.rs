//! Answers that are none.

use super::*;

#[test]
fn an_answer_that_is_not_due_costs_the_connection() {
    // Of another request; of none; the same once more.
    for (sent, given) in [(2, 1), (0, 0), (1, 0)] {
        let mut rig = Rig::ready(Purpose::General);
        for id in 0..sent {
            rig.submit(id, heartbeat(), ms(30_000));
        }
        rig.write_all();
        let next = rig.unanswered.front().map_or(99, |received| received.correlation_id);
        let wrong = if given == 1 { rig.unanswered[1].correlation_id } else { next.wrapping_add(50) };
        rig.receive(&throttled(0).encode_frame(4, wrong).unwrap().into_bytes());
        assert_eq!(rig.closes, 1);
        assert_eq!(rig.outcomes.len(), sent as usize);
        for (_, outcome) in rig.outcomes.drain(..) {
            let Failure { maybe_sent: true, error } = outcome.unwrap_err() else { panic!() };
            assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{error}");
        }
    }
}

#[test]
fn an_answer_that_came_already_does_not_come_twice() {
    let mut rig = Rig::ready(Purpose::General);
    rig.submit(1, heartbeat(), ms(30_000));
    rig.write_all();
    let id = rig.unanswered[0].correlation_id;
    let frame = throttled(0).encode_frame(4, id).unwrap().into_bytes();
    rig.receive(&[&frame[..], &frame[..]].concat());
    assert_eq!((rig.ids(), rig.closes), (vec![1], 1));
}

#[test]
fn a_body_that_does_not_parse_names_the_peer_and_the_request() {
    let mut rig = Rig::ready(Purpose::General);
    rig.submit(1, metadata(), ms(30_000));
    rig.write_all();
    let id = rig.unanswered[0].correlation_id;
    rig.receive(&[&[0, 0, 0, 9][..], &id.to_be_bytes(), &[0, 0xff, 0xff, 0xff, 0xff]].concat());
    let (1, Failure { maybe_sent: true, error }) = rig.failure() else { panic!() };
    let ErrorKind::Malformed { peer, detail } = error.kind() else { panic!("{error}") };
    assert!(peer.contains("10.0.0.1:1") && detail.contains("Metadata version"), "{error}");
    assert_eq!(rig.closes, 1);
}

#[test]
fn what_does_not_speak_kafka_is_named() {
    for (bytes, looks_like) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
        (&[0x15, 3, 3, 0, 2, 2, 80], "TLS"),
        (b"SSH-2.0-x", "SSH"),
    ] {
        let mut rig = Rig::new(Purpose::General);
        rig.submit(1, metadata(), ms(30_000));
        rig.dialed(Ok(()));
        rig.write_all();
        rig.receive(bytes);
        let (1, Failure { maybe_sent: false, error }) = rig.failure() else { panic!() };
        let ErrorKind::NotKafka { looks_like: found, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(*found, looks_like);
    }
}

#[test]
fn lengths_that_no_answer_has_close_the_connection_and_back_off() {
    for length in [i32::MAX, -1, i32::MIN, 0, 3, (100 << 20) + 1] {
        let mut rig = Rig::ready(Purpose::General);
        rig.submit(1, metadata(), ms(30_000));
        rig.write_all();
        rig.receive(&length.to_be_bytes());
        let (1, Failure { error, .. }) = rig.failure() else { panic!() };
        let ErrorKind::FrameSize { length: found, limit, setting, .. } = error.kind() else {
            panic!("{error}")
        };
        assert_eq!((*found, *limit, *setting), (length.into(), 100 << 20, "receive_message_max_bytes"));
        assert_eq!((rig.closes, rig.dials.len()), (1, 1));
        rig.submit(2, metadata(), ms(30_000));
        rig.pass(ms(100));
        assert_eq!(rig.dials.len(), 2, "and recovers");
    }
}

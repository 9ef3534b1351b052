//! What becomes of a batch that is refused as a whole, and of its records.

use super::*;
use crate::wire::messages::produce_response::BatchIndexAndErrorMessage;

/// The values of the records for partition 0.
fn values(call: &Call) -> Vec<String> {
    let batch = Batches::new(produce(call)[&0].clone()).next().unwrap().unwrap();
    batch.verify_crc().unwrap();
    let mut cursor = batch.cursor(1 << 20).unwrap();
    let values = cursor.records().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()));
    values.map(|value| value.unwrap().trim_start_matches('.').to_owned()).collect()
}

impl Bench {
    /// Appends records of 1,000 bytes each, and sends them in one batch.
    fn send_many(&mut self, values: &[&str]) -> Call {
        for value in values {
            self.append(0, &format!("{value:.>1000}"));
        }
        let mut calls = self.tick();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    fn refuse(&mut self, call: &Call, code: Code) {
        self.answer(call, &[(0, code, -1)]);
    }

    /// What the newest deliveries were told: their offsets.
    fn offsets(&self, newest: usize) -> Vec<Option<i64>> {
        let deliveries = &self.deliveries[self.deliveries.len() - newest..];
        let offset = |outcome: Result<Written, Error>| outcome.ok().and_then(|written| written.base_offset);
        deliveries.iter().map(|(done, index)| done.of(*index).and_then(offset)).collect()
    }

    pub(super) fn error(&self, back: usize) -> Error {
        let (done, index) = &self.deliveries[self.deliveries.len() - back];
        done.of(*index).unwrap().unwrap_err()
    }
}

#[test]
fn a_batch_that_is_too_large_goes_in_parts_in_front_of_its_lane_under_its_sequences() {
    for codec in [Codec::None, Codec::Gzip] {
        let mut bench = Bench::ready(|config| config.compression = Compression::new(codec));
        let large = bench.send_many(&["a", "b", "c", "d"]);
        let behind = bench.send_many(&["e"]);
        assert_eq!((stamp(&large, 0), stamp(&behind, 0)), ((0, 1), (0, 5)));
        bench.refuse(&large, Code::MESSAGE_TOO_LARGE);
        bench.refuse(&behind, Code::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert!(bench.completed().is_empty() && bench.offsets(5) == [None; 5]);
        assert_eq!(bench.sender.flush(bench.now).len(), 5, "a flush waits for all that is left of it");
        let mut sent = Vec::new();
        for offset in 10.. {
            let calls = bench.tick();
            let Some(call) = calls.first() else { break };
            assert_eq!(calls.len(), 1, "the oldest alone");
            sent.push((stamp(call, 0), values(call)));
            bench.answer(call, &[(0, Code::NONE, offset)]);
        }
        let expected = [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")];
        assert_eq!(sent, expected.map(|(sequence, value)| ((0, sequence), vec![value.to_owned()])));
        assert_eq!(bench.completed().len(), 5);
        assert_eq!(bench.offsets(5), [10, 11, 12, 13, 14].map(Some));
        assert_eq!(bench.accumulator.budget.used(), 0);
    }
}

#[test]
fn a_part_that_is_still_too_large_is_taken_apart_again() {
    let mut bench = Bench::ready(|_| {});
    let names: Vec<String> = (0..16).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut waiting = vec![bench.send_many(&names)];
    let (mut written, mut refusals) = (Vec::new(), 0);
    while let Some(call) = waiting.pop() {
        let values = values(&call);
        if values.len() > 3 {
            refusals += 1;
            bench.refuse(&call, Code::RECORD_LIST_TOO_LARGE);
        } else {
            bench.answer(&call, &[(0, Code::NONE, 100 + i64::try_from(written.len()).unwrap())]);
            written.extend(values);
        }
        waiting.extend(bench.tick());
    }
    assert_eq!(written, names, "all of them, in their order");
    bench.completed();
    assert_eq!(bench.offsets(16), (100..116).map(Some).collect::<Vec<_>>());
    // Once it is known what the topic takes, what is behind is taken apart as far as needed at once.
    assert!(refusals <= 5, "{refusals}");
    assert_eq!(bench.accumulator.budget.used(), 0);
}

#[test]
fn batches_stay_below_what_was_refused() {
    let mut bench = Bench::ready(|_| {});
    let large = bench.send_many(&["a", "b", "c", "d"]);
    bench.refuse(&large, Code::MESSAGE_TOO_LARGE);
    for _ in 0..3 {
        let call = bench.tick().remove(0);
        bench.answer(&call, &[(0, Code::NONE, 0)]);
    }
    for value in ["e", "f", "g", "h"] {
        bench.append(0, &format!("{value:.>1000}"));
    }
    let sizes: Vec<usize> = iter::from_fn(|| bench.tick().pop()).map(|call| values(&call).len()).collect();
    assert!(sizes.iter().all(|size| *size < 4), "{sizes:?}");
}

#[test]
fn a_record_that_is_too_large_alone_fails_with_its_size_and_the_setting() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send_many(&["a"]);
    bench.refuse(&call, Code::MESSAGE_TOO_LARGE);
    assert_eq!(bench.completed().len(), 1);
    let error = bench.error(1);
    let ErrorKind::RecordTooLarge { size, limit: None, setting: "max.message.bytes" } = error.kind() else {
        panic!("{error}")
    };
    assert!((1_000..1_100).contains(size) && !error.maybe_written(), "{error}");
    assert_eq!(stamp(&bench.send(0, "b"), 0), (1, 0), "its sequence will not come");
    assert_eq!(bench.accumulator.budget.used(), 100);
}

#[test]
fn what_may_have_been_written_is_never_taken_apart() {
    let mut bench = Bench::ready(|_| {});
    let lost = bench.send_many(&["a", "b", "c", "d"]);
    bench.lose(&lost, true);
    bench.advance(Duration::from_secs(2));
    let again = bench.tick().remove(0);
    bench.refuse(&again, Code::MESSAGE_TOO_LARGE);
    assert!(bench.completed()[0].as_ref().unwrap_err().maybe_written());
    assert_eq!(bench.error(1).code(), Some(Code::MESSAGE_TOO_LARGE));
    assert_eq!(stamp(&bench.send(0, "e"), 0), (1, 0));
}

#[test]
fn a_batch_that_was_given_up_is_not_sent_in_parts() {
    let mut bench = Bench::ready(|config| config.delivery_timeout = Duration::from_secs(40));
    let call = bench.send_many(&["a", "b", "c", "d"]);
    bench.advance(Duration::from_secs(41));
    assert!(bench.tick().is_empty());
    assert_eq!(bench.completed().len(), 1);
    bench.refuse(&call, Code::MESSAGE_TOO_LARGE);
    assert!(bench.tick().is_empty() && bench.sender.is_idle());
    bench.completed();
    assert_eq!(bench.accumulator.budget.used(), 0);
}

#[test]
fn without_sequences_too_a_batch_is_taken_apart() {
    let mut bench = Bench::new(|config| (config.idempotent, config.acks) = (false, 1));
    let call = bench.send_many(&["a", "b", "c", "d"]);
    bench.refuse(&call, Code::MESSAGE_TOO_LARGE);
    let mut written = Vec::new();
    while let Some(call) = bench.tick().pop() {
        written.extend(values(&call));
        bench.answer(&call, &[(0, Code::NONE, 0)]);
    }
    assert_eq!(written, ["a", "b", "c", "d"]);
}

pub(super) fn complaints(of: &[(i32, &str)]) -> PartitionProduceResponse {
    let record = |(index, message): &(i32, &str)| BatchIndexAndErrorMessage {
        batch_index: *index,
        batch_index_error_message: (!message.is_empty()).then(|| (*message).into()),
        ..Default::default()
    };
    PartitionProduceResponse {
        error_code: Code::INVALID_RECORD.get(),
        base_offset: -1,
        record_errors: of.iter().map(record).collect(),
        error_message: Some("some are bad".into()),
        ..Default::default()
    }
}

#[test]
fn only_the_records_that_the_broker_names_fail_and_the_others_are_sent_again_under_a_new_epoch() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send_many(&["a", "b", "c", "d", "e"]);
    let behind = bench.send_many(&["f"]);
    bench.answer_with(&call, vec![complaints(&[(1, "no key"), (3, "")])]);
    bench.refuse(&behind, Code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.completed().len(), 2);
    for (back, words) in [(5, "no key"), (3, "some are bad")] {
        let error = bench.error(back);
        let ErrorKind::Broker { code: Code::INVALID_RECORD, message: Some(message), .. } = error.kind()
        else {
            panic!("{error}")
        };
        assert_eq!(message, words);
    }
    let rest = bench.tick().remove(0);
    assert_eq!((stamp(&rest, 0), values(&rest).join("")), ((1, 0), "ace".to_owned()));
    bench.answer(&rest, &[(0, Code::NONE, 20)]);
    let behind = bench.tick().remove(0);
    assert_eq!((stamp(&behind, 0), values(&behind).join("")), ((1, 3), "f".to_owned()));
    bench.answer(&behind, &[(0, Code::NONE, 23)]);
    bench.completed();
    assert_eq!(bench.offsets(6), [Some(20), None, Some(21), None, Some(22), Some(23)]);
    assert_eq!(bench.accumulator.budget.used(), 0);
}

#[test]
fn a_batch_of_which_every_record_is_bad_ends() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send_many(&["a", "b"]);
    bench.answer_with(&call, vec![complaints(&[(0, "bad"), (1, "bad")])]);
    bench.completed();
    assert!(bench.tick().is_empty() && bench.sender.is_idle());
    assert!(matches!(bench.error(1).kind(), ErrorKind::Broker { code: Code::INVALID_RECORD, .. }));
    assert_eq!(bench.accumulator.budget.used(), 0);
    assert_eq!(stamp(&bench.send(0, "b"), 0), (1, 0));
}

#[test]
fn complaints_about_records_that_are_not_there_fail_the_batch() {
    let mut bench = Bench::ready(|_| {});
    let call = bench.send_many(&["a", "b"]);
    bench.answer_with(&call, vec![complaints(&[(-1, "bad"), (2, "bad")])]);
    assert_eq!(bench.completed().len(), 1);
    let error = bench.error(1);
    let ErrorKind::Broker { message: Some(message), .. } = error.kind() else { panic!("{error}") };
    assert_eq!(message, "some are bad");
    assert!(bench.sender.is_idle());
}

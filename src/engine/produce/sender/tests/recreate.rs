//! A topic is deleted, and another created under its name.

use super::*;

const OTHER: Uuid = Uuid::from_bytes([8; 16]);

fn recreated() -> Arc<Snapshot> {
    let mut topic = Topic::clone(leaders(&[Some(1), Some(1), Some(2)]).topic("t").unwrap());
    topic.id = Some(OTHER);
    Arc::new(Snapshot::of_topics([topic]))
}

fn asked_id(call: &Call) -> Uuid {
    let Request::Produce(request) = &call.request else { panic!("{call:?}") };
    request.topic_data[0].topic_id
}

fn is_recreated(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TopicRecreated { topic, .. } if topic.as_str() == "t")
}

#[test]
fn what_was_on_its_way_fails_and_what_comes_later_goes_to_the_new_topic() {
    let mut bench = Bench::ready(|_| {});
    let refused = bench.send(0, "refused");
    bench.answer(&refused, &[(0, Code::NOT_LEADER_OR_FOLLOWER, -1)]);
    let flying = bench.send(1, "in flight");
    bench.append(2, "waits");
    bench.completed();
    bench.sender.catalog(bench.now, recreated());
    assert!(bench.tick().is_empty(), "nothing goes where it was not meant to");
    let ends: Vec<Error> = bench.completed().into_iter().map(Result::unwrap_err).collect();
    assert_eq!(ends.len(), 3);
    let (maybe, never): (Vec<&Error>, Vec<&Error>) = ends.iter().partition(|error| error.maybe_written());
    assert!(never.len() == 2 && never.into_iter().all(is_recreated), "{ends:?}");
    let ErrorKind::Undelivered { cause: Some(cause), .. } = maybe[0].kind() else { panic!("{ends:?}") };
    assert!(is_recreated(cause));
    bench.answer(&flying, &[(1, Code::UNKNOWN_TOPIC_ID, -1)]);
    bench.completed();
    assert!(bench.sender.is_idle() && bench.accumulator.budget.used() == 0);
    bench.advance(Duration::from_secs(2));
    for partition in [0, 1, 2] {
        let call = bench.send(partition, "new");
        let partition = i32::try_from(partition).unwrap();
        assert_eq!((asked_id(&call), stamp(&call, partition).1), (OTHER, 0));
    }
}

#[test]
fn what_follows_goes_to_the_new_topic_in_order_and_its_first_batch_alone() {
    let mut bench = Bench::ready(|config| config.follow_recreated = true);
    let calls: Vec<Call> = (0..3).map(|n| bench.send(0, &format!("{n}"))).collect();
    bench.sender.catalog(bench.now, recreated());
    bench.append(0, "3");
    assert!(bench.tick().is_empty());
    // One was written to the old topic, under its id: that is an acknowledgement all the same.
    bench.answer(&calls[0], &[(0, Code::NONE, 7)]);
    assert_eq!(bench.completed().len(), 1);
    for call in &calls[1..] {
        bench.answer(call, &[(0, Code::UNKNOWN_TOPIC_ID, -1)]);
    }
    assert!(bench.completed().is_empty());
    bench.advance(Duration::from_secs(2));
    let mut sent = bench.tick();
    assert_eq!(sent.len(), 1, "the oldest alone");
    for sequence in [2, 3, 4] {
        let call = sent.remove(0);
        assert_eq!((asked_id(&call), stamp(&call, 0)), (OTHER, (0, sequence)));
        let base_offset = i64::from(sequence);
        let written = PartitionProduceResponse { base_offset, ..Default::default() };
        bench.answer_about(OTHER, &call, vec![written]);
        sent.extend(bench.tick());
    }
    assert_eq!(bench.completed().len(), 3);
}

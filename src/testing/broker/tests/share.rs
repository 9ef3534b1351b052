//! Share groups (KIP-932).

use super::*;
use crate::error::{Code, Resource};
use crate::testing::{Api, Fault, Rule};
use crate::wire::batch::Batches;
use crate::wire::messages::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic};
use crate::wire::messages::share_fetch_request::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic,
};
use crate::wire::messages::{
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest,
    JoinGroupResponse, ListGroupsRequest, ListGroupsResponse, ShareAcknowledgeRequest,
    ShareAcknowledgeResponse, ShareFetchRequest, ShareFetchResponse, ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse, share_acknowledge_request, share_fetch_response,
};

mod group;
mod logs;
mod random;
mod sessions;

const SECOND: Duration = Duration::from_secs(1);
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;

/// First offset, last offset, delivery count.
type Run = (i64, i64, i16);

fn world() -> World {
    let mut world = World::with(1, |settings, _| settings.share_from_earliest = true);
    world.topic("t", 2, &[]);
    world
}

/// A member with a session over a connection of its own, of partition 0 of topic `t`.
struct Member {
    id: &'static str,
    connection: ConnectionId,
    epoch: i32,
}

impl Member {
    fn new(world: &mut World, id: &'static str) -> Self {
        Self::at(world, id, 1)
    }

    fn at(world: &mut World, id: &'static str, node: i32) -> Self {
        Self { id, connection: world.connect(node), epoch: 0 }
    }

    /// The next request of the session, which asks for up to 100 records and waits for none.
    fn request(&self, world: &World) -> ShareFetchRequest {
        ShareFetchRequest {
            group_id: Some("g".into()),
            member_id: Some(self.id.into()),
            share_session_epoch: self.epoch,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 100,
            topics: if self.epoch == 0 { vec![topic(world, 0, Vec::new())] } else { Vec::new() },
            ..ShareFetchRequest::default()
        }
    }

    fn send(&mut self, world: &mut World, request: ShareFetchRequest) {
        world.send(self.connection, 2, request);
        self.epoch += 1;
    }

    fn ask(&mut self, world: &mut World, request: ShareFetchRequest) -> ShareFetchResponse {
        self.send(world, request);
        world.answer(self.connection).expect("no answer")
    }

    /// Fetches, and returns what was acquired of partition 0.
    fn fetch(&mut self, world: &mut World) -> Vec<Run> {
        let request = self.request(world);
        runs(&self.ask(world, request))
    }

    /// Fetches at most so many.
    fn take(&mut self, world: &mut World, max_records: i32) -> Vec<Run> {
        let request = ShareFetchRequest { max_records, share_acquire_mode: 1, ..self.request(world) };
        runs(&self.ask(world, request))
    }

    fn acknowledge(&mut self, world: &mut World, acks: Vec<AcknowledgementBatch>) -> Code {
        let request = ack_request(world, self, acks);
        self.epoch += 1;
        world.send(self.connection, 2, request);
        let response: ShareAcknowledgeResponse = world.answer(self.connection).expect("no answer");
        assert_eq!(response.error_code, 0);
        Code::new(response.responses[0].partitions[0].error_code)
    }
}

fn topic(world: &World, partition_index: i32, acks: Vec<AcknowledgementBatch>) -> FetchTopic {
    let partition =
        FetchPartition { partition_index, acknowledgement_batches: acks, ..FetchPartition::default() };
    FetchTopic {
        topic_id: world.broker.topic_id("t").unwrap(),
        partitions: vec![partition],
        ..FetchTopic::default()
    }
}

fn ack(first_offset: i64, last_offset: i64, types: &[i8]) -> AcknowledgementBatch {
    AcknowledgementBatch {
        first_offset,
        last_offset,
        acknowledge_types: types.to_vec(),
        ..AcknowledgementBatch::default()
    }
}

fn ack_request(world: &World, member: &Member, acks: Vec<AcknowledgementBatch>) -> ShareAcknowledgeRequest {
    let acks = acks.into_iter().map(|ack| share_acknowledge_request::AcknowledgementBatch {
        first_offset: ack.first_offset,
        last_offset: ack.last_offset,
        acknowledge_types: ack.acknowledge_types,
        ..Default::default()
    });
    let partition =
        AcknowledgePartition { acknowledgement_batches: acks.collect(), ..AcknowledgePartition::default() };
    let topic = AcknowledgeTopic {
        topic_id: world.broker.topic_id("t").unwrap(),
        partitions: vec![partition],
        ..AcknowledgeTopic::default()
    };
    ShareAcknowledgeRequest {
        group_id: Some("g".into()),
        member_id: Some(member.id.into()),
        share_session_epoch: member.epoch,
        topics: vec![topic],
        ..ShareAcknowledgeRequest::default()
    }
}

fn partitions(response: &ShareFetchResponse) -> Vec<&share_fetch_response::PartitionData> {
    assert_eq!(response.error_code, 0);
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

fn runs(response: &ShareFetchResponse) -> Vec<Run> {
    let partitions = partitions(response);
    let acquired = partitions.iter().filter(|data| data.partition_index == 0);
    acquired
        .flat_map(|data| &data.acquired_records)
        .map(|run| (run.first_offset, run.last_offset, run.delivery_count))
        .collect()
}

/// The base offset and number of records of each batch of partition 0.
fn batches(response: &ShareFetchResponse) -> Vec<(i64, u32)> {
    let records = partitions(response)[0].records.clone().unwrap();
    let batches = Batches::new(records).map(Result::unwrap);
    batches.map(|batch| (batch.header().base_offset, batch.header().count)).collect()
}

#[test]
fn two_members_share_one_partition() {
    let mut world = world();
    world.produce(0, batch(&["a", "b", "c"]));
    world.produce(0, batch(&["d", "e"]));
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    let request = ShareFetchRequest { max_records: 1, ..a.request(&world) };
    let response = a.ask(&mut world, request);
    assert_eq!(response.acquisition_lock_timeout_ms, 30_000);
    assert_eq!((runs(&response), batches(&response)), (vec![(0, 2, 1)], vec![(0, 3)]), "a whole batch");
    let request = b.request(&world);
    let response = b.ask(&mut world, request);
    assert_eq!((runs(&response), batches(&response)), (vec![(3, 4, 1)], vec![(3, 2)]));
    assert_eq!(a.fetch(&mut world), []);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 2, &[ACCEPT])]), Code::NONE);
    assert_eq!(b.acknowledge(&mut world, vec![ack(3, 4, &[ACCEPT, RELEASE])]), Code::NONE);
    assert_eq!(a.fetch(&mut world), [(4, 4, 2)]);
}

#[test]
fn a_group_begins_with_what_is_written_after_its_first_fetch() {
    let mut world = World::new(1);
    world.topic("t", 1, &[]);
    world.produce(0, batch(&["before"]));
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), []);
    world.produce(0, batch(&["after"]));
    assert_eq!(a.fetch(&mut world), [(1, 1, 1)]);
}

#[test]
fn what_is_released_comes_again_and_what_is_rejected_does_not() {
    let mut world = world();
    world.produce(0, batch(&["a", "b", "c", "d"]));
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 3, 1)]);
    let acks = vec![ack(0, 1, &[RELEASE, ACCEPT]), ack(2, 3, &[REJECT, RELEASE])];
    assert_eq!(a.acknowledge(&mut world, acks), Code::NONE);
    assert_eq!(a.fetch(&mut world), [(0, 0, 2), (3, 3, 2)]);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[0]), ack(3, 3, &[ACCEPT])]), Code::NONE);
    assert_eq!(a.fetch(&mut world), []);
    world.produce(0, batch(&["e"]));
    assert_eq!(a.fetch(&mut world), [(4, 4, 1)]);
}

#[test]
fn a_lock_ends_and_a_record_is_delivered_only_so_often() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    let mut a = Member::new(&mut world, "a");
    let b = &mut Member::new(&mut world, "b");
    assert_eq!(b.fetch(&mut world), [(0, 0, 1)]);
    for count in 2..=5 {
        world.pass(29 * SECOND);
        assert_eq!(a.fetch(&mut world), []);
        assert_eq!(world.broker.deadline(), Some(world.now.instant + SECOND));
        world.pass(SECOND);
        assert_eq!(a.fetch(&mut world), [(0, 0, count)]);
    }
    assert_eq!(b.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::INVALID_RECORD_STATE);
    world.pass(30 * SECOND);
    assert_eq!(a.fetch(&mut world), []);
    assert_eq!(world.broker.deadline(), None);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::NONE, "done with already");
}

#[test]
fn a_lock_is_renewed() {
    let mut world = world();
    world.produce(0, batch(&["a", "b"]));
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    assert_eq!(a.fetch(&mut world), [(0, 1, 1)]);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[RENEW])]), Code::INVALID_REQUEST);
    world.pass(20 * SECOND);
    let request = ShareFetchRequest {
        is_renew_ack: true,
        max_records: 0,
        max_bytes: 0,
        min_bytes: 0,
        topics: vec![topic(&world, 0, vec![ack(0, 0, &[RENEW])])],
        ..a.request(&world)
    };
    let response = a.ask(&mut world, request);
    assert_eq!(partitions(&response)[0].acknowledge_error_code, 0);
    world.pass(10 * SECOND);
    assert_eq!(b.fetch(&mut world), [(1, 1, 2)]);
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::NONE);
    let request = ShareFetchRequest { is_renew_ack: true, ..a.request(&world) };
    assert_eq!(Code::new(a.ask(&mut world, request).error_code), Code::INVALID_REQUEST);
}

#[test]
fn acknowledgements_must_be_of_what_was_acquired() {
    let mut world = world();
    world.produce(0, batch(&["a", "b", "c"]));
    let (mut a, mut b) = (Member::new(&mut world, "a"), Member::new(&mut world, "b"));
    assert_eq!(a.take(&mut world, 2), [(0, 1, 1)]);
    assert_eq!(b.take(&mut world, 2), [(2, 2, 1)]);
    for (first, last) in [(0, 2), (2, 2), (0, 3)] {
        let code = a.acknowledge(&mut world, vec![ack(first, last, &[ACCEPT])]);
        assert_eq!(code, Code::INVALID_RECORD_STATE, "{first} to {last}");
    }
    assert_eq!(a.acknowledge(&mut world, vec![ack(3, 3, &[ACCEPT])]), Code::INVALID_REQUEST);
    let both = vec![ack(0, 0, &[ACCEPT]), ack(2, 2, &[ACCEPT])];
    assert_eq!(a.acknowledge(&mut world, both), Code::INVALID_RECORD_STATE);
    let overlapping = vec![ack(0, 1, &[ACCEPT]), ack(1, 1, &[ACCEPT])];
    assert_eq!(a.acknowledge(&mut world, overlapping), Code::INVALID_RECORD_STATE);
    for malformed in [
        vec![ack(1, 0, &[ACCEPT])],
        vec![ack(0, 1, &[])],
        vec![ack(0, 1, &[1, 1, 1])],
        vec![ack(0, 0, &[5])],
        vec![ack(0, 0, &[-1])],
        vec![ack(-1, 0, &[ACCEPT])],
        vec![ack(0, i64::MAX, &[ACCEPT])],
        vec![ack(1, 1, &[ACCEPT]), ack(0, 0, &[ACCEPT])],
        vec![ack(0, 1, &[ACCEPT]), ack(0, 1, &[ACCEPT])],
    ] {
        assert_eq!(a.acknowledge(&mut world, malformed), Code::INVALID_REQUEST);
    }
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 1, &[ACCEPT])]), Code::NONE, "nothing has changed");
}

#[test]
fn acknowledgements_come_with_fetches_too_and_are_answered_at_once() {
    let mut world = world();
    world.produce(0, batch(&["a", "b"]));
    let mut a = Member::new(&mut world, "a");
    a.fetch(&mut world);
    let mut request = ShareFetchRequest { max_wait_ms: 500, ..a.request(&world) };
    request.topics = vec![topic(&world, 0, vec![ack(0, 1, &[RELEASE, ACCEPT])])];
    let response = a.ask(&mut world, request.clone());
    assert_eq!(runs(&response), [(0, 0, 2)], "what was released first of all");
    assert_eq!(partitions(&response)[0].acknowledge_error_code, 0);
    request.share_session_epoch = a.epoch;
    let response = a.ask(&mut world, request);
    let data = partitions(&response)[0];
    assert_eq!(Code::new(data.acknowledge_error_code), Code::INVALID_RECORD_STATE);
    assert_eq!((data.error_code, data.acquired_records.len()), (0, 0));
}

#[test]
fn records_are_limited_where_that_is_wanted() {
    let mut world = world();
    for _ in 0..3 {
        world.produce(0, batch(&["a", "b", "c"]));
    }
    let mut a = Member::new(&mut world, "a");
    let request = ShareFetchRequest { max_records: 4, share_acquire_mode: 1, ..a.request(&world) };
    let response = a.ask(&mut world, request);
    assert_eq!((runs(&response), batches(&response)), (vec![(0, 3, 1)], vec![(0, 3), (3, 3)]));
    let request = ShareFetchRequest { max_records: 1, batch_size: 1, ..a.request(&world) };
    let response = a.ask(&mut world, request);
    assert_eq!((runs(&response), batches(&response)), (vec![(4, 5, 1)], vec![(3, 3)]), "the rest of it");
    let request = ShareFetchRequest { share_acquire_mode: 2, ..a.request(&world) };
    assert_eq!(Code::new(a.ask(&mut world, request).error_code), Code::INVALID_REQUEST);
}

#[test]
fn runs_are_cut_where_batches_begin() {
    let mut world = world();
    for _ in 0..3 {
        world.produce(0, batch(&["a", "b"]));
    }
    let mut a = Member::new(&mut world, "a");
    let request = ShareFetchRequest { batch_size: 3, ..a.request(&world) };
    assert_eq!(runs(&a.ask(&mut world, request)), [(0, 3, 1), (4, 5, 1)]);
}

#[test]
fn only_so_many_records_are_in_flight() {
    let mut world = World::with(1, |settings, _| {
        settings.share_from_earliest = true;
        settings.share_max_locks = 4;
    });
    world.topic("t", 1, &[]);
    for _ in 0..4 {
        world.produce(0, batch(&["a", "b", "c"]));
    }
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 5, 1)], "a batch that is begun is delivered whole");
    assert_eq!(a.acknowledge(&mut world, vec![ack(1, 5, &[ACCEPT])]), Code::NONE);
    assert_eq!(a.fetch(&mut world), [], "the first one holds the start back");
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::NONE);
    assert_eq!(a.take(&mut world, 100), [(6, 9, 1)]);
}

#[test]
fn the_bytes_are_limited_but_for_the_first_batch() {
    let mut world = world();
    for _ in 0..3 {
        world.produce(0, batch(&["a"]));
    }
    let size = i32::try_from(batch(&["a"]).len()).unwrap();
    let mut a = Member::new(&mut world, "a");
    for (max_bytes, expected) in [(1, vec![(0, 0, 1)]), (2 * size, vec![(1, 2, 1)])] {
        let request = ShareFetchRequest { max_bytes, ..a.request(&world) };
        assert_eq!(runs(&a.ask(&mut world, request)), expected);
    }
}

#[test]
fn what_is_not_there_or_forbidden_says_so() {
    let mut world = world();
    let mut a = Member::new(&mut world, "a");
    let mut request = a.request(&world);
    request.topics.push(FetchTopic { partitions: vec![FetchPartition::default()], ..FetchTopic::default() });
    request.topics[0].partitions[0].partition_index = 9;
    request.max_wait_ms = 500;
    let response = a.ask(&mut world, request);
    let codes: Vec<i16> = partitions(&response).iter().map(|data| data.error_code).collect();
    assert_eq!(codes, [Code::UNKNOWN_TOPIC_ID.get(), Code::UNKNOWN_TOPIC_OR_PARTITION.get()]);
    a.epoch = 0;
    world.broker.deny(Resource::Topic, "t");
    let request = a.request(&world);
    let response = a.ask(&mut world, request);
    assert_eq!(Code::new(partitions(&response)[0].error_code), Code::TOPIC_AUTHORIZATION_FAILED);
    world.broker.deny(Resource::Group, "g");
    let request = a.request(&world);
    assert_eq!(Code::new(a.ask(&mut world, request).error_code), Code::GROUP_AUTHORIZATION_FAILED);
    a.id = "";
    let request = a.request(&world);
    assert_eq!(Code::new(a.ask(&mut world, request).error_code), Code::INVALID_REQUEST);
}

#[test]
fn a_topic_that_is_deleted_is_forgotten() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    let mut a = Member::new(&mut world, "a");
    assert_eq!(a.fetch(&mut world), [(0, 0, 1)]);
    assert!(world.broker.delete_topic(world.now, "t"));
    world.topic("t", 1, &[]);
    let request = a.request(&world);
    let response = a.ask(&mut world, request);
    assert_eq!(Code::new(partitions(&response)[0].error_code), Code::UNKNOWN_TOPIC_ID);
}

#[test]
fn rules_refuse_partitions_and_sessions() {
    let mut world = world();
    world.produce(0, batch(&["a"]));
    let mut a = Member::new(&mut world, "a");
    let refuse = |code| Rule::new(Fault::Refuse(code)).times(1);
    world.broker.add_fault(refuse(Code::KAFKA_STORAGE_ERROR).on(Api::ShareFetch).topic("t"));
    let request = a.request(&world);
    let response = a.ask(&mut world, request);
    assert_eq!(Code::new(partitions(&response)[0].error_code), Code::KAFKA_STORAGE_ERROR);
    world.broker.add_fault(refuse(Code::SHARE_SESSION_NOT_FOUND).on(Api::ShareFetch).group("g"));
    let request = a.request(&world);
    assert_eq!(Code::new(a.ask(&mut world, request).error_code), Code::SHARE_SESSION_NOT_FOUND);
    a.epoch = 1;
    assert_eq!(a.fetch(&mut world), [(0, 0, 1)]);
    world.broker.add_fault(refuse(Code::REQUEST_TIMED_OUT).on(Api::ShareAcknowledge).topic("t"));
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::REQUEST_TIMED_OUT);
    let rule = Rule::new(Fault::ApplyThenRefuse(Code::REQUEST_TIMED_OUT)).times(1);
    world.broker.add_fault(rule.on(Api::ShareAcknowledge).topic("t"));
    assert_eq!(a.acknowledge(&mut world, vec![ack(0, 0, &[ACCEPT])]), Code::REQUEST_TIMED_OUT);
    assert_eq!(world.broker.share_start("g", "t", 0), Some(1));
    let entry = world.broker.journal().last().unwrap();
    assert_eq!((entry.groups.len(), entry.partitions.len()), (1, 1));
}

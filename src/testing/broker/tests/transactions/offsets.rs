//! AddOffsetsToTxn and TxnOffsetCommit.

use super::*;
use crate::error::Resource;
use crate::wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use crate::wire::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, OffsetFetchRequest, OffsetFetchResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

const GROUP: &str = "g";

fn add_offsets(world: &mut World, version: i16, by: Producer) -> Code {
    let request = AddOffsetsToTxnRequest {
        transactional_id: ID.into(),
        producer_id: by.0,
        producer_epoch: by.1,
        group_id: GROUP.into(),
        ..Default::default()
    };
    let answer: AddOffsetsToTxnResponse = world.ask(1, version, request);
    Code::new(answer.error_code)
}

/// A commit for partition 0 by nobody in particular; it names the topic by name or by id, as its version does.
fn commit_request(world: &World, version: i16, by: Producer, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let by_id = version >= 6;
    let topic = TxnOffsetCommitRequestTopic {
        name: if by_id { Str::default() } else { "t".into() },
        topic_id: if by_id { world.broker.topic_id("t").unwrap() } else { Default::default() },
        partitions: vec![partition],
        ..Default::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: ID.into(),
        group_id: GROUP.into(),
        producer_id: by.0,
        producer_epoch: by.1,
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn commit_as(world: &mut World, version: i16, request: TxnOffsetCommitRequest) -> Code {
    let answer: TxnOffsetCommitResponse = world.ask(1, version, request);
    Code::new(answer.topics[0].partitions[0].error_code)
}

fn commit(world: &mut World, version: i16, by: Producer, offset: i64) -> Code {
    let request = commit_request(world, version, by, offset);
    commit_as(world, version, request)
}

/// What is committed for partition 0.
fn fetched(world: &mut World, require_stable: bool) -> (Code, i64) {
    let topic =
        OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: GROUP.into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
    let answer: OffsetFetchResponse = world.ask(1, 9, request);
    let partition = &answer.groups[0].topics[0].partitions[0];
    (Code::new(partition.error_code), partition.committed_offset)
}

#[test]
fn offsets_count_when_their_transaction_is_committed_and_not_before() {
    let mut world = world();
    let by = begin(&mut world);
    assert_eq!(commit(&mut world, 5, by, 7), Code::NONE);
    assert_eq!(state(&world), TransactionState::Ongoing);
    assert_eq!(described(&world).partitions[0].topic, "__consumer_offsets".into());
    assert_eq!(fetched(&mut world, false), (Code::NONE, -1));
    assert_eq!(fetched(&mut world, true), (Code::UNSTABLE_OFFSET_COMMIT, -1));
    hold_markers(&mut world, true);
    let (_, next) = end(&mut world, 5, by, true);
    assert_eq!(fetched(&mut world, true), (Code::UNSTABLE_OFFSET_COMMIT, -1));
    hold_markers(&mut world, false);
    assert_eq!(fetched(&mut world, true), (Code::NONE, 7));
    commit(&mut world, 6, next, 9);
    assert_eq!(fetched(&mut world, false), (Code::NONE, 7));
    end(&mut world, 5, next, false);
    assert_eq!(fetched(&mut world, true), (Code::NONE, 7), "an abort changes nothing");
}

#[test]
fn in_the_first_version_the_group_must_be_added_before() {
    let mut world = world();
    let by = begin(&mut world);
    for (version, code) in
        [(0, Code::INVALID_TXN_STATE), (3, Code::INVALID_TXN_STATE), (4, Code::TRANSACTION_ABORTABLE)]
    {
        assert_eq!(commit(&mut world, version, by, 7), code, "{version}");
    }
    assert_eq!(add_offsets(&mut world, 4, by), Code::NONE);
    assert_eq!(commit(&mut world, 3, by, 7), Code::NONE);
    hold_markers(&mut world, true);
    end(&mut world, 4, by, true);
    assert_eq!(commit(&mut world, 3, by, 8), Code::NONE, "late, but before the marker");
    hold_markers(&mut world, false);
    assert_eq!(fetched(&mut world, true), (Code::NONE, 8));
    assert_eq!(commit(&mut world, 4, by, 9), Code::TRANSACTION_ABORTABLE);
}

#[test]
fn a_fenced_producer_commits_nothing() {
    let mut world = world();
    let old = begin(&mut world);
    begin(&mut world);
    for version in 0..=6 {
        assert_eq!(commit(&mut world, version, old, 7), Code::INVALID_PRODUCER_EPOCH, "{version}");
    }
    for (version, code) in [(1, Code::INVALID_PRODUCER_EPOCH), (2, Code::PRODUCER_FENCED)] {
        assert_eq!(add_offsets(&mut world, version, old), code);
    }
}

#[test]
fn members_commit_in_their_generation() {
    let mut world = world();
    let by = begin(&mut world);
    let member = |world: &World, generation, member: &str, instance: Option<&str>| TxnOffsetCommitRequest {
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        group_instance_id: instance.map(Str::from),
        ..commit_request(world, 5, by, 7)
    };
    let request = member(&world, 1, "m", None);
    assert_eq!(commit_as(&mut world, 5, request), Code::ILLEGAL_GENERATION, "of a group that is not there");
    assert_eq!(commit(&mut world, 5, by, 7), Code::NONE);
    for (generation, id, instance, code) in [
        (-1, "m", None, Code::NONE),
        (1, "m", None, Code::UNKNOWN_MEMBER_ID),
        (0, "", None, Code::UNKNOWN_MEMBER_ID),
    ] {
        let request = member(&world, generation, id, instance);
        assert_eq!(commit_as(&mut world, 5, request), code, "{generation} {id}");
    }
}

#[test]
fn a_commit_is_refused_for_what_is_not_there_or_not_allowed() {
    let mut world = world();
    let by = begin(&mut world);
    let mut request = commit_request(&world, 5, by, 7);
    request.topics[0].partitions[0].partition_index = 9;
    assert_eq!(commit_as(&mut world, 5, request), Code::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(state(&world), TransactionState::Empty, "nothing was to be committed");
    let mut request = commit_request(&world, 6, by, 7);
    request.topics[0].topic_id = crate::wire::uuid::Uuid::from_bytes([7; 16]);
    assert_eq!(commit_as(&mut world, 6, request), Code::UNKNOWN_TOPIC_ID);
    let request = TxnOffsetCommitRequest { group_id: Str::default(), ..commit_request(&world, 5, by, 7) };
    assert_eq!(commit_as(&mut world, 5, request), Code::INVALID_GROUP_ID);
    let mut request = commit_request(&world, 5, by, 7);
    request.topics[0].partitions[0].committed_metadata = Some("x".repeat(4_097).into());
    assert_eq!(commit_as(&mut world, 5, request), Code::OFFSET_METADATA_TOO_LARGE);
    for (resource, name, code) in [
        (Resource::Topic, "t", Code::TOPIC_AUTHORIZATION_FAILED),
        (Resource::Group, GROUP, Code::GROUP_AUTHORIZATION_FAILED),
        (Resource::TransactionalId, ID, Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ] {
        world.broker.deny(resource, name);
        assert_eq!(commit(&mut world, 5, by, 7), code);
    }
    assert_eq!(add_offsets(&mut world, 4, by), Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    world.broker.allow(Resource::TransactionalId, ID);
    assert_eq!(add_offsets(&mut world, 4, by), Code::GROUP_AUTHORIZATION_FAILED);
}

#[test]
fn a_newer_commit_is_not_overwritten_by_an_older_transactions_end() {
    let mut world = world();
    let by = begin(&mut world);
    commit(&mut world, 5, by, 7);
    let (_, other) = init(&mut world, 5, "other", NOBODY);
    let request =
        TxnOffsetCommitRequest { transactional_id: "other".into(), ..commit_request(&world, 5, other, 8) };
    assert_eq!(commit_as(&mut world, 5, request), Code::NONE);
    let request = EndTxnRequest {
        transactional_id: "other".into(),
        producer_id: other.0,
        producer_epoch: other.1,
        committed: true,
        ..Default::default()
    };
    let _: EndTxnResponse = world.ask(1, 5, request);
    assert_eq!(fetched(&mut world, false), (Code::NONE, 8));
    end(&mut world, 5, by, true);
    assert_eq!(fetched(&mut world, false), (Code::NONE, 8));
}

#[test]
fn offsets_of_open_transactions_are_bounded_with_the_others() {
    let mut world = World::with(1, |_, limits| limits.offsets_per_group = 1);
    world.topic("t", 2, &[]);
    let by = begin(&mut world);
    assert_eq!(commit(&mut world, 5, by, 7), Code::NONE);
    assert_eq!(commit(&mut world, 5, by, 8), Code::NONE);
    let mut request = commit_request(&world, 5, by, 7);
    request.topics[0].partitions[0].partition_index = 1;
    assert_eq!(commit_as(&mut world, 5, request), Code::POLICY_VIOLATION);
}

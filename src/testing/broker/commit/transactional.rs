//! TxnOffsetCommit: offsets that are committed with a producer's transaction.

use super::{by_id, check_partition, commit_one, ensure_group, key, topic_name};
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::group::committer::Committer;
use crate::testing::broker::group::{Committed, Group};
use crate::testing::broker::groups::check_group;
use crate::testing::broker::state::State;
use crate::testing::broker::transaction::{Identity, Part};
use crate::testing::broker::transactions;
use crate::wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use crate::wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::wire::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use crate::wire::str::Str;

/// The first version that names topics by id (KIP-1319).
const BY_ID: i16 = 6;
/// The first version that takes the group into the transaction, and the first that knows TRANSACTION_ABORTABLE (KIP-890).
const ADDS: i16 = 5;
const KNOWS_ABORTABLE: i16 = 4;

pub(in crate::testing::broker) fn commit(
    state: &mut State,
    call: &Call,
    request: &TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let allowed = transactions::check_allowed(state, &request.transactional_id, &request.group_id);
    if let Err(code) = allowed {
        return answer(request, |_, _| code);
    }
    let mut partitions =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    let is_any = partitions.any(|(topic, partition)| find(state, call, topic, partition).is_ok());
    let checked = if is_any { check(state, call, request) } else { Ok(()) };
    answer(request, |topic, partition| {
        let done = find(state, call, topic, partition).and_then(|name| {
            checked?;
            let at = (&name, partition.partition_index);
            commit_one(state, &request.group_id, at, committed(partition), Some(request.producer_id))
        });
        done.err().unwrap_or(Code::NONE)
    })
}

/// The topic of a partition that is there and may be used.
fn find(
    state: &State,
    call: &Call,
    topic: &TxnOffsetCommitRequestTopic,
    partition: &TxnOffsetCommitRequestPartition,
) -> Result<Str, Code> {
    let name = topic_name(state, key(call, BY_ID, topic.topic_id, &topic.name), &topic.name)?;
    check_partition(state, call, &name, partition.partition_index)?;
    Ok(name)
}

/// Whether the group takes the commit, and the coordinator of transactions the group.
fn check(state: &mut State, call: &Call, request: &TxnOffsetCommitRequest) -> Result<(), Code> {
    if request.group_id.is_empty() {
        return Err(Code::INVALID_GROUP_ID);
    }
    check_group(state, call, &request.group_id)?;
    let producer = Identity { id: request.producer_id, epoch: request.producer_epoch };
    let partition = State::offsets_partition(&request.group_id);
    let is_open = state.has_open_offsets(partition, producer.id, producer.epoch);
    if !is_open {
        let (id, part) = (&request.transactional_id, Part::Offsets(partition));
        let joined = transactions::join(state, call, id, producer, part, call.version >= ADDS);
        joined.map_err(|code| as_known(code, call.version))?;
    }
    let named = request.topics.iter().flat_map(|topic| {
        let numbers = topic.partitions.iter().map(|partition| partition.partition_index);
        by_id(state, key(call, BY_ID, topic.topic_id, &topic.name), numbers)
    });
    let partitions: Vec<_> = named.collect();
    let by = Committer {
        generation: request.generation_id_or_member_epoch,
        member_id: &request.member_id,
        instance: request.group_instance_id.as_ref(),
        knows_epochs: true,
        assignment_epochs: state.settings.group_assignment_epochs,
        partitions: &partitions,
    };
    ensure_group(state, &request.group_id, by, call.version >= BY_ID)?;
    let check = |group: &mut Group| group.check_commit_in_transaction(by);
    let checked = state.with_group(&request.group_id, check).unwrap_or(Err(Code::UNKNOWN_MEMBER_ID));
    checked.map_err(|code| as_known(code, call.version))?;
    state.open_offsets(partition, producer.id, producer.epoch);
    Ok(())
}

/// What coordinators say, in words that the version knows.
fn as_known(code: Code, version: i16) -> Code {
    match code {
        Code::TRANSACTION_ABORTABLE if version < KNOWS_ABORTABLE => Code::INVALID_TXN_STATE,
        Code::STALE_MEMBER_EPOCH if version < BY_ID => Code::ILLEGAL_GENERATION,
        Code::CONCURRENT_TRANSACTIONS if version < ADDS => Code::COORDINATOR_NOT_AVAILABLE,
        code => code,
    }
}

fn committed(partition: &TxnOffsetCommitRequestPartition) -> Committed {
    Committed {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.clone().unwrap_or_default(),
        number: 0,
    }
}

/// The answer for every partition that was named.
fn answer(
    request: &TxnOffsetCommitRequest,
    mut code: impl FnMut(&TxnOffsetCommitRequestTopic, &TxnOffsetCommitRequestPartition) -> Code,
) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| TxnOffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: code(topic, partition).get(),
            ..TxnOffsetCommitResponsePartition::default()
        });
        TxnOffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..TxnOffsetCommitResponseTopic::default()
        }
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}

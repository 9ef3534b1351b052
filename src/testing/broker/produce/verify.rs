//! Whether what a producer writes in a transaction belongs to one that its coordinator knows (KIP-890).

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Code, Resource};
use crate::testing::broker::call::Call;
use crate::testing::broker::state::{State, TopicKey};
use crate::testing::broker::transaction::{Identity, Part};
use crate::testing::broker::transactions;
use crate::testing::broker::validate::{Rejection, is_transactional, one_batch};
use crate::wire::batch::Batches;
use crate::wire::messages::ProduceRequest;
use crate::wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::str::Str;

/// The first version that names topics by id.
const BY_ID: i16 = 13;
/// The first version in which writing to a partition takes it into the transaction, and the first that knows
/// TRANSACTION_ABORTABLE.
const ADDS: i16 = 12;
const KNOWS_ABORTABLE: i16 = 11;

/// The partitions that must not be written to, and why.
pub(super) type Outside = BTreeMap<(Str, i32), Rejection>;

/// A partition that is to be written to in a transaction.
type Written = (Str, i32, Identity);

/// How a request names a topic.
pub(super) fn topic_key(version: i16, topic: &TopicProduceData) -> TopicKey<'_> {
    if version >= BY_ID { TopicKey::Id(topic.topic_id) } else { TopicKey::Name(&topic.name) }
}

/// Asks the coordinator about the partitions that are not in the transaction as far as their leader knows. It is asked
/// once for all: what refuses one refuses all of them.
pub(super) fn outside_transaction(
    state: &mut State,
    call: &Call,
    request: &ProduceRequest,
) -> Result<Outside, Code> {
    let Some(id) = &request.transactional_id else { return Ok(Outside::new()) };
    let written = request.topic_data.iter().flat_map(|topic| {
        topic.partition_data.iter().filter_map(|data| transactional(state, call, topic, data))
    });
    let written: Vec<Written> = written.collect();
    let producers: BTreeSet<(i64, i16)> = written.iter().map(|(.., by)| (by.id, by.epoch)).collect();
    if producers.len() > 1 {
        return Err(Code::INVALID_PRODUCER_ID_MAPPING);
    }
    let mut outside = Outside::new();
    for (topic, index, producer) in written {
        let found = state.topic(&topic).and_then(|topic| topic.partition(index));
        if found.is_none_or(|partition| partition.has_open(producer.id, producer.epoch)) {
            continue;
        }
        let part = Part::Partition(topic.clone(), index);
        if let Err(code) = transactions::join(state, call, id, producer, part, call.version >= ADDS) {
            outside.insert((topic, index), rejection(code, call.version));
        }
    }
    Ok(outside)
}

/// The producer of a batch that belongs to a transaction and will get as far as the log.
fn transactional(
    state: &State,
    call: &Call,
    topic: &TopicProduceData,
    data: &PartitionProduceData,
) -> Option<Written> {
    let batch = one_batch(data.records.as_ref(), call.version).ok().filter(is_transactional)?;
    let header = *Batches::new(batch).next()?.ok()?.header();
    let topic = state.find_topic(topic_key(call.version, topic)).ok()?;
    let leads = topic.partition(data.index)?.leader == Some(call.node);
    let refused = call.refused(&topic.name, data.index).is_some();
    let denied = state.is_denied(Resource::Topic, &topic.name);
    let by = Identity { id: header.producer_id, epoch: header.producer_epoch };
    (leads && !refused && !denied && by.id >= 0).then(|| (topic.name.clone(), data.index, by))
}

/// What the coordinator says, in words that the version knows and that make old clients try again where they should.
fn rejection(code: Code, version: i16) -> Rejection {
    let unverified = || format!("whether the partition is in the transaction could not be found out: {code}");
    match code {
        Code::TRANSACTION_ABORTABLE if version < KNOWS_ABORTABLE => {
            Rejection::new(Code::INVALID_TXN_STATE, "the partition was not added to the transaction")
        }
        Code::INVALID_TXN_STATE => Rejection::new(code, "the partition was not added to the transaction"),
        Code::CONCURRENT_TRANSACTIONS if version >= ADDS => code.into(),
        Code::CONCURRENT_TRANSACTIONS | Code::COORDINATOR_NOT_AVAILABLE | Code::NOT_COORDINATOR => {
            Rejection::new(Code::NOT_ENOUGH_REPLICAS, unverified())
        }
        code => code.into(),
    }
}

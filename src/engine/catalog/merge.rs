//! What an answer to Metadata makes of a snapshot.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::snapshot::{Broker, PartitionInfo, Snapshot, Topic};
use crate::{
    error::{Code, Disposition},
    types::{NodeId, TopicName},
    wire::{
        messages::{
            MetadataResponse,
            metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
        },
        uuid::Uuid,
    },
};

/// A new snapshot, and what to ask about again soon.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) snapshot: Snapshot,
    /// Topics that are missing or have a partition without a leader, where that may be over soon.
    pub(crate) unsettled: Vec<TopicName>,
}

/// Takes an answer over, with distrust: brokers and partitions that cannot be are left out, topics that nobody
/// asked for are ignored, and of a partition the older leader epoch is. Topics in `old` that were not asked for this
/// time stay as they were.
pub(crate) fn merge(old: &Snapshot, response: MetadataResponse, asked: &[TopicName]) -> Merged {
    let brokers = brokers(&response);
    let controller = Some(NodeId(response.controller_id)).filter(|id| brokers.contains_key(id));
    let (mut topics, mut former) = (old.topics.clone(), old.former.clone());
    let mut unsettled = Vec::new();
    let mut answers: HashMap<&str, &MetadataResponseTopic> = HashMap::new();
    for topic in &response.topics {
        if let Some(name) = &topic.name {
            answers.insert(name.as_str(), topic);
        }
    }
    for name in asked {
        // A topic that the answer passes over stays as it was known.
        let Some(answer) = answers.get(name.as_str()) else {
            unsettled.push(name.clone());
            continue;
        };
        let known = topics.get(name);
        // A broker that is behind tells of the topic that was deleted before this one was created.
        let known_id = known.and_then(id);
        let is_other = known_id.is_some_and(|id| id != answer.topic_id);
        if is_other && old.former.get(name) == Some(&answer.topic_id) {
            unsettled.push(name.clone());
            continue;
        }
        let (topic, settled) = topic(name, answer, known);
        if let Some(before) = known_id.filter(|before| id(&topic) != Some(*before)) {
            former.insert(name.clone(), before);
        }
        if !settled {
            unsettled.push(name.clone());
        }
        topics.insert(name.clone(), topic);
    }
    let by_id = topics.values().filter_map(|topic| topic.as_ref().ok());
    let names = by_id.filter_map(|topic| Some((topic.id?, topic.name.clone()))).collect();
    let generation = old.generation.saturating_add(1);
    let cluster_id = response.cluster_id;
    let snapshot = Snapshot { generation, cluster_id, controller, brokers, topics, names, former };
    Merged { snapshot, unsettled }
}

fn id(entry: &Entry) -> Option<Uuid> {
    entry.as_ref().ok().and_then(|topic| topic.id)
}

/// The brokers that can be, each once: of two entries with the same id the first counts.
fn brokers(response: &MetadataResponse) -> BTreeMap<NodeId, Broker> {
    let mut brokers = BTreeMap::new();
    for entry in &response.brokers {
        match Broker::new(entry.node_id, &entry.host, entry.port, entry.rack.clone()) {
            Some(broker) => {
                brokers.entry(broker.id).or_insert(broker);
            }
            None => {
                tracing::warn!(broker = entry.node_id, host = %entry.host, port = entry.port, "a broker told of one that cannot be");
            }
        }
    }
    brokers
}

type Entry = Result<Arc<Topic>, Code>;

/// What is known of a topic now, and whether it is as it should be.
fn topic(name: &TopicName, answer: &MetadataResponseTopic, old: Option<&Entry>) -> (Entry, bool) {
    let known = old.and_then(|entry| entry.as_ref().ok());
    let code = Code::new(answer.error_code);
    if !code.is_none() {
        let is_gone = matches!(code, Code::UNKNOWN_TOPIC_OR_PARTITION | Code::UNKNOWN_TOPIC_ID);
        let passes = code.disposition() != Disposition::Fail || code == Code::UNKNOWN_SERVER_ERROR;
        // A topic without leaders right now, or whose broker is in trouble, still exists.
        return match known {
            Some(known) if passes && !is_gone => (Ok(Arc::clone(known)), false),
            _ => (Err(code), !passes),
        };
    }
    let id = Some(answer.topic_id).filter(|id| !id.is_zero());
    // With another id it is another topic, created anew under the same name: nothing of the old one counts.
    let same = known.filter(|known| known.id.is_none() || id.is_none() || known.id == id);
    // A broker that is behind may not know of a partition that was just added. Kafka never takes one away.
    let mut partitions = same.map(|known| known.partitions.clone()).unwrap_or_default();
    for entry in answer.partitions.iter().filter(|entry| entry.partition_index >= 0) {
        let new = partition(entry);
        let stale = partitions.get(&entry.partition_index).is_some_and(|old| is_older(&new, old));
        if !stale {
            partitions.insert(entry.partition_index, new);
        }
    }
    let settled = !partitions.is_empty() && partitions.values().all(|partition| partition.leader.is_some());
    let id = id.or_else(|| same.and_then(|known| known.id));
    let topic = Topic { name: name.clone(), id, internal: answer.is_internal, partitions };
    // The same topic keeps its place in memory, so that whoever holds it sees that nothing has changed.
    match same.filter(|known| ***known == topic) {
        Some(known) => (Ok(Arc::clone(known)), settled),
        None => (Ok(Arc::new(topic)), settled),
    }
}

fn partition(entry: &MetadataResponsePartition) -> PartitionInfo {
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
    PartitionInfo {
        leader: (entry.leader_id >= 0).then_some(NodeId(entry.leader_id)),
        leader_epoch: (entry.leader_epoch >= 0).then_some(entry.leader_epoch),
        replicas: nodes(&entry.replica_nodes),
        isr: nodes(&entry.isr_nodes),
        offline: nodes(&entry.offline_replicas),
    }
}

fn is_older(new: &PartitionInfo, old: &PartitionInfo) -> bool {
    matches!((new.leader_epoch, old.leader_epoch), (Some(new), Some(old)) if new < old)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{
        types::TopicPartition,
        wire::{messages::metadata_response::MetadataResponseBroker, str::Str},
    };

    fn broker(node_id: i32, host: &str, port: i32) -> MetadataResponseBroker {
        MetadataResponseBroker { node_id, host: Str::from(host), port, ..Default::default() }
    }

    fn partition(partition_index: i32, leader_id: i32, leader_epoch: i32) -> MetadataResponsePartition {
        MetadataResponsePartition { partition_index, leader_id, leader_epoch, ..Default::default() }
    }

    fn answer(id: u8, partitions: Vec<MetadataResponsePartition>) -> MetadataResponse {
        let mut topic_id = [0; 16];
        topic_id[0] = id;
        let topic = MetadataResponseTopic {
            name: Some(Str::from("t")),
            topic_id: Uuid::from_bytes(topic_id),
            partitions,
            ..Default::default()
        };
        let brokers = vec![broker(1, "a", 9092), broker(2, "b", 9092)];
        MetadataResponse { brokers, topics: vec![topic], ..Default::default() }
    }

    fn refused(code: Code) -> MetadataResponse {
        let mut response = answer(0, vec![]);
        response.topics[0].error_code = code.get();
        response
    }

    fn merged(old: &Snapshot, response: MetadataResponse) -> Merged {
        merge(old, response, &["t".into()])
    }

    fn leader(snapshot: &Snapshot, index: i32) -> Option<i32> {
        snapshot.leader(&TopicPartition::new("t", index)).map(|(node, _)| node.0)
    }

    #[test]
    fn an_older_leader_epoch_is_ignored_unless_the_topic_is_another() {
        let first = merged(&Snapshot::default(), answer(1, vec![partition(0, 1, 5)])).snapshot;
        let stale = merged(&first, answer(1, vec![partition(0, 2, 4)])).snapshot;
        assert_eq!(leader(&stale, 0), Some(1));
        let newer = merged(&first, answer(1, vec![partition(0, 2, 6)])).snapshot;
        assert_eq!(leader(&newer, 0), Some(2));
        let recreated = merged(&first, answer(2, vec![partition(0, 2, 0)])).snapshot;
        assert_eq!(leader(&recreated, 0), Some(2));
        let id = recreated.topic("t").unwrap().id.unwrap();
        assert_eq!(recreated.topic_name(id).map(|name| name.as_str()), Some("t"));
    }

    #[test]
    fn a_topic_that_was_deleted_does_not_come_back() {
        let first = merged(&Snapshot::default(), answer(1, vec![partition(0, 1, 5)])).snapshot;
        let recreated = merged(&first, answer(2, vec![partition(0, 2, 0)])).snapshot;
        let Merged { snapshot, unsettled } = merged(&recreated, answer(1, vec![partition(0, 1, 6)]));
        assert_eq!((leader(&snapshot, 0), unsettled.len()), (Some(2), 1), "a broker that is behind");
        assert_eq!(snapshot.topic("t").unwrap().id, recreated.topic("t").unwrap().id);

        // Between the two it was missed. But who is only told by mistake that it is missing finds it again.
        let missed = merged(&first, refused(Code::UNKNOWN_TOPIC_OR_PARTITION)).snapshot;
        let found = merged(&missed, answer(1, vec![partition(0, 2, 6)])).snapshot;
        assert_eq!(leader(&merged(&found, answer(1, vec![partition(0, 1, 7)])).snapshot, 0), Some(1));
        let recreated = merged(&missed, answer(2, vec![partition(0, 2, 0)])).snapshot;
        let stale = merged(&recreated, answer(1, vec![partition(0, 1, 6)])).snapshot;
        assert_eq!(leader(&stale, 0), Some(2));
    }

    #[test]
    fn a_broker_that_is_behind_takes_no_partition_away() {
        let first =
            merged(&Snapshot::default(), answer(1, vec![partition(0, 1, 0), partition(1, 1, 0)])).snapshot;
        let behind = merged(&first, answer(1, vec![partition(0, 1, 0)])).snapshot;
        assert_eq!(behind.partition_count("t"), Some(2));
        let recreated = merged(&first, answer(2, vec![partition(0, 1, 0)])).snapshot;
        assert_eq!(recreated.partition_count("t"), Some(1));
    }

    #[test]
    fn an_unchanged_topic_stays_the_same_object() {
        let first = merged(&Snapshot::default(), answer(1, vec![partition(0, 1, 5)])).snapshot;
        let second = merged(&first, answer(1, vec![partition(0, 1, 5)])).snapshot;
        assert!(Arc::ptr_eq(first.topic("t").unwrap(), second.topic("t").unwrap()));
        assert_eq!((first.generation, second.generation), (1, 2));
    }

    #[test]
    fn brokers_and_partitions_that_cannot_be_are_left_out() {
        let mut response =
            answer(1, vec![partition(0, 77, 0), partition(-5, 1, 0), partition(i32::MAX, 1, 0)]);
        let bad = [(-1, "a", 1), (5, "", 1), (6, "a", 99_999), (7, "a", 0), (8, "a", -3), (1, "other", 1)];
        response.brokers.extend(bad.map(|(id, host, port)| broker(id, host, port)));
        response.controller_id = 6;
        let Merged { snapshot, .. } = merged(&Snapshot::default(), response);
        assert_eq!(
            snapshot.brokers().map(|broker| (broker.id.0, &*broker.host)).collect::<Vec<_>>(),
            [(1, "a"), (2, "b")]
        );
        assert_eq!(snapshot.controller, None);
        // A leader whose address nobody told is no leader to send to.
        assert_eq!(leader(&snapshot, 0), None);
        assert_eq!(leader(&snapshot, i32::MAX), Some(1));
        assert_eq!(snapshot.partition_count("t"), Some(2));
    }

    #[test]
    fn what_nobody_asked_for_is_ignored_and_what_is_missing_is_asked_again() {
        let response = answer(1, vec![partition(0, 1, 5)]);
        let Merged { snapshot, unsettled } = merge(&Snapshot::default(), response, &["other".into()]);
        assert!(
            unsettled == ["other".into()]
                && snapshot.topic("t").is_none()
                && snapshot.topic("other").is_none()
        );
    }

    #[test]
    fn errors_of_a_topic_are_kept_and_only_passing_ones_asked_again() {
        for (code, again) in [
            (Code::UNKNOWN_TOPIC_OR_PARTITION, true),
            (Code::LEADER_NOT_AVAILABLE, true),
            (Code::UNKNOWN_SERVER_ERROR, true),
            (Code::INVALID_TOPIC_EXCEPTION, false),
            (Code::TOPIC_AUTHORIZATION_FAILED, false),
        ] {
            let Merged { snapshot, unsettled } = merged(&Snapshot::default(), refused(code));
            assert_eq!((snapshot.topic_error("t"), !unsettled.is_empty()), (Some(code), again));
        }
        let first = merged(&Snapshot::default(), answer(1, vec![partition(0, 1, 5)])).snapshot;
        for passing in [Code::LEADER_NOT_AVAILABLE, Code::UNKNOWN_SERVER_ERROR, Code::REQUEST_TIMED_OUT] {
            let Merged { snapshot, unsettled } = merged(&first, refused(passing));
            assert!(snapshot.topic("t").is_some() && unsettled.len() == 1, "{passing}");
        }
        assert!(merged(&first, refused(Code::UNKNOWN_TOPIC_OR_PARTITION)).snapshot.topic("t").is_none());
    }

    #[test]
    fn a_partition_without_a_leader_is_asked_again() {
        let Merged { snapshot, unsettled } =
            merged(&Snapshot::default(), answer(1, vec![partition(0, 1, 5), partition(1, -1, 5)]));
        assert_eq!(unsettled, ["t".into()]);
        assert_eq!((leader(&snapshot, 0), leader(&snapshot, 1)), (Some(1), None));
    }
}

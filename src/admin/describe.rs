//! Describing and listing topics.

use std::{collections::BTreeMap, time::Duration};

use super::{
    fates::{Fates, Word},
    handle::Admin,
};
use crate::{
    client::retry::{Ask, Verdict, malformed, response},
    engine::machine::{Answer, Outcome, Target},
    error::{Code, Error, Result},
    types::{NodeId, Partition, TopicName},
    wire::{
        calls::Request,
        messages::{
            MetadataRequest, MetadataResponse,
            metadata_request::MetadataRequestTopic,
            metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
        },
        uuid::Uuid,
    },
};

/// What a broker knows of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its id as Kafka's tools write it, 22 characters (KIP-516): a topic that is created anew under the same name has
    /// another. `None` from brokers older than Kafka 2.8.
    pub id: Option<String>,
    /// Whether Kafka itself uses it, such as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// Who has a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its index.
    pub partition: Partition,
    /// The broker that takes its records; `None` while there is none.
    pub leader: Option<NodeId>,
    /// How often the leader was elected (KIP-101). `None` from brokers older than Kafka 2.1.
    pub leader_epoch: Option<i32>,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Those of them that have all its committed records.
    pub isr: Vec<NodeId>,
    /// Those of them that are down, or have lost its disk (KIP-112).
    pub offline: Vec<NodeId>,
}

/// That a topic exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicListing {
    /// Its name.
    pub name: TopicName,
    /// Its id, as in [`TopicDescription::id`].
    pub id: Option<String>,
    /// Whether Kafka itself uses it, such as `__consumer_offsets`.
    pub internal: bool,
}

impl Admin {
    /// Describes topics, as one broker sees them. A topic that has just been created may be unknown to it yet. Topics
    /// are not created by being asked for, whatever `auto.create.topics.enable` says.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// for (topic, description) in client.admin().describe_topics(["orders"]).await? {
    ///     for partition in description?.partitions {
    ///         println!("{topic}-{} is led by {:?}", partition.partition, partition.leader);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the call failed: whatever kept the last attempt from being answered, with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) after [`Admin::timeout`].
    ///
    /// For a topic: [`ErrorKind::InvalidTopic`](crate::ErrorKind::InvalidTopic) for a name that Kafka does not take;
    /// [`ErrorKind::NotAuthorized`](crate::ErrorKind::NotAuthorized); otherwise
    /// [`ErrorKind::Broker`](crate::ErrorKind::Broker) with its code, such as `UNKNOWN_TOPIC_OR_PARTITION`.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn describe_topics(
        &self,
        topics: impl IntoIterator<Item = impl Into<TopicName>>,
    ) -> Result<BTreeMap<TopicName, Result<TopicDescription>>> {
        let mut ask = DescribeTopics::new(topics.into_iter().map(Into::into));
        match ask.fates.all_settled() {
            Some(settled) => Ok(settled),
            None => self.ask(ask).await,
        }
    }

    /// Lists all topics that this principal may see, in the order of their names, as one broker sees them.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// for topic in client.admin().list_topics().await?.iter().filter(|topic| !topic.internal) {
    ///     println!("{}", topic.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Whatever kept the last attempt from being answered, with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout)
    /// after [`Admin::timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        self.ask(ListTopics).await
    }
}

struct DescribeTopics {
    fates: Fates<TopicDescription>,
}

impl DescribeTopics {
    fn new(names: impl Iterator<Item = TopicName>) -> Self {
        // Whoever describes wants to know how things are, not how they may soon be.
        Self { fates: Fates::new("Metadata", names).settling(&[Code::UNKNOWN_TOPIC_OR_PARTITION]) }
    }
}

impl Ask for DescribeTopics {
    type Output = BTreeMap<TopicName, Result<TopicDescription>>;

    fn target(&self) -> Target {
        Target::Any
    }

    fn request(&self, _patience: Duration) -> Request {
        let topics = self
            .fates
            .open()
            .map(|name| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() });
        metadata_request(Some(topics.collect()))
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<Self::Output> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => return self.fates.no_answer(failure),
        };
        let node = answer.node;
        match metadata(answer) {
            Ok(topics) => self.fates.answer(
                node,
                topics.into_iter().map(|topic| Word {
                    topic: topic.name.clone().unwrap_or_default(),
                    code: Code::new(topic.error_code),
                    message: None,
                    value: describe(topic),
                }),
            ),
            Err(error) => Verdict::of(error),
        }
    }

    fn give_up(self, error: Error) -> Result<Self::Output> {
        self.fates.give_up(error)
    }
}

struct ListTopics;

impl Ask for ListTopics {
    type Output = Vec<TopicListing>;

    fn target(&self) -> Target {
        Target::Any
    }

    fn request(&self, _patience: Duration) -> Request {
        metadata_request(None)
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<Self::Output> {
        let listed = outcome.map_err(|failure| failure.error).and_then(|answer| {
            let node = answer.node;
            let topics = metadata(answer)?.into_iter().map(|topic| {
                let name = topic.name.ok_or_else(|| malformed(node, "it lists a topic without a name"))?;
                Ok(TopicListing {
                    name: name.into(),
                    id: id_text(topic.topic_id),
                    internal: topic.is_internal,
                })
            });
            topics.collect::<Result<Vec<_>>>()
        });
        match listed {
            Ok(mut topics) => {
                topics.sort_by(|a, b| a.name.cmp(&b.name));
                Verdict::Done(topics)
            }
            Err(error) => Verdict::of(error),
        }
    }
}

fn metadata_request(topics: Option<Vec<MetadataRequestTopic>>) -> Request {
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
    request.into()
}

fn metadata(answer: Answer) -> Result<Vec<MetadataResponseTopic>> {
    let response: MetadataResponse = response(answer)?;
    Code::check(response.error_code).map_err(|code| Error::broker(code, "Metadata", ""))?;
    Ok(response.topics)
}

fn describe(topic: MetadataResponseTopic) -> TopicDescription {
    let mut partitions: Vec<_> = topic.partitions.into_iter().map(describe_partition).collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicDescription {
        name: topic.name.unwrap_or_default().into(),
        id: id_text(topic.topic_id),
        internal: topic.is_internal,
        partitions,
    }
}

/// A partition's error code says no more than its fields do: that it has no leader, or that a replica is offline.
fn describe_partition(partition: MetadataResponsePartition) -> PartitionDescription {
    let nodes = |ids: Vec<i32>| ids.into_iter().map(NodeId).collect();
    PartitionDescription {
        partition: Partition(partition.partition_index),
        leader: (partition.leader_id >= 0).then_some(NodeId(partition.leader_id)),
        leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
        replicas: nodes(partition.replica_nodes),
        isr: nodes(partition.isr_nodes),
        offline: nodes(partition.offline_replicas),
    }
}

/// Brokers that do not know ids leave them out, which reads as zero.
fn id_text(id: Uuid) -> Option<String> {
    (!id.is_zero()).then(|| id.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{
        engine::script::{answer, failure, topic_id},
        error::ErrorKind,
    };

    fn topic(name: &str, code: Code) -> MetadataResponseTopic {
        MetadataResponseTopic {
            name: Some(name.into()),
            error_code: code.get(),
            ..MetadataResponseTopic::default()
        }
    }

    fn metadata_of(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
        MetadataResponse { topics, ..MetadataResponse::default() }
    }

    fn describing(names: &[&str]) -> DescribeTopics {
        DescribeTopics::new(names.iter().map(|name| (*name).into()))
    }

    #[test]
    fn a_description_holds_what_the_broker_knows() {
        let partition = |partition_index, leader_id| MetadataResponsePartition {
            partition_index,
            leader_id,
            leader_epoch: leader_id,
            error_code: if leader_id < 0 { Code::LEADER_NOT_AVAILABLE.get() } else { 0 },
            replica_nodes: vec![1, 2],
            isr_nodes: vec![1],
            offline_replicas: vec![2],
            ..MetadataResponsePartition::default()
        };
        let told = MetadataResponseTopic {
            topic_id: topic_id(0xff),
            is_internal: true,
            partitions: vec![partition(1, -1), partition(0, 1)],
            ..topic("t", Code::NONE)
        };
        let Verdict::Done(mut all) = describing(&["t"]).judge(answer(13, metadata_of(vec![told]))) else {
            panic!()
        };
        let described = all.remove("t").unwrap().unwrap();
        assert_eq!((described.id.as_deref(), described.internal), (Some("_____________________w"), true));
        let (one, two) = (NodeId(1), NodeId(2));
        let expected = |index, leader: Option<i32>| PartitionDescription {
            partition: Partition(index),
            leader: leader.map(NodeId),
            leader_epoch: leader,
            replicas: vec![one, two],
            isr: vec![one],
            offline: vec![two],
        };
        assert_eq!(described.partitions, [expected(0, Some(1)), expected(1, None)]);
    }

    #[test]
    fn each_topic_has_its_own_outcome() {
        let mut ask = describing(&["denied", "gone", "here", "a/b", "silent"]);
        let told = vec![
            topic("denied", Code::TOPIC_AUTHORIZATION_FAILED),
            topic("gone", Code::UNKNOWN_TOPIC_OR_PARTITION),
            topic("here", Code::NONE),
            topic("never asked for", Code::NONE),
        ];
        let Verdict::Done(all) = ask.judge(answer(13, metadata_of(told))) else { panic!() };
        assert_eq!(all.len(), 5);
        let kind = |name: &str| all[name].as_ref().err().map(Error::kind);
        assert!(matches!(kind("denied"), Some(ErrorKind::NotAuthorized { name, .. }) if name == "denied"));
        let gone = Some(Code::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(all["gone"].as_ref().err().and_then(Error::code), gone);
        assert!(kind("here").is_none());
        assert!(matches!(kind("a/b"), Some(ErrorKind::InvalidTopic { .. })));
        assert!(
            matches!(kind("silent"), Some(ErrorKind::Malformed { detail, .. }) if detail.contains("silent"))
        );
    }

    #[test]
    fn only_topics_without_an_outcome_are_asked_for_again() {
        let mut ask = describing(&["a", "b"]);
        let told = vec![topic("a", Code::NONE), topic("b", Code::LEADER_NOT_AVAILABLE)];
        assert!(matches!(ask.judge(answer(13, metadata_of(told))), Verdict::Retry(_)));
        let Request::Metadata(request) = ask.request(Duration::ZERO) else { panic!() };
        let names: Vec<_> = request.topics.iter().flatten().filter_map(|t| t.name.as_deref()).collect();
        assert_eq!((names, request.allow_auto_topic_creation), (vec!["b"], false));
    }

    #[test]
    fn an_answer_to_the_whole_request_may_be_an_error() {
        let response =
            MetadataResponse { error_code: Code::REBOOTSTRAP_REQUIRED.get(), ..MetadataResponse::default() };
        let refused = ListTopics.judge(answer(13, response));
        let Verdict::Fail(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.code(), Some(Code::REBOOTSTRAP_REQUIRED));
    }

    #[test]
    fn topics_are_listed_by_name() {
        let told = vec![topic("b", Code::LEADER_NOT_AVAILABLE), topic("a", Code::NONE)];
        let Verdict::Done(listed) = ListTopics.judge(answer(9, metadata_of(told))) else { panic!() };
        let names: Vec<_> = listed.iter().map(|topic| (topic.name.as_str(), topic.id.as_deref())).collect();
        assert_eq!(names, [("a", None), ("b", None)]);

        let nameless = MetadataResponseTopic { name: None, ..topic("", Code::NONE) };
        let listed = ListTopics.judge(answer(12, metadata_of(vec![nameless])));
        assert!(
            matches!(listed, Verdict::Retry(error) if matches!(error.kind(), ErrorKind::Malformed { .. }))
        );
        assert!(matches!(ListTopics.judge(failure()), Verdict::Retry(_)));
    }
}

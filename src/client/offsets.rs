//! Offsets that logs have at their ends and at points in time (ListOffsets), for callers that keep no state.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use crate::{
    client::{
        Client,
        retry::{malformed, response},
    },
    engine::{
        backoff::{Backoff, Random},
        catalog::snapshot::{Snapshot, Topic},
        machine::{Call, Outcome, Purpose, Target, Token, deadline_after},
        partition::{epoch_from_wire, subject},
        position,
    },
    error::{Code, Disposition, Error, ErrorKind, Result},
    net::{mailbox::ReplyTo, task},
    types::{
        Isolation, NodeId, Offset, OffsetAndTimestamp, OffsetSpec, Partition, TopicName, TopicPartition,
    },
    wire::messages::{
        ListOffsetsRequest, ListOffsetsResponse, list_offsets_request::ListOffsetsTopic,
        list_offsets_response::ListOffsetsPartitionResponse,
    },
};

/// What is known of each partition: where nothing is at or behind a time, there is no offset.
pub(crate) type Listed = BTreeMap<TopicPartition, Result<Option<OffsetAndTimestamp>>>;

/// Partitions whose offsets are asked for.
#[derive(Debug)]
pub(crate) struct Offsets {
    isolation: Isolation,
    open: BTreeMap<TopicPartition, Open>,
    settled: Listed,
}

#[derive(Debug)]
struct Open {
    spec: OffsetSpec,
    /// Why there is no answer yet.
    error: Option<Error>,
}

impl Offsets {
    pub(crate) fn new(
        asked: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
        isolation: Isolation,
    ) -> Self {
        let open = asked.into_iter().map(|(partition, spec)| (partition, Open { spec, error: None }));
        Self { isolation, open: open.collect(), settled: BTreeMap::new() }
    }

    /// The topics of which something is asked.
    fn topics(&self) -> BTreeSet<TopicName> {
        self.open.keys().map(|partition| partition.topic.clone()).collect()
    }

    fn settle(&mut self, partition: &TopicPartition, result: Result<Option<OffsetAndTimestamp>>) {
        if self.open.remove(partition).is_some() {
            self.settled.insert(partition.clone(), result);
        }
    }

    fn settle_all(&mut self, which: impl Fn(&TopicPartition) -> bool, error: &Error) {
        let partitions: Vec<_> = self.open.keys().filter(|partition| which(partition)).cloned().collect();
        partitions.iter().for_each(|partition| self.settle(partition, Err(error.clone())));
    }

    /// The topic is known: partitions that it does not have cannot be asked for.
    fn topic(&mut self, topic: &Topic) {
        let is_unknown =
            |p: &TopicPartition| p.topic == topic.name && !topic.partitions.contains_key(&p.partition.0);
        let partitions: Vec<_> =
            self.open.keys().filter(|partition| is_unknown(partition)).cloned().collect();
        for partition in partitions {
            let (topic, count) = (partition.topic.clone(), topic.partition_count());
            let error = ErrorKind::UnknownPartition { topic, partition: partition.partition, count };
            self.settle(&partition, Err(error.into()));
        }
    }

    /// What each leader is to be asked.
    fn requests(&mut self, snapshot: &Snapshot, timeout: Duration) -> BTreeMap<NodeId, ListOffsetsRequest> {
        let mut asked: BTreeMap<NodeId, Vec<ListOffsetsTopic>> = BTreeMap::new();
        for (partition, open) in &mut self.open {
            let Some((leader, epoch)) = snapshot.leader(partition) else {
                if snapshot.topic(&partition.topic).is_none() {
                    continue;
                }
                let code = Code::LEADER_NOT_AVAILABLE;
                open.error = Some(Error::broker(code, "Metadata", partition.to_string()));
                continue;
            };
            let topics = asked.entry(leader).or_default();
            position::ask_for(topics, partition, epoch.unwrap_or(-1), open.spec);
        }
        let read_committed = self.isolation == Isolation::ReadCommitted;
        let request = |topics| position::request(topics, read_committed, timeout);
        asked.into_iter().map(|(leader, topics)| (leader, request(topics))).collect()
    }

    /// What came of one of the [`requests`](Self::requests). Whatever it does not speak of stays open.
    fn answer(&mut self, asked: &BTreeSet<TopicPartition>, outcome: Outcome) {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) if failure.error.may_pass() => return self.note(asked, &failure.error),
            Err(failure) => return self.settle_all(|partition| asked.contains(partition), &failure.error),
        };
        let node = answer.node;
        self.note(asked, &malformed(node, "it says nothing of a partition that it was asked about"));
        match response::<ListOffsetsResponse>(answer) {
            Ok(response) => {
                for topic in response.topics {
                    let name = TopicName::from(topic.name);
                    for found in topic.partitions {
                        let partition = TopicPartition::new(name.clone(), Partition(found.partition_index));
                        if asked.contains(&partition) {
                            self.found(&partition, &found);
                        }
                    }
                }
            }
            Err(error) => self.note(asked, &error),
        }
    }

    fn note(&mut self, asked: &BTreeSet<TopicPartition>, error: &Error) {
        for (_, open) in self.open.iter_mut().filter(|(partition, _)| asked.contains(partition)) {
            open.error = Some(error.clone());
        }
    }

    fn found(&mut self, partition: &TopicPartition, found: &ListOffsetsPartitionResponse) {
        let code = Code::new(found.error_code);
        match code.disposition() {
            Disposition::Done => {
                let listed = OffsetAndTimestamp {
                    offset: Offset(found.offset),
                    timestamp: Some(found.timestamp).filter(|timestamp| *timestamp >= 0),
                    leader_epoch: epoch_from_wire(found.leader_epoch),
                };
                self.settle(partition, Ok(Some(listed).filter(|listed| listed.offset.0 >= 0)));
            }
            disposition => {
                let error = Error::broker(code, "ListOffsets", subject(code, partition));
                match disposition {
                    Disposition::Fail => self.settle(partition, Err(error)),
                    _ => {
                        if let Some(open) = self.open.get_mut(partition) {
                            open.error = Some(error);
                        }
                    }
                }
            }
        }
    }

    /// Time is up for what is open.
    fn give_up(&mut self, snapshot: &Snapshot, after: Duration, setting: &'static str) {
        for (partition, open) in mem::take(&mut self.open) {
            let topic = partition.topic.clone();
            let error = match open.error {
                _ if snapshot.topic(&topic).is_none() => {
                    ErrorKind::UnknownTopic { topic, waited: after, setting }.into()
                }
                Some(error) => error,
                None => {
                    let what = format!("the offset of {partition}");
                    ErrorKind::Timeout { what, after, setting }.into()
                }
            };
            self.settled.insert(partition, Err(error));
        }
    }
}

impl Client {
    /// Asks the leaders for offsets, all at once, until each has answered or `timeout`, which `setting` sets, is over.
    ///
    /// # Errors
    /// [`ErrorKind::NoRuntime`] outside a tokio runtime; otherwise each partition has its own.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn list_offsets(
        &self,
        mut offsets: Offsets,
        timeout: Duration,
        setting: &'static str,
    ) -> Result<Listed> {
        task::check_runtime("ListOffsets")?;
        let config = self.config();
        let backoff = Backoff { first: config.retry_backoff, max: config.retry_backoff_max };
        let mut random = Random::from_entropy();
        let deadline = deadline_after(self.now(), timeout);
        let mut attempt = 0;
        loop {
            let mut catalog = self.watch();
            for name in offsets.topics() {
                match self.topic_now(&name) {
                    Ok(topic) => offsets.topic(&topic),
                    Err(error) if matches!(error.kind(), ErrorKind::MetadataPending { .. }) => {}
                    Err(error) => offsets.settle_all(|partition| partition.topic == name, &error),
                }
            }
            let left = deadline.saturating_duration_since(self.now().instant);
            let has_asked = self.ask_leaders(&mut offsets, left.min(config.request_timeout)).await;
            if offsets.open.is_empty() {
                return Ok(offsets.settled);
            }
            let left = deadline.saturating_duration_since(self.now().instant);
            let wait = backoff.delay(attempt, &mut random);
            if wait >= left {
                offsets.give_up(&self.snapshot(), timeout, setting);
                return Ok(offsets.settled);
            }
            tracing::debug!(attempt, open = offsets.open.len(), ?wait, "asking for offsets again");
            self.refresh();
            attempt = attempt.saturating_add(1);
            let until = Some(deadline_after(self.now(), wait));
            tokio::select! {
                () = task::sleep_until(until) => {}
                // As soon as it is known whom to ask, where nobody could be.
                _ = catalog.changed(), if !has_asked => {}
            }
        }
    }

    /// Whether there was somebody to ask.
    async fn ask_leaders(&self, offsets: &mut Offsets, patience: Duration) -> bool {
        let snapshot: Arc<Snapshot> = self.snapshot();
        let mut pending = Vec::new();
        for (node, request) in offsets.requests(&snapshot, patience) {
            let of_topic = |topic: &ListOffsetsTopic| {
                let name = TopicName::from(topic.name.clone());
                let indices = topic.partitions.iter().map(|asked| Partition(asked.partition_index));
                indices.map(move |index| TopicPartition::new(name.clone(), index)).collect::<Vec<_>>()
            };
            let asked: BTreeSet<_> = request.topics.iter().flat_map(of_topic).collect();
            let (reply, outcome) = ReplyTo::oneshot();
            let call = Call {
                // It has no meaning here: the reply is this call's own.
                token: Token(0),
                target: Target::Broker(node),
                purpose: Purpose::General,
                request: request.into(),
                deadline: deadline_after(self.now(), patience),
                max_version: None,
            };
            self.submit(call, reply);
            pending.push((asked, outcome));
        }
        let has_asked = !pending.is_empty();
        for (asked, outcome) in pending {
            match outcome.await {
                Ok(outcome) => offsets.answer(&asked, outcome),
                Err(_) => {
                    let closed = ErrorKind::Closed { what: "client" }.into();
                    offsets.settle_all(|partition| asked.contains(partition), &closed);
                }
            }
        }
        has_asked
    }
}

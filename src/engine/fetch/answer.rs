//! Takes what brokers answer to fetches.

use std::time::Duration;

use super::{
    Fetcher,
    cursor::{Cursor, Replica, State},
    extent::Extent,
    node::{InFlight, Node},
    types::{Event, Fetched},
};
use crate::{
    engine::{
        catalog::snapshot::{Broker, LeaderHint},
        machine::{Now, Outbox, Outcome, Token, deadline_after},
        partition::subject,
    },
    error::{Code, Disposition, Error, ErrorKind},
    types::{NodeId, Partition, TopicName, TopicPartition},
    wire::{
        messages::{
            FetchResponse,
            fetch_response::{NodeEndpoint, PartitionData},
        },
        uuid::Uuid,
    },
};

/// The first version that tells topics apart by their ids.
const BY_ID: i16 = 13;
/// How often an answer without progress is asked for again before the partition is given up.
pub(super) const MAX_STALLS: u32 = 5;
/// The number of failures from which on the wait between two tries is the longest.
const SLOW: u32 = 16;
/// How many answers without data may come early before the broker is given a rest.
pub(super) const MAX_EARLY: u32 = 3;

impl Fetcher {
    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        let is_asked = |node: &Node| node.in_flight.as_ref().is_some_and(|flight| flight.token == token);
        let Some((&id, node)) = self.nodes.iter_mut().find(|(_, node)| is_asked(node)) else { return };
        let Some(flight) = node.in_flight.take() else { return };
        self.reserved = self.reserved.saturating_sub(flight.reserved);
        let error = match outcome {
            Ok(answer) => match FetchResponse::try_from(answer.response) {
                Ok(response) if response.error_code == 0 => {
                    node.session.answered(response.session_id, answer.version >= BY_ID);
                    if let Ok(ms @ 1..) = u64::try_from(response.throttle_time_ms) {
                        out.events.push(Event::Throttled { node: id, delay: Duration::from_millis(ms) });
                    }
                    self.response(now, id, &flight, answer.version, response, out);
                    return;
                }
                Ok(response) => {
                    let code = Code::new(response.error_code);
                    if node.session.refused(code) {
                        tracing::debug!(broker = %id, %code, "a fetch session has ended, and another one begins");
                        return;
                    }
                    Error::broker(code, "Fetch", "")
                }
                Err(wrong) => {
                    node.session.give_up();
                    malformed(id, &wrong)
                }
            },
            Err(failure) => {
                node.session.give_up();
                failure.error
            }
        };
        tracing::debug!(broker = %id, %error, "a fetch failed");
        self.back_off(now, id);
        self.leave_replica(id);
        out.events.push(Event::Refresh);
        // Garbage may have been a matter of one connection: only if it stays is it told.
        let lasts = self.nodes.get(&id).is_some_and(|node| node.failures >= MAX_STALLS);
        if !error.is_retriable() && (lasts || !error.may_pass()) {
            out.events.push(Event::BrokerRefused { node: id, error });
        }
    }

    fn response(
        &mut self,
        now: Now,
        id: NodeId,
        flight: &InFlight,
        version: i16,
        response: FetchResponse,
        out: &mut Outbox<Event>,
    ) {
        let mut served = false;
        let answerer =
            Answerer { id, token: flight.token, order: flight.order, endpoints: &response.node_endpoints };
        for topic in response.responses {
            let Some(node) = self.nodes.get_mut(&id) else { return };
            let is_inconsistent = |data: &PartitionData| data.error_code == Code::INCONSISTENT_TOPIC_ID.get();
            if topic.partitions.iter().any(is_inconsistent) {
                // The session would say so for ever.
                node.session.give_up();
            }
            let name = match version >= BY_ID {
                true => node.session.name(&topic.topic_id).cloned(),
                false => Some(TopicName::from(topic.topic)),
            };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), Partition(data.partition_index));
                served |= self.partition(now, &answerer, partition, data, out);
            }
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.failures = 0;
        if served {
            node.early = 0;
            let cursors = &self.cursors;
            let is_served = |partition: &TopicPartition| {
                cursors.get(partition).is_some_and(|cursor| cursor.served == Some(flight.token))
            };
            node.order.sort_by_cached_key(is_served);
        } else if now.instant < flight.patience {
            node.early = node.early.saturating_add(1);
            if node.early > MAX_EARLY {
                let wait = self.settings.retry.delay(node.early - MAX_EARLY - 1, &mut self.random);
                node.not_before = Some(deadline_after(now, wait));
            }
        } else {
            node.early = 0;
        }
    }

    /// Takes a partition's part of an answer; whether it held data.
    fn partition(
        &mut self,
        now: Now,
        answerer: &Answerer<'_>,
        partition: TopicPartition,
        data: PartitionData,
        out: &mut Outbox<Event>,
    ) -> bool {
        let Some(cursor) = self.cursors.get_mut(&partition) else { return false };
        let Answerer { id, token, order, endpoints } = *answerer;
        let Some(offset) = cursor.asked_by(order) else { return false };
        cursor.asked = None;
        let is_of_leader = cursor.leader.is_some_and(|leader| leader.node == id);
        let hint = leader_hint(&partition, cursor.topic_id, &data, endpoints);
        out.events.extend(hint.map(Event::LeaderHint));
        let code = Code::new(data.error_code);
        let (preferred, diverges) = (NodeId(data.preferred_read_replica), data.diverging_epoch.epoch >= 0);
        match reaction(code) {
            Reaction::Take if preferred.0 >= 0 && preferred != id => {
                let until = deadline_after(now, self.settings.replica_max_age);
                self.redirect(&partition, Some(Replica { node: preferred, until }));
                return true;
            }
            // A replica that is behind, or no longer one, may say so: only the leader's word counts.
            Reaction::Reset | Reaction::Report if !is_of_leader => self.ask_leader(now, &partition),
            Reaction::Take if diverges && !is_of_leader => self.ask_leader(now, &partition),
            Reaction::Take if diverges => {
                let diverging = data.diverging_epoch;
                let at = cursor.lineage.parts_at(diverging.epoch, diverging.end_offset);
                cursor.state = State::Stopped;
                out.events.push(Event::Truncated { partition, claim: cursor.claim, at });
            }
            Reaction::Take if cursor.has_new_end(self.settings.read_committed, &data) => {
                out.events.push(Event::End { partition: partition.clone(), end: cursor.end });
                return self.take(now, token, partition, offset, data, out);
            }
            Reaction::Take => return self.take(now, token, partition, offset, data, out),
            // What was fetched before the log lost the offset is still to be handed out.
            Reaction::Reset if cursor.buffered() > 0 => self.retry(now, &partition),
            Reaction::Reset => {
                cursor.state = State::Stopped;
                out.events.push(Event::OutOfRange { partition, claim: cursor.claim, offset });
            }
            Reaction::Refresh => {
                self.ask_leader(now, &partition);
                out.events.push(Event::Refresh);
            }
            Reaction::Retry => self.ask_leader(now, &partition),
            Reaction::Report => {
                let claim = cursor.claim;
                cursor.failures = cursor.failures.max(SLOW);
                self.retry(now, &partition);
                let error = Error::broker(code, "Fetch", subject(code, &partition));
                out.events.push(Event::Failed { partition, claim, error });
            }
        }
        false
    }

    fn take(
        &mut self,
        now: Now,
        token: Token,
        partition: TopicPartition,
        offset: i64,
        data: PartitionData,
        out: &mut Outbox<Event>,
    ) -> bool {
        let Some(cursor) = self.cursors.get_mut(&partition) else { return false };
        let records = data.records.unwrap_or_default();
        match Extent::of(&records) {
            None => {
                cursor.progressed();
                return false;
            }
            Some(Extent::Until { end, leader_epoch }) if end > offset => {
                cursor.progressed();
                cursor.state = State::Fetching(end);
                cursor.lineage.read(&records, leader_epoch);
                cursor.max_bytes = self.settings.partition_max_bytes;
            }
            // Whoever reads the batch finds the fault, and has it fetched again.
            Some(Extent::Broken) => cursor.state = State::Stopped,
            Some(Extent::Until { .. }) => {
                let detail = "the broker sends only batches that end in front of it";
                self.stalled(now, partition, offset, detail, out);
                return false;
            }
            Some(Extent::CutOff { needed }) => {
                self.grow(now, partition, offset, needed, out);
                return false;
            }
        }
        cursor.served = Some(token);
        let held = self.buffered.hold(&cursor.buffered, records.len());
        let claim = cursor.claim;
        let mut aborted: Vec<(i64, i64)> = Vec::new();
        if self.settings.read_committed {
            let transactions = data.aborted_transactions.unwrap_or_default();
            aborted.extend(transactions.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)));
            // Redpanda does not sort them.
            aborted.sort_unstable_by_key(|(_, first_offset)| *first_offset);
        }
        let high_watermark = data.high_watermark;
        let fetched = Fetched { partition, claim, offset, records, aborted, high_watermark, held };
        out.events.push(Event::Fetched(fetched));
        true
    }

    /// A broker that is asked in leaders' places cannot be: its partitions are read from their leaders.
    fn leave_replica(&mut self, id: NodeId) {
        let of_replica = |cursor: &Cursor| cursor.replica.is_some_and(|replica| replica.node == id);
        let left = self.cursors.iter().filter(|(_, cursor)| of_replica(cursor));
        let mut left: Vec<TopicPartition> = left.map(|(partition, _)| partition.clone()).collect();
        left.sort_unstable();
        left.iter().for_each(|partition| self.redirect(partition, None));
    }

    /// A batch did not fit into the answer: asks for more bytes.
    fn grow(
        &mut self,
        now: Now,
        partition: TopicPartition,
        offset: i64,
        needed: Option<usize>,
        out: &mut Outbox<Event>,
    ) {
        let limit = self.settings.batch_max_bytes;
        let Some(cursor) = self.cursors.get_mut(&partition) else { return };
        let size = needed.unwrap_or_else(|| cursor.max_bytes.saturating_mul(2));
        if size > limit {
            let error =
                ErrorKind::RecordTooLarge { size, limit: Some(limit), setting: "receive_message_max_bytes" };
            cursor.state = State::Stopped;
            out.events.push(Event::Stuck { partition, claim: cursor.claim, error: error.into() });
        } else if size > cursor.max_bytes {
            cursor.max_bytes = size;
        } else {
            self.stalled(now, partition, offset, "the broker sends only the batch's beginning", out);
        }
    }

    /// An answer held bytes that lead nowhere: tries again, and gives up after a few times.
    fn stalled(
        &mut self,
        now: Now,
        partition: TopicPartition,
        offset: i64,
        detail: &str,
        out: &mut Outbox<Event>,
    ) {
        self.retry(now, &partition);
        let Some(cursor) = self.cursors.get_mut(&partition) else { return };
        cursor.stalls = cursor.stalls.saturating_add(1);
        if cursor.stalls < MAX_STALLS {
            return;
        }
        cursor.state = State::Stopped;
        let claim = cursor.claim;
        let detail = detail.to_owned();
        let error =
            ErrorKind::CorruptBatch { partition: partition.clone(), offset, next_offset: None, detail };
        out.events.push(Event::Stuck { partition, claim, error: error.into() });
    }

    /// Tries again later, with the leader.
    fn ask_leader(&mut self, now: Now, partition: &TopicPartition) {
        self.retry(now, partition);
        self.redirect(partition, None);
    }

    fn retry(&mut self, now: Now, partition: &TopicPartition) {
        if let Some(cursor) = self.cursors.get_mut(partition) {
            let wait = self.settings.retry.delay(cursor.failures, &mut self.random);
            cursor.failures = cursor.failures.saturating_add(1);
            cursor.not_before = Some(deadline_after(now, wait));
        }
    }

    fn back_off(&mut self, now: Now, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            let wait = self.settings.retry.delay(node.failures, &mut self.random);
            node.failures = node.failures.saturating_add(1);
            node.not_before = Some(deadline_after(now, wait));
        }
    }
}

/// Who answers to which request, and whose addresses it tells.
struct Answerer<'a> {
    id: NodeId,
    token: Token,
    order: Token,
    endpoints: &'a [NodeEndpoint],
}

/// What to do about a partition's error code.
enum Reaction {
    Take,
    Reset,
    Refresh,
    Retry,
    Report,
}

fn reaction(code: Code) -> Reaction {
    match code {
        Code::OFFSET_OUT_OF_RANGE => Reaction::Reset,
        // A fault of the broker that passes, or that its successor as leader does not have.
        Code::UNKNOWN_SERVER_ERROR | Code::UNKNOWN_LEADER_EPOCH => Reaction::Refresh,
        // The broker's own copy does not read: it may heal with another leader, but nobody is to wait in silence.
        Code::CORRUPT_MESSAGE => Reaction::Report,
        _ => match code.disposition() {
            Disposition::Done => Reaction::Take,
            Disposition::RefreshMetadata | Disposition::FindCoordinator => Reaction::Refresh,
            Disposition::Retry => Reaction::Retry,
            Disposition::Fail => Reaction::Report,
        },
    }
}

/// The leader that a broker names which is not the leader itself (KIP-951).
fn leader_hint(
    partition: &TopicPartition,
    topic_id: Uuid,
    data: &PartitionData,
    endpoints: &[NodeEndpoint],
) -> Option<LeaderHint> {
    let named = &data.current_leader;
    if named.leader_id < 0 || named.leader_epoch < 0 {
        return None;
    }
    let endpoint = endpoints.iter().find(|endpoint| endpoint.node_id == named.leader_id);
    Some(LeaderHint {
        partition: partition.clone(),
        topic_id,
        leader: NodeId(named.leader_id),
        leader_epoch: named.leader_epoch,
        broker: endpoint.and_then(|e| Broker::new(e.node_id, &e.host, e.port, e.rack.clone())),
    })
}

fn malformed(node: NodeId, what: &dyn std::fmt::Display) -> Error {
    ErrorKind::Malformed { peer: format!("broker {node}"), detail: what.to_string() }.into()
}

//! Takes what brokers answer.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    Place, Sharer,
    node::{InFlight, Kind, Node},
    types::{Acquired, Event, Fetched, Key, Stay},
};
use crate::{
    engine::{
        catalog::snapshot::{Broker, LeaderHint},
        machine::{Answer, Now, Outbox, Outcome, Token, deadline_after},
    },
    error::{Code, Disposition, Error, ErrorKind, Result},
    types::NodeId,
    wire::{
        messages::{
            ShareAcknowledgeResponse, ShareFetchResponse, share_acknowledge_response as acknowledged,
            share_fetch_response as fetched,
        },
        str::Str,
    },
};

/// What an answer says of one partition.
struct Said {
    key: Key,
    /// What became of the decisions, and why.
    verdicts: (Code, Option<Str>),
    /// Whether it can be read.
    reading: Code,
    /// Who leads it, in which epoch, if the broker tells.
    leader: (NodeId, i32),
    /// And where that is.
    broker: Option<Broker>,
}

enum Response {
    Fetch(ShareFetchResponse),
    Acknowledge(ShareAcknowledgeResponse),
}

impl Sharer {
    /// Takes what came of a call.
    pub(crate) fn answer(&mut self, now: Now, token: Token, outcome: Outcome, out: &mut Outbox<Event>) {
        let is_asked = |node: &Node| node.in_flight.as_ref().is_some_and(|flight| flight.token == token);
        let Some((&id, node)) = self.nodes.iter_mut().find(|(_, node)| is_asked(node)) else { return };
        let Some(flight) = node.in_flight.take() else { return };
        let response = outcome.map_err(|failure| failure.error);
        let response = response.and_then(|answer| Response::read(id, flight.kind, answer));
        match response.and_then(|response| response.check(&self.settings.group)) {
            Ok(response) => {
                node.answered(&flight);
                let throttled = match response {
                    Response::Fetch(response) => self.fetched(now, id, &flight, response, out),
                    Response::Acknowledge(response) => self.acknowledged(id, &flight, response, out),
                };
                if let Ok(ms @ 1..) = u64::try_from(throttled) {
                    out.events.push(Event::Throttled { node: id, delay: Duration::from_millis(ms) });
                }
            }
            Err(error) => self.failed(now, id, &flight, &error, out),
        }
    }

    /// No answer, or one that says that there is no session: it is begun anew.
    fn failed(&mut self, now: Now, id: NodeId, flight: &InFlight, error: &Error, out: &mut Outbox<Event>) {
        tracing::debug!(broker = %id, %error, "a share session has ended");
        self.lose(id, flight, error, out);
        let Some(node) = self.nodes.get_mut(&id).filter(|_| flight.kind != Kind::Close) else { return };
        let is_over = error.code().is_some_and(is_of_session);
        if !is_over || node.failures > 0 {
            let wait = self.settings.retry.delay(node.failures, &mut self.random);
            node.not_before = Some(deadline_after(now, wait));
            out.events.push(Event::Refresh);
        }
        node.failures = node.failures.saturating_add(1);
        if !error.may_pass() && !is_over {
            out.events.push(Event::Failed { partition: None, error: error.clone() });
        }
    }

    /// Nothing more can be said of what was got in the session.
    fn lose(&mut self, id: NodeId, flight: &InFlight, error: &Error, out: &mut Outbox<Event>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for (stay, first, last) in node.lose(flight) {
            if let Some(place) = self.stays.get(&stay) {
                out.events.push(place.unsettled(first, last, error.clone()));
                self.commits.iter_mut().for_each(|commit| commit.fail(id, error));
            }
        }
        let is_here = |place: &&mut Place| place.node == id && !place.is_over;
        for (stay, place) in self.stays.iter_mut().map(|(stay, place)| (*stay, place)) {
            if is_here(&place) {
                place.is_over = true;
                out.events.push(Event::Ended { stay, release: false });
            }
        }
        // The partitions are read on, in a session of their own.
        for (key, stay) in &mut node.wanted {
            let Some(place) = self.stays.get(stay) else { continue };
            let (partition, until) = (place.partition.clone(), flight.sent);
            self.last_stay = self.last_stay.wrapping_add(1);
            *stay = Stay(self.last_stay);
            self.stays.insert(*stay, Place { key: *key, partition, node: id, until, is_over: false });
        }
    }

    /// Takes records. For how long the broker lets the reader wait, in milliseconds.
    fn fetched(
        &mut self,
        now: Now,
        id: NodeId,
        flight: &InFlight,
        response: ShareFetchResponse,
        out: &mut Outbox<Event>,
    ) -> i32 {
        // No lock has begun before the request was sent.
        let lock = u64::try_from(response.acquisition_lock_timeout_ms).unwrap_or(0);
        let until = flight.sent.checked_add(Duration::from_millis(lock)).unwrap_or(flight.sent);
        let (mut named, mut is_empty) = (BTreeSet::new(), true);
        for topic in response.responses {
            for data in topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                named.insert(key);
                is_empty &= data.acquired_records.is_empty();
                let said = Said {
                    key,
                    verdicts: (
                        Code::new(data.acknowledge_error_code),
                        data.acknowledge_error_message.clone(),
                    ),
                    reading: Code::new(data.error_code),
                    leader: (NodeId(data.current_leader.leader_id), data.current_leader.leader_epoch),
                    broker: endpoint(&response.node_endpoints, data.current_leader.leader_id),
                };
                self.said(id, flight, said, out);
                if !data.acquired_records.is_empty() {
                    self.acquired(id, flight, key, data, until, out);
                }
            }
        }
        self.look_for_missing(id, flight, &named, out);
        // A broker that does not wait, though it has nothing, is given a rest.
        let is_early = now.instant.saturating_duration_since(flight.sent) < self.settings.max_wait / 4;
        if let Some(node) = self.nodes.get_mut(&id)
            && (is_empty && is_early && flight.verdicts.is_empty())
        {
            node.not_before = Some(deadline_after(now, self.settings.retry.first));
        }
        response.throttle_time_ms
    }

    fn acquired(
        &mut self,
        id: NodeId,
        flight: &InFlight,
        key: Key,
        data: fetched::PartitionData,
        until: Instant,
        out: &mut Outbox<Event>,
    ) {
        let Some(stay) = flight.stays.get(&key).copied() else { return };
        let Some(place) = self.stays.get_mut(&stay) else { return };
        place.until = until;
        let acquired = data.acquired_records.iter().map(|run| Acquired {
            first: run.first_offset,
            last: run.last_offset,
            deliveries: u16::try_from(run.delivery_count).unwrap_or(0),
        });
        let (partition, acquired) = (place.partition.clone(), acquired.collect());
        let records = data.records.unwrap_or_default();
        out.events.push(Event::Fetched(Fetched { stay, partition, records, acquired, until }));
        let is_wanted = self.nodes.get(&id).is_some_and(|node| node.wanted.get(&key) == Some(&stay));
        if !is_wanted {
            out.events.push(Event::Ended { stay, release: true });
        }
    }

    fn acknowledged(
        &mut self,
        id: NodeId,
        flight: &InFlight,
        response: ShareAcknowledgeResponse,
        out: &mut Outbox<Event>,
    ) -> i32 {
        let mut named = BTreeSet::new();
        for topic in response.responses {
            for data in topic.partitions {
                let (key, code) = ((topic.topic_id, data.partition_index), Code::new(data.error_code));
                named.insert(key);
                let said = Said {
                    key,
                    verdicts: (code, data.error_message),
                    reading: if is_of_leadership(code) { code } else { Code::NONE },
                    leader: (NodeId(data.current_leader.leader_id), data.current_leader.leader_epoch),
                    broker: endpoint_of(&response.node_endpoints, data.current_leader.leader_id),
                };
                self.said(id, flight, said, out);
            }
        }
        self.look_for_missing(id, flight, &named, out);
        response.throttle_time_ms
    }

    /// What the answer says nothing of does not count.
    fn look_for_missing(
        &mut self,
        id: NodeId,
        flight: &InFlight,
        named: &BTreeSet<Key>,
        out: &mut Outbox<Event>,
    ) {
        let missing = flight
            .stays
            .iter()
            .filter(|(key, stay)| flight.verdicts.contains_key(stay) && !named.contains(key));
        for key in missing.map(|(key, _)| *key) {
            let said = Said {
                key,
                verdicts: (Code::INVALID_RECORD_STATE, Some("the answer does not name it".into())),
                reading: Code::NONE,
                leader: (NodeId(-1), -1),
                broker: None,
            };
            self.said(id, flight, said, out);
        }
    }

    fn said(&mut self, id: NodeId, flight: &InFlight, said: Said, out: &mut Outbox<Event>) {
        let Some(stay) = flight.stays.get(&said.key) else { return };
        let Some(place) = self.stays.get(stay) else { return };
        let (code, message) = said.verdicts;
        if code != Code::NONE {
            let (request, subject) = ("ShareAcknowledge", place.partition.to_string());
            let message = message.map(|message| message.as_str().to_owned());
            let error = Error::broker_saying(code, request, subject, message);
            for (first, last, _) in flight.verdicts.get(stay).into_iter().flatten() {
                out.events.push(place.unsettled(*first, *last, error.clone()));
                self.commits.iter_mut().for_each(|commit| commit.fail(id, &error));
            }
        }
        if said.reading == Code::NONE {
            return;
        }
        if is_of_leadership(said.reading) {
            let (leader, leader_epoch) = said.leader;
            let (partition, topic_id) = (place.partition.clone(), said.key.0);
            if leader.0 >= 0 {
                let hint = LeaderHint { partition, topic_id, leader, leader_epoch, broker: said.broker };
                out.events.push(Event::LeaderHint(hint));
            }
            out.events.push(Event::Refresh);
        }
        if said.reading.disposition() == Disposition::Fail {
            let error = Error::broker(said.reading, "ShareFetch", place.partition.to_string());
            out.events.push(Event::Failed { partition: Some(place.partition.clone()), error });
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.rest(said.key);
        }
    }
}

impl Response {
    fn read(id: NodeId, kind: Kind, answer: Answer) -> Result<Self> {
        let malformed = |detail| Error::from(ErrorKind::Malformed { peer: format!("broker {id}"), detail });
        match kind {
            Kind::Fetch => ShareFetchResponse::try_from(answer.response)
                .map(Self::Fetch)
                .map_err(|wrong| malformed(wrong.to_string())),
            Kind::Acknowledge | Kind::Close => ShareAcknowledgeResponse::try_from(answer.response)
                .map(Self::Acknowledge)
                .map_err(|wrong| malformed(wrong.to_string())),
        }
    }

    /// Looks for an error of the whole request.
    fn check(self, group: &Str) -> Result<Self> {
        let (code, message, request) = match &self {
            Self::Fetch(response) => (response.error_code, &response.error_message, "ShareFetch"),
            Self::Acknowledge(response) => (response.error_code, &response.error_message, "ShareAcknowledge"),
        };
        let code = Code::new(code);
        if code == Code::NONE {
            return Ok(self);
        }
        let message = message.as_ref().map(|message| message.as_str().to_owned());
        Err(Error::broker_saying(code, request, group.as_str(), message))
    }
}

fn is_of_session(code: Code) -> bool {
    matches!(code, Code::SHARE_SESSION_NOT_FOUND | Code::INVALID_SHARE_SESSION_EPOCH)
}

fn is_of_leadership(code: Code) -> bool {
    code.disposition() == Disposition::RefreshMetadata
}

fn endpoint(endpoints: &[fetched::NodeEndpoint], leader: i32) -> Option<Broker> {
    let node = endpoints.iter().find(|node| node.node_id == leader)?;
    Broker::new(node.node_id, &node.host, node.port, node.rack.clone())
}

fn endpoint_of(endpoints: &[acknowledged::NodeEndpoint], leader: i32) -> Option<Broker> {
    let node = endpoints.iter().find(|node| node.node_id == leader)?;
    Broker::new(node.node_id, &node.host, node.port, node.rack.clone())
}

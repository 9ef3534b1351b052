//! From a request to its answer.

use std::collections::BTreeSet;
use std::time::Instant;

use super::call::{Call, Handled, Ticket};
use super::effects::{Effects, Ending, Instead};
use super::fetch::Fetch;
use super::share::ShareFetch;
use super::{Broker, ConnectionId, Current, Reaction, Wait};
use super::{
    alter, commit, coordinators, deletions, facts, groups, ids, metadata, offsets, produce, share, topics,
    transactions, versions,
};
use crate::engine::machine::{Now, deadline_after};
use crate::testing::api::Api;
use crate::testing::journal::Entry;
use crate::types::NodeId;
use crate::wire::calls::{Received, Request, RequestError, Response, decode_request};
use crate::wire::codec::Segments;
use crate::wire::messages::{FetchRequest, FetchResponse, ShareFetchRequest, ShareFetchResponse};
use crate::wire::versions::ApiKey;

/// The first version of JoinGroup that can say that no protocol was chosen.
const NULL_PROTOCOL: i16 = 7;

impl Broker {
    /// Begins the next request of a connection, if the one before is done.
    pub(super) fn begin(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let is_muted = connection.muted_until.is_some_and(|until| until > now.instant);
        if connection.current.is_some() || is_muted {
            return;
        }
        let Some(frame) = connection.queue.pop_front() else { return };
        let node = connection.node;
        self.ready.insert(id);
        match decode_request(frame) {
            Ok(received) => self.serve(now, node, id, received),
            Err(RequestError::UnsupportedVersion { key: ApiKey::ApiVersions, correlation_id, .. }) => {
                if let Some(frame) = self.encode(id, 0, correlation_id, &versions::unsupported().into()) {
                    self.outbox.push_back(Reaction::Reply { connection: id, frame });
                }
            }
            // An API or version that the broker does not know, or bytes that are no request.
            Err(_) => self.close(id),
        }
    }

    fn serve(&mut self, now: Now, node: i32, id: ConnectionId, received: Received) {
        let key = received.request.key();
        if !versions::ADVERTISED.iter().any(|(known, ..)| *known == key) {
            self.close(id);
            return;
        }
        let effects = self.note(now, node, id, Api::of(key), &received);
        self.tickets += 1;
        let call = Call {
            now,
            node,
            version: received.version,
            client_id: received.client_id.unwrap_or_default(),
            ticket: Ticket(self.tickets),
            refusals: effects.refusals.clone(),
        };
        let (correlation_id, instead) = (received.correlation_id, effects.instead.clone());
        let current = Current { call, correlation_id, effects, wait: Wait::Answer };
        match instead {
            Instead::Close => self.close(id),
            Instead::Ignore => self.wait(id, Current { wait: Wait::Ever, ..current }),
            Instead::Answer(response) => self.finish(now, id, current, *response),
            Instead::Nothing => self.handle(now, id, current, &received.request),
        }
    }

    /// Writes the request down, and finds what the fault rules make of it.
    fn note(&mut self, now: Now, node: i32, id: ConnectionId, api: Api, received: &Received) -> Effects {
        let entry = Entry {
            at_ms: now.unix_ms,
            node: NodeId(node),
            connection: id.0,
            api,
            version: received.version,
            client_id: received.client_id.as_deref().unwrap_or_default().to_owned(),
            partitions: facts::partitions(&self.state, &received.request),
            groups: facts::groups(&received.request),
            transactional_ids: facts::transactional_ids(&received.request),
        };
        let rules =
            if self.faults.is_empty() { Vec::new() } else { self.faults.hit(&entry, &mut self.state.random) };
        self.journal.write(entry);
        Effects::of(&rules, &received.request, received.version)
    }

    fn handle(&mut self, now: Now, id: ConnectionId, current: Current, request: &Request) {
        let (state, call) = (&mut self.state, &current.call);
        let handled: Handled = match request {
            Request::AddOffsetsToTxn(request) => transactions::add_offsets(state, call, request).into(),
            Request::AddPartitionsToTxn(request) => transactions::add_partitions(state, call, request).into(),
            Request::ApiVersions(request) => versions::handle(state, call, request).into(),
            Request::ConsumerGroupHeartbeat(request) => {
                groups::consumer_heartbeat(state, call, request).into()
            }
            Request::CreateTopics(request) => topics::create(state, call, request).into(),
            Request::DeleteTopics(request) => deletions::delete(state, call, request).into(),
            Request::DescribeCluster(request) => metadata::describe_cluster(state, call, request).into(),
            Request::DescribeGroups(request) => coordinators::describe(state, call, request).into(),
            Request::EndTxn(request) => transactions::end(state, call, request).into(),
            Request::Fetch(request) => return self.fetch(now, id, current, request),
            Request::FindCoordinator(request) => coordinators::find(state, call, request).into(),
            Request::Heartbeat(request) => groups::heartbeat(state, call, request).into(),
            Request::InitProducerId(request) => ids::handle(state, call, request).into(),
            Request::JoinGroup(request) => groups::join(state, call, request),
            Request::LeaveGroup(request) => groups::leave(state, call, request).into(),
            Request::ListGroups(request) => coordinators::list(state, call, request).into(),
            Request::ListOffsets(request) => offsets::list(state, call, request).into(),
            Request::Metadata(request) => metadata::metadata(state, call, request).into(),
            Request::OffsetCommit(request) => commit::commit(state, call, request).into(),
            Request::OffsetFetch(request) => commit::fetch(state, call, request).into(),
            Request::OffsetForLeaderEpoch(request) => offsets::for_leader_epoch(state, call, request).into(),
            Request::Produce(request) => produce::handle(state, call, request),
            Request::ShareAcknowledge(request) => share::acknowledge(state, call, id.0, request).into(),
            Request::ShareFetch(request) => return self.share_fetch(now, id, current, request),
            Request::ShareGroupHeartbeat(request) => share::heartbeat(state, call, request).into(),
            Request::SyncGroup(request) => groups::sync(state, call, request),
            Request::TxnOffsetCommit(request) => commit::transactional::commit(state, call, request).into(),
        };
        match handled {
            Handled::Answer(response) => self.finish(now, id, current, response),
            Handled::Close => self.close(id),
            Handled::Later => self.wait(id, current),
            Handled::Silent if matches!(current.effects.ending, Ending::Close) => self.close(id),
            Handled::Silent => self.outbox.push_back(Reaction::Silent { connection: id }),
        }
    }

    // Fetches.

    fn fetch(&mut self, now: Now, id: ConnectionId, current: Current, request: &FetchRequest) {
        let call = &current.call;
        let sessions = self.sessions.entry(call.node).or_default();
        let mut random = self.state.random.clone();
        let opened = sessions.open(&self.state, call, request, &mut random);
        self.state.random = random;
        let opened = match opened {
            Ok(opened) => opened,
            Err(code) => {
                let failed = FetchResponse { error_code: code.get(), ..FetchResponse::default() };
                return self.finish(now, id, current, failed.into());
            }
        };
        let fetch = Fetch::new(&self.state, call, request, opened);
        let reading = fetch.read(&self.state, call);
        let current = Current { wait: Wait::Fetch(fetch), ..current };
        if reading.is_due || current.until().is_some_and(|until| until <= now.instant) {
            self.finish_fetch(now, id, current, reading.response);
        } else {
            self.wait(id, current);
        }
    }

    fn finish_fetch(&mut self, now: Now, id: ConnectionId, current: Current, mut response: FetchResponse) {
        if let (Wait::Fetch(fetch), Some(sessions)) =
            (&current.wait, self.sessions.get_mut(&current.call.node))
        {
            sessions.answered(&mut response, fetch.only_news);
        }
        self.finish(now, id, current, response.into());
    }

    /// Answers the waiting fetches that have got something to answer with, or have waited long enough.
    pub(super) fn try_fetches(&mut self, now: Now) {
        let mut answers = Vec::new();
        for (ticket, id) in &self.waiting {
            let Some(current) = self.connections.get(id).and_then(|connection| connection.current.as_ref())
            else {
                continue;
            };
            let Wait::Fetch(fetch) = &current.wait else { continue };
            let reading = fetch.read(&self.state, &current.call);
            if reading.is_due || fetch.until <= now.instant {
                answers.push((*ticket, reading.response));
            }
        }
        for (ticket, response) in answers {
            if let Some((id, current)) = self.wake(ticket) {
                self.finish_fetch(now, id, current, response);
            }
        }
        self.try_share_fetches(now);
    }

    fn share_fetch(&mut self, now: Now, id: ConnectionId, current: Current, request: &ShareFetchRequest) {
        let fetch = match ShareFetch::begin(&mut self.state, &current.call, id.0, request) {
            Ok(fetch) => fetch,
            Err(code) => {
                let failed = ShareFetchResponse { error_code: code.get(), ..ShareFetchResponse::default() };
                return self.finish(now, id, current, failed.into());
            }
        };
        match fetch.read(&mut self.state, &current.call, now) {
            Some(response) => self.finish(now, id, current, response.into()),
            None => self.wait(id, Current { wait: Wait::ShareFetch(fetch), ..current }),
        }
    }

    /// Does the same for the waiting fetches of share groups, in the order in which they came: what one acquires, the next
    /// does not get.
    fn try_share_fetches(&mut self, now: Now) {
        let mut answers = Vec::new();
        for (ticket, id) in &self.waiting {
            let Some(current) = self.connections.get(id).and_then(|connection| connection.current.as_ref())
            else {
                continue;
            };
            let Wait::ShareFetch(fetch) = &current.wait else { continue };
            if let Some(response) = fetch.read(&mut self.state, &current.call, now) {
                answers.push((*ticket, response));
            }
        }
        for (ticket, response) in answers {
            self.answer(now, ticket, response.into());
        }
    }

    // Answers.

    /// Answers a request that has waited, if its connection is still there.
    pub(super) fn answer(&mut self, now: Now, ticket: Ticket, response: Response) {
        if let Some((id, current)) = self.wake(ticket) {
            self.finish(now, id, current, response);
        }
    }

    /// Sends the answer, or does with it what the fault rules want.
    fn finish(&mut self, now: Now, id: ConnectionId, current: Current, mut response: Response) {
        let Effects { answer, changes, throttle, delay, ending, .. } = &current.effects;
        if let Some(answer) = answer {
            response = (**answer).clone();
        }
        for change in changes {
            alter::change(&self.state, &mut response, change);
        }
        if let Some(throttle) = throttle {
            alter::throttle(&mut response, i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX));
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.muted_until = Some(deadline_after(now, *throttle));
            }
        }
        if let Response::JoinGroup(join) = &mut response
            && current.call.version < NULL_PROTOCOL
        {
            join.protocol_name.get_or_insert_default();
        }
        let Some(frame) = self.encode(id, current.call.version, current.correlation_id, &response) else {
            return;
        };
        if let Some(delay) = delay {
            let until = deadline_after(now, *delay);
            self.wait(id, Current { wait: Wait::Delay { until, frame }, ..current });
            return;
        }
        let ending = ending.clone();
        self.end(id, current, frame, ending);
    }

    fn end(&mut self, id: ConnectionId, current: Current, frame: Segments, ending: Ending) {
        match ending {
            Ending::Send => self.outbox.push_back(Reaction::Reply { connection: id, frame }),
            Ending::Close => self.close(id),
            Ending::Drop => self.wait(id, Current { wait: Wait::Ever, ..current }),
            Ending::Replace(bytes) => {
                let mut frame = Segments::default();
                frame.push(bytes);
                self.outbox.push_back(Reaction::Reply { connection: id, frame });
            }
        }
    }

    /// Sends the answers that were held back long enough, and takes requests again from connections that were muted.
    pub(super) fn release(&mut self, now: Now) {
        let is_due = |until: Option<Instant>| until.is_some_and(|until| until <= now.instant);
        let mut due = BTreeSet::new();
        for (id, connection) in &mut self.connections {
            if is_due(connection.muted_until) {
                connection.muted_until = None;
                self.ready.insert(*id);
            }
            if let Some(current) = &connection.current
                && let Wait::Delay { until, .. } = current.wait
                && is_due(Some(until))
            {
                due.insert(current.call.ticket);
            }
        }
        for ticket in due {
            let Some((id, mut current)) = self.wake(ticket) else { continue };
            if let Wait::Delay { frame, .. } = std::mem::replace(&mut current.wait, Wait::Answer) {
                let ending = current.effects.ending.clone();
                self.end(id, current, frame, ending);
            }
        }
    }

    fn encode(
        &mut self,
        connection: ConnectionId,
        version: i16,
        correlation_id: i32,
        response: &Response,
    ) -> Option<Segments> {
        match response.encode_frame(version, correlation_id) {
            Ok(frame) => Some(frame),
            Err(error) => {
                debug_assert!(false, "a broker's answer that cannot be encoded: {error}");
                self.close(connection);
                None
            }
        }
    }

    fn wait(&mut self, id: ConnectionId, current: Current) {
        self.waiting.insert(current.call.ticket, id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.current = Some(current);
        }
    }

    /// Ends the waiting of a request.
    fn wake(&mut self, ticket: Ticket) -> Option<(ConnectionId, Current)> {
        let id = self.waiting.remove(&ticket)?;
        let current = self.connections.get_mut(&id)?.current.take()?;
        self.ready.insert(id);
        Some((id, current))
    }
}

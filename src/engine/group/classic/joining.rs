//! Joining: what is offered, planned and assigned.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Basis, Classic, State, counts,
    requests::{self, Last},
};
use crate::{
    engine::{
        assign::{self, GroupMember, Racks, SubscribedTopics, wire},
        catalog::snapshot::Snapshot,
        group::protocol::Event,
        machine::{Now, Outbox, Purpose, deadline_after},
    },
    error::Code,
    types::{NodeId, TopicName, TopicPartition},
    wire::messages::{JoinGroupResponse, SyncGroupResponse, sync_group_request::SyncGroupRequestAssignment},
};

impl Classic {
    pub(super) fn send_join(&mut self, now: Now, coordinator: NodeId, out: &mut Outbox<Event>) {
        let last = Last { owned: &self.owned, partitions: &self.last, generation: self.last_generation };
        self.is_resubscribed = false;
        let request = requests::join(&self.settings, &self.member_id, last, self.reason);
        // The answer comes when all members have joined, or the rebalance timeout has passed.
        let patience = self.settings.rebalance_timeout.saturating_add(Duration::from_secs(5));
        let patience = patience.max(self.settings.request_timeout);
        if self.owned.is_empty() {
            self.heartbeat.end();
        }
        let token = self.call(now, coordinator, Purpose::COORDINATOR, request.into(), patience, out);
        self.state = State::Joining(token);
    }

    pub(super) fn joined(&mut self, now: Now, response: JoinGroupResponse, out: &mut Outbox<Event>) {
        let code = Code::new(response.error_code);
        match code {
            Code::NONE => {}
            Code::MEMBER_ID_REQUIRED if self.member_id.is_empty() && !response.member_id.is_empty() => {
                self.member_id = response.member_id;
                self.state = State::Due(now.instant);
                return;
            }
            _ => return self.refused(now, code, "JoinGroup", out),
        }
        self.heartbeat.confirm_joined();
        if response.generation_id != self.generation {
            self.is_spent = false;
        }
        self.generation = response.generation_id;
        self.member_id = response.member_id;
        let chosen = response.protocol_name.as_deref().unwrap_or_default();
        let Some(assignor) = self.settings.assignors.iter().find(|assignor| assignor.name() == chosen) else {
            tracing::warn!(group = %self.settings.group, assignor = chosen, "the group uses an assignor that this member did not offer: joining again");
            return self.again(now, "the assignor was not offered");
        };
        self.assignor = Arc::clone(assignor);
        let is_leader = response.leader == self.member_id;
        tracing::info!(
            group = %self.settings.group, generation = self.generation, leader = is_leader, "joined the group"
        );
        self.planned = None;
        if !self.owned.is_empty() {
            out.events.push(Event::Renewed);
        }
        if !is_leader {
            return self.send_sync(now, Vec::new(), None, out);
        }
        let members = response.members.into_iter().map(|member| {
            let (id, instance_id) = (member.member_id, member.group_instance_id);
            let told = wire::read_subscription(id.clone(), instance_id.clone(), member.metadata);
            told.unwrap_or_else(|error| {
                tracing::warn!(member = %id, %error, "a member's subscription does not parse: it gets nothing");
                GroupMember::silent(id, instance_id)
            })
        });
        let members: Vec<GroupMember> = members.collect();
        out.events
            .push(Event::Want(members.iter().flat_map(|member| member.topics.iter().cloned()).collect()));
        // The members wait for this one, and for no longer than their sessions.
        let until = deadline_after(now, self.settings.session_timeout / 3);
        self.state = State::Planning { members, until, skip: response.skip_assignment };
    }

    /// As leader: makes the plan if all topics are known, or it is time.
    pub(super) fn plan(
        &mut self,
        now: Now,
        members: Vec<GroupMember>,
        until: Instant,
        skip: bool,
        snapshot: &Snapshot,
        out: &mut Outbox<Event>,
    ) {
        let wanted: BTreeSet<&TopicName> = members.iter().flat_map(|member| &member.topics).collect();
        let counts = counts(wanted, snapshot);
        let known =
            |topic: &TopicName| snapshot.topic(topic).is_some() || snapshot.topic_error(topic).is_some();
        if until > now.instant && !counts.keys().all(known) {
            self.state = State::Planning { members, until, skip };
            return;
        }
        let known = counts.iter().filter_map(|(topic, count)| Some((topic.clone(), (*count)?)));
        let topics = SubscribedTopics::new(known.collect(), racks(&members, &counts, snapshot));
        if skip {
            self.planned = Some(counts);
            return self.send_sync(now, Vec::new(), Some(Basis { members, topics }), out);
        }
        let plan = assign::assign(&*self.assignor, &members, &topics);
        let plan = members.into_iter().map(|member| member.id).zip(plan);
        for topic in counts.iter().filter(|(_, count)| count.is_none()).map(|(topic, _)| topic) {
            tracing::warn!(group = %self.settings.group, %topic, "nobody is assigned a topic that does not exist");
        }
        self.planned = Some(counts);
        let assignments = plan.map(|(member_id, partitions)| SyncGroupRequestAssignment {
            member_id,
            assignment: wire::assignment(&partitions),
            ..SyncGroupRequestAssignment::default()
        });
        self.send_sync(now, assignments.collect(), None, out);
    }

    fn send_sync(
        &mut self,
        now: Now,
        assignments: Vec<SyncGroupRequestAssignment>,
        basis: Option<Basis>,
        out: &mut Outbox<Event>,
    ) {
        let Some(coordinator) = self.coordinator else {
            // It moved meanwhile: whoever it is now knows nothing of this generation's plan.
            self.state = State::Due(now.instant);
            return;
        };
        let request = requests::sync(
            &self.settings,
            &self.member_id,
            self.generation,
            self.assignor.name(),
            assignments,
        );
        // The answer comes when the leader has made its plan; a leader that does not is dead within its session.
        let patience = self.settings.session_timeout.max(self.settings.request_timeout);
        let token = self.call(now, coordinator, Purpose::COORDINATOR, request.into(), patience, out);
        self.state = State::Syncing { token, sent: now.instant, basis };
    }

    pub(super) fn synced(
        &mut self,
        now: Now,
        sent: Instant,
        basis: Option<Basis>,
        response: SyncGroupResponse,
        out: &mut Outbox<Event>,
    ) {
        let code = Code::new(response.error_code);
        if code != Code::NONE {
            return self.refused(now, code, "SyncGroup", out);
        }
        if self.is_spent {
            return self.again(now, "partitions were lost in this generation");
        }
        // An answer may have been long under way: the coordinator's own count may have begun when it was sent.
        if self.owned.is_empty() {
            self.heartbeat.begin(sent);
        } else {
            self.heartbeat.confirm_at_rest(sent);
        }
        if self.heartbeat.expires() <= now.instant {
            tracing::warn!(group = %self.settings.group, generation = self.generation, "the assignment came after the session's end: joining again");
            return self.expire(now, "the assignment came after the session's end", out);
        }
        match wire::read_assignment(response.assignment) {
            Ok(assigned) => {
                let foreign =
                    assigned.iter().find(|partition| !self.settings.topics.contains(&partition.topic));
                if let Some(foreign) = foreign {
                    tracing::warn!(group = %self.settings.group, partition = %foreign, "assigned what was not subscribed to: joining again");
                    return self.again(now, "the assignment holds a topic that was not subscribed to");
                }
                if basis.is_some_and(|basis| !self.stands(basis, &assigned)) {
                    // It was made before the topics were what they are: this member asks for another.
                    return self.again(now, "the assignment that stands is out of date");
                }
                tracing::info!(group = %self.settings.group, generation = self.generation, ?assigned, "assigned");
                self.failures = 0;
                self.last.clone_from(&assigned);
                self.last_generation = self.generation;
                self.take_on(now, assigned, out);
            }
            Err(error) => {
                tracing::warn!(group = %self.settings.group, %error, "the assignment does not parse: joining again");
                self.again(now, "the assignment does not parse");
            }
        }
    }

    /// Whether another plan would leave this member what the assignment that stands gives it. When it joined it could not
    /// say that it has this: it had come back with nothing.
    fn stands(&self, basis: Basis, assigned: &[TopicPartition]) -> bool {
        let Basis { mut members, topics } = basis;
        let mut numbered = members.iter_mut().enumerate();
        let Some((index, me)) = numbered.find(|(_, member)| member.id == self.member_id) else {
            return false;
        };
        me.owned = assigned.to_vec();
        me.generation = self.generation;
        me.user_data = self.assignor.user_data(assigned, self.generation);
        let share = assign::assign(&*self.assignor, &members, &topics).into_iter().nth(index);
        let share: BTreeSet<_> = share.into_iter().flatten().collect();
        share.iter().eq(assigned.iter().collect::<BTreeSet<_>>())
    }

    /// Goes from what is owned to what is assigned.
    fn take_on(&mut self, now: Now, assigned: Vec<TopicPartition>, out: &mut Outbox<Event>) {
        let (kept, given_up): (Vec<_>, Vec<_>) =
            mem::take(&mut self.owned).into_iter().partition(|partition| assigned.contains(partition));
        let added: Vec<_> = assigned.into_iter().filter(|partition| !kept.contains(partition)).collect();
        self.owned = [&kept[..], &given_up, &added].concat();
        self.state = State::Stable;
        if !given_up.is_empty() {
            // Who was assigned it gets it when this member has joined again.
            self.reason = "partitions were given up";
            self.revoke(now, given_up, out);
        }
        out.events.push(Event::Assigned(added));
    }
}

/// Where the replicas of these topics are, if a member says where it stands: else nobody asks.
fn racks(members: &[GroupMember], counts: &BTreeMap<TopicName, Option<u32>>, snapshot: &Snapshot) -> Racks {
    if members.iter().all(|member| member.rack().is_none()) {
        return Racks::default();
    }
    let rack = |node: &NodeId| snapshot.broker(*node).and_then(|broker| broker.rack.clone());
    let of_topic = |topic: &TopicName| {
        let partitions = snapshot.topic(topic)?.partitions.values();
        Some((
            topic.clone(),
            partitions.map(|info| info.replicas.iter().filter_map(rack).collect()).collect(),
        ))
    };
    Racks::new(counts.keys().filter_map(of_topic))
}

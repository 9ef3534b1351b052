//! The members of a group under the consumer protocol (KIP-848): the coordinator assigns, and takes each member from what
//! it owns to what it is assigned, epoch by epoch.
//!
//! Unlike Kafka's from 4.3 on it assigns at once, and not in the background; and so it matches regular expressions, in the
//! syntax of the crate `regex-lite`.

pub(super) mod classic;
pub(super) mod member;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::engine::machine::Now;
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::heartbeat::{
    HeartbeatSettings, JOIN, Key, LEAVE, Refusal, Topics, by_topic, unknown,
};
use crate::wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::str::Str;

use super::committer::Committer;
use member::{LEFT_FOR_NOW, Member};

/// The first version in which members make their ids themselves (KIP-1082).
const OWN_ID: i16 = 1;
/// The assignors of a broker, the first one being the default. The embedded broker assigns alike under both names.
const ASSIGNORS: [&str; 2] = ["uniform", "range"];

/// All members.
#[derive(Debug, Default)]
pub(super) struct Members {
    epoch: i32,
    /// By id.
    members: BTreeMap<Str, Member>,
    /// The topics that the assignment was made with.
    assigned_with: Topics,
    session: Duration,
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the group's state, if it has members.
    pub(super) fn state_name(&self) -> Option<&'static str> {
        let settled = self.members.values().all(|member| member.is_settled(self.epoch));
        (!self.is_empty()).then_some(if settled { "Stable" } else { "Reconciling" })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.members.values().filter_map(Member::deadline).min()
    }

    /// Throws out who is late.
    pub(super) fn tick(&mut self, now: Now) {
        let before = self.members.len();
        self.members.retain(|_, member| member.deadline().is_none_or(|at| at > now.instant));
        if self.members.len() < before {
            self.somebody_has_gone();
        }
    }

    /// The others get what he had, unless they are a classic group from now on, which does that itself.
    fn somebody_has_gone(&mut self) {
        if !self.are_all_classic() {
            self.epoch += 1;
            self.assign();
        }
    }

    /// The coordinator has moved: everybody has a full session to come to the new one.
    pub(super) fn moved(&mut self, now: Now) {
        let session = self.session;
        self.members.values_mut().for_each(|member| member.is_heard(now, session));
    }

    /// Whether somebody may commit as a member in its epoch, or in an older one what it has had since then (KIP-1251).
    pub(super) fn check_commit(&self, by: Committer<'_>) -> Result<(), Code> {
        if let Some(checked) = self.check_commit_of_classic(by) {
            return checked;
        }
        let member = self.members.get(by.member_id).ok_or(Code::UNKNOWN_MEMBER_ID)?;
        if by.instance.is_some() && member.instance.as_ref() != by.instance {
            return Err(Code::UNKNOWN_MEMBER_ID);
        }
        if !by.knows_epochs {
            return Err(Code::UNSUPPORTED_VERSION);
        }
        if member.may_commit(by) { Ok(()) } else { Err(Code::STALE_MEMBER_EPOCH) }
    }

    pub(super) fn heartbeat(
        &mut self,
        call: &Call,
        request: &ConsumerGroupHeartbeatRequest,
        fresh_id: Str,
        settings: HeartbeatSettings,
        topics: &Topics,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        self.session = settings.session;
        if request.member_epoch < JOIN {
            return self.leave(call.now, request);
        }
        let id = if request.member_id.is_empty() { fresh_id } else { request.member_id.clone() };
        if request.member_epoch == JOIN {
            self.join(&id, request, settings.max_size)?;
        }
        self.check_epoch(&id, request)?;
        let Some(member) = self.members.get_mut(&id) else { return Err(unknown(&id)) };
        member.is_heard(call.now, settings.session);
        let has_news = member.take(request);
        let is_first = self.epoch == 0;
        let has_changed = has_news || is_first || self.wanted(topics) != self.assigned_with;
        if has_changed {
            self.epoch += 1;
            self.assigned_with = self.wanted(topics);
            self.assign();
        }
        let is_taken = self.taken_by_others(&id);
        let Some(member) = self.members.get_mut(&id) else { return Err(unknown(&id)) };
        let owned = member::owned(request);
        let before = member.assigned.clone();
        member.reconcile(call.now, self.epoch, owned.as_ref(), |key| is_taken.contains(key));
        let subscribes = request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
        let is_full = subscribes && owned.is_some();
        let tells = request.member_epoch == JOIN || is_full || member.assigned != before;
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: member.epoch,
            heartbeat_interval_ms: i32::try_from(settings.interval.as_millis()).unwrap_or(i32::MAX),
            assignment: tells.then(|| assignment(&member.assigned)),
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    /// Makes a member of who joins; a static one takes the place of itself, if that has gone.
    fn join(
        &mut self,
        id: &Str,
        request: &ConsumerGroupHeartbeatRequest,
        max_size: usize,
    ) -> Result<(), Refusal> {
        let holder = request.instance_id.as_ref().and_then(|instance| self.holder(instance));
        let Some(holder) = holder.filter(|holder| holder != id) else {
            if !self.members.contains_key(id) {
                if self.members.len() >= max_size {
                    return Err((
                        Code::GROUP_MAX_SIZE_REACHED,
                        format!("the group has {max_size} members already"),
                    ));
                }
                self.members.insert(id.clone(), Member::new(request.instance_id.clone()));
            }
            return Ok(());
        };
        if self.members.get(&holder).is_some_and(|member| member.epoch != LEFT_FOR_NOW) {
            let instance = request.instance_id.as_deref().unwrap_or_default();
            let reason = format!(
                "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by another member {holder}."
            );
            return Err((Code::UNRELEASED_INSTANCE_ID, reason));
        }
        let back = self.members.remove(&holder).map(Member::come_back);
        self.members.extend(back.map(|member| (id.clone(), member)));
        Ok(())
    }

    /// Whose name this is.
    fn holder(&self, instance: &Str) -> Option<Str> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.instance.as_ref() == Some(instance)).map(|(id, _)| id.clone())
    }

    fn check_epoch(&self, id: &Str, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
        let instance = request.instance_id.as_ref();
        if instance.and_then(|instance| self.holder(instance)).is_some_and(|holder| holder != *id) {
            return Err((Code::FENCED_INSTANCE_ID, format!("{id} is not the member with this instance id")));
        }
        let member = self.members.get(id).ok_or_else(|| unknown(id))?;
        if request.member_epoch == JOIN || member.accepts(request) {
            return Ok(());
        }
        Err((
            Code::FENCED_MEMBER_EPOCH,
            format!(
                "The consumer group member has a member epoch ({}) that is not the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
                request.member_epoch, member.epoch
            ),
        ))
    }

    fn leave(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = &request.member_id;
        let member = self.members.get_mut(id).ok_or_else(|| unknown(id))?;
        if request.member_epoch == LEAVE {
            self.members.remove(id);
            self.somebody_has_gone();
        } else {
            member.leave_for_now();
            member.is_heard(now, self.session);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    /// The topics that anybody wants and that are there.
    fn wanted(&self, topics: &Topics) -> Topics {
        topics
            .iter()
            .filter(|(name, _)| self.members.values().any(|member| member.wants(name)))
            .map(|(name, of)| (name.clone(), *of))
            .collect()
    }

    fn assign(&mut self) {
        let wishes = self.members.iter().map(|(id, member)| {
            let topics = self.assigned_with.iter().filter(|(name, _)| member.wants(name));
            let topics = topics.map(|(_, of)| *of).collect();
            (id.clone(), uniform::Wish { topics, has: member.target.clone() })
        });
        for (id, target) in uniform::assign(wishes.collect()) {
            if let Some(member) = self.members.get_mut(&id) {
                member.target = target;
            }
        }
    }

    /// What others own, or have not said that they have given up.
    fn taken_by_others(&self, id: &Str) -> BTreeSet<Key> {
        let others = self.members.iter().filter(|(other, _)| *other != id);
        others.flat_map(|(_, member)| member.assigned.iter().chain(&member.revoking)).copied().collect()
    }
}

/// What no member may say.
pub(in crate::testing::broker) fn check(
    call: &Call,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    let invalid = |reason: &str| Err((Code::INVALID_REQUEST, reason.to_owned()));
    let joins = request.member_epoch == JOIN;
    if request.member_id.is_empty() && (call.version >= OWN_ID || !joins) {
        return invalid("MemberId can't be empty.");
    }
    if request.instance_id.as_ref().is_some_and(|instance| instance.is_empty()) {
        return invalid("InstanceId can't be empty.");
    }
    if request.member_epoch == LEFT_FOR_NOW && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    }
    if request.member_epoch < LEFT_FOR_NOW {
        return invalid("MemberEpoch is invalid.");
    }
    if let Some(assignor) = request.server_assignor.as_deref().filter(|name| !ASSIGNORS.contains(name)) {
        let known = ASSIGNORS.join(", ");
        let reason = format!("ServerAssignor {assignor} is not supported. Supported assignors: {known}.");
        return Err((Code::UNSUPPORTED_ASSIGNOR, reason));
    }
    if let Some(regex) = &request.subscribed_topic_regex
        && let Err(error) = member::expression(regex)
    {
        let reason = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}.");
        return Err((Code::INVALID_REGULAR_EXPRESSION, reason));
    }
    if joins {
        if request.rebalance_timeout_ms < 0 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
    }
    Ok(())
}

fn assignment(keys: &BTreeSet<Key>) -> Assignment {
    let topics = by_topic(keys).into_iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id,
        partitions,
        ..TopicPartitions::default()
    });
    Assignment { topic_partitions: topics.collect(), ..Assignment::default() }
}

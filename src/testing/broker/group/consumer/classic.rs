//! Members that speak the classic protocol in a group of the consumer protocol, as while it migrates from one to the other.
//!
//! The coordinator assigns for them too: they join to learn of it, and hear that they are to join again when there is something
//! to learn. None of them leads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::Members;
use super::member::{Classic, Member};
use crate::engine::machine::{Now, deadline_after};
use crate::error::Code;
use crate::testing::broker::call::Call;
use crate::testing::broker::group::committer::Committer;
use crate::testing::broker::heartbeat::{Key, Topics};
use crate::wire::codec::{Decode, Encode, Reader, Writer};
use crate::wire::messages::consumer_protocol_assignment::TopicPartition;
use crate::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use crate::wire::str::Str;

/// The newest version of what members say of themselves, and of what they are assigned.
const NEWEST: i16 = 3;
/// The kind of protocol that members of such a group speak.
pub(in crate::testing::broker::group) const PROTOCOL_TYPE: &str = "consumer";

/// A member, as the classic protocol knows it.
#[derive(Debug)]
pub(in crate::testing::broker::group) struct Converted {
    pub(in crate::testing::broker::group) id: Str,
    pub(in crate::testing::broker::group) instance: Option<Str>,
    pub(in crate::testing::broker::group) rebalance: Duration,
    pub(in crate::testing::broker::group) of: Classic,
}

impl Members {
    /// Whether there are any, and none speaks the consumer protocol.
    pub(in crate::testing::broker::group) fn are_all_classic(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.classic.is_some())
    }

    /// Takes over the members of a classic group with what they were assigned.
    pub(in crate::testing::broker::group) fn take_over(
        &mut self,
        now: Now,
        generation: i32,
        members: Vec<(Converted, Bytes)>,
        topics: &Topics,
    ) {
        self.epoch = generation;
        for (member, assignment) in members {
            let said = subscription(&member.of.protocols);
            let assigned = read::<ConsumerProtocolAssignment>(assignment, NEWEST).unwrap_or_default();
            let assigned = assigned.assigned_partitions.iter().map(|topic| (&topic.topic, &topic.partitions));
            let mut taken = Member::new(member.instance);
            taken.take_over(generation, keys(assigned, topics), said.topics, member.rebalance);
            taken.is_heard(now, member.of.session);
            taken.classic = Some(member.of);
            self.members.insert(member.id, taken);
        }
        self.assigned_with = self.wanted(topics);
        self.assign();
    }

    /// Gives all members back to a classic group, and says in which generation they are.
    pub(in crate::testing::broker::group) fn give_back(&mut self) -> (i32, Vec<Converted>) {
        let members = std::mem::take(&mut self.members).into_iter();
        let converted = members.filter_map(|(id, member)| {
            let rebalance = member.rebalance();
            Some(Converted { id, instance: member.instance, rebalance, of: member.classic? })
        });
        let (epoch, converted) = (self.epoch, converted.collect());
        *self = Self::default();
        (epoch, converted)
    }

    /// A member joins, for the first time or again.
    pub(in crate::testing::broker::group) fn join_classic(
        &mut self,
        call: &Call,
        request: &JoinGroupRequest,
        id: Str,
        max_size: usize,
        topics: &Topics,
    ) -> Result<JoinGroupResponse, Code> {
        if request.protocol_type.as_str() != PROTOCOL_TYPE || request.protocols.is_empty() {
            return Err(Code::INCONSISTENT_GROUP_PROTOCOL);
        }
        let holder = request.group_instance_id.as_ref().and_then(|instance| self.holder(instance));
        if let Some(holder) = holder.filter(|holder| *holder != id) {
            // A static member has restarted: it takes over from itself.
            let before = self.members.remove(&holder).map(Member::come_back);
            self.members.extend(before.map(|member| (id.clone(), member)));
        }
        if !self.members.contains_key(&id) && self.members.len() >= max_size {
            return Err(Code::GROUP_MAX_SIZE_REACHED);
        }
        let milliseconds = |number: i32| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        let protocols = request.protocols.iter().map(|p| (p.name.clone(), p.metadata.clone())).collect();
        let classic =
            Classic::new(call.client_id.clone(), milliseconds(request.session_timeout_ms), protocols);
        let said = subscription(&classic.protocols);
        let owned = keys(said.owned_partitions.iter().map(|topic| (&topic.topic, &topic.partitions)), topics);
        let is_new = !self.members.contains_key(&id);
        let instance = request.group_instance_id.clone();
        let member = self.members.entry(id.clone()).or_insert_with(|| Member::new(instance));
        member.is_heard(call.now, classic.session);
        member.classic = Some(classic);
        let has_news = member.subscribe(said.topics, milliseconds(request.rebalance_timeout_ms));
        if is_new || has_news || self.wanted(topics) != self.assigned_with {
            self.epoch += 1;
            self.assigned_with = self.wanted(topics);
            self.assign();
        }
        let is_taken = self.taken_by_others(&id);
        let member = self.members.get_mut(&id).ok_or(Code::UNKNOWN_MEMBER_ID)?;
        member.reconcile(call.now, self.epoch, Some(&owned), |key| is_taken.contains(key));
        Ok(JoinGroupResponse {
            generation_id: member.epoch,
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: request.protocols.first().map(|protocol| protocol.name.clone()),
            member_id: id,
            ..JoinGroupResponse::default()
        })
    }

    /// What a member is assigned.
    pub(in crate::testing::broker::group) fn sync_classic(
        &mut self,
        now: Now,
        request: &SyncGroupRequest,
        topics: &Topics,
    ) -> Result<SyncGroupResponse, Code> {
        let (id, generation) = (&request.member_id, request.generation_id);
        self.check_classic(now, id, request.group_instance_id.as_ref(), generation, false)?;
        let member = self.members.get(id).ok_or(Code::UNKNOWN_MEMBER_ID)?;
        // In the version in which the member speaks of itself.
        let protocols = member.classic.iter().flat_map(|classic| &classic.protocols);
        let metadata = protocols.map(|(_, metadata)| metadata.clone()).next().unwrap_or_default();
        let version = Reader::new(metadata).i16("version").unwrap_or(0).clamp(0, NEWEST);
        let mut assigned: BTreeMap<&Str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &member.assigned {
            let name = topics.iter().find(|(_, (id, _))| id == topic).map(|(name, _)| name);
            name.into_iter().for_each(|name| assigned.entry(name).or_default().push(*partition));
        }
        let assigned = assigned
            .into_iter()
            .map(|(topic, partitions)| TopicPartition { topic: topic.clone(), partitions });
        let message = ConsumerProtocolAssignment {
            assigned_partitions: assigned.collect(),
            ..ConsumerProtocolAssignment::default()
        };
        Ok(SyncGroupResponse {
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: request.protocol_name.clone(),
            assignment: write(&message, version),
            ..SyncGroupResponse::default()
        })
    }

    pub(in crate::testing::broker::group) fn heartbeat_classic(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), Code> {
        let (id, instance) = (&request.member_id, request.group_instance_id.as_ref());
        self.check_classic(now, id, instance, request.generation_id, true)
    }

    pub(in crate::testing::broker::group) fn leave_classic(
        &mut self,
        id: &Str,
        instance: Option<&Str>,
    ) -> Result<(), Code> {
        let holder = match instance {
            Some(instance) => self.holder(instance).ok_or(Code::UNKNOWN_MEMBER_ID)?,
            None => id.clone(),
        };
        if instance.is_some() && !id.is_empty() && *id != holder {
            return Err(Code::FENCED_INSTANCE_ID);
        }
        self.members.remove(&holder).ok_or(Code::UNKNOWN_MEMBER_ID)?;
        self.somebody_has_gone();
        Ok(())
    }

    /// Whether a member may commit that speaks the classic protocol; nothing of one that does not.
    pub(super) fn check_commit_of_classic(&self, by: Committer<'_>) -> Option<Result<(), Code>> {
        let member = self.members.get(by.member_id).filter(|member| member.classic.is_some())?;
        Some(if member.may_commit(by) { Ok(()) } else { Err(Code::ILLEGAL_GENERATION) })
    }

    /// Hears of a member in its generation, unless it is to join again.
    fn check_classic(
        &mut self,
        now: Now,
        id: &Str,
        instance: Option<&Str>,
        generation: i32,
        looks_for_free: bool,
    ) -> Result<(), Code> {
        if instance.and_then(|instance| self.holder(instance)).is_some_and(|holder| holder != *id) {
            return Err(Code::FENCED_INSTANCE_ID);
        }
        let is_taken = self.taken_by_others(id);
        let epoch = self.epoch;
        let member = self.members.get_mut(id).ok_or(Code::UNKNOWN_MEMBER_ID)?;
        if member.epoch != generation {
            return Err(Code::ILLEGAL_GENERATION);
        }
        // What it waits for may be free by now.
        let waits_for_free = looks_for_free && member.awaits_one_of(|key| !is_taken.contains(key));
        // Who gives partitions up joins again by itself.
        let is_behind = member.epoch < epoch && member.revoking.is_empty();
        let until = deadline_after(now, member.rebalance());
        let classic = member.classic.as_mut().ok_or(Code::UNKNOWN_MEMBER_ID)?;
        let session = classic.session;
        if is_behind || waits_for_free {
            classic.rejoin_by.get_or_insert(until);
        }
        member.is_heard(now, session);
        if is_behind || waits_for_free { Err(Code::REBALANCE_IN_PROGRESS) } else { Ok(()) }
    }
}

/// What a member says of itself.
fn subscription(protocols: &[(Str, Bytes)]) -> ConsumerProtocolSubscription {
    let metadata = protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default();
    read(metadata, NEWEST).unwrap_or_default()
}

fn keys<'a>(named: impl Iterator<Item = (&'a Str, &'a Vec<i32>)>, topics: &Topics) -> BTreeSet<Key> {
    let known = named.filter_map(|(topic, partitions)| Some((topics.get(topic)?.0, partitions)));
    known.flat_map(|(id, partitions)| partitions.iter().map(move |partition| (id, *partition))).collect()
}

/// Reads a message with its version in front.
fn read<T: Decode>(bytes: Bytes, newest: i16) -> Option<T> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16("version").ok()?;
    T::decode(&mut reader, version.min(newest)).ok()
}

/// Writes one. It has no field that can fail to be encoded.
fn write(message: &impl Encode, version: i16) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(version);
    let written = message.encode(&mut writer, version);
    debug_assert!(written.is_ok(), "{written:?}");
    writer.finish().into_bytes()
}

//! The members of a share group, and what each is assigned.
//!
//! Nothing is taken from one member before another gets it: several may read the same partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::engine::machine::{Now, deadline_after};
use crate::error::Code;
use crate::testing::broker::heartbeat::{
    HeartbeatSettings, JOIN, Key, LEAVE, Refusal, Topics, by_topic, unknown,
};
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::share_group_heartbeat_response::{Assignment, TopicPartitions};
use crate::wire::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};
use crate::wire::str::Str;

/// A share group. One that has no members keeps what it has done with its partitions.
#[derive(Debug, Default)]
pub(in crate::testing::broker) struct ShareGroup {
    epoch: i32,
    /// By id.
    members: BTreeMap<Str, Member>,
    /// The topics that the assignment was made with.
    assigned_with: Topics,
    session: Duration,
}

#[derive(Debug)]
struct Member {
    topics: BTreeSet<Str>,
    epoch: i32,
    /// The epoch before, in which a member speaks that has not got the last answer.
    previous: i32,
    target: BTreeSet<Key>,
    /// What it was told last.
    told: BTreeSet<Key>,
    expires: Instant,
}

impl ShareGroup {
    pub(in crate::testing::broker) fn deadline(&self) -> Option<Instant> {
        self.members.values().map(|member| member.expires).min()
    }

    /// Throws out who is late, and returns who that was.
    pub(in crate::testing::broker) fn tick(&mut self, now: Now) -> Vec<Str> {
        let late = self.members.iter().filter(|(_, member)| member.expires <= now.instant);
        let late: Vec<Str> = late.map(|(id, _)| id.clone()).collect();
        if !late.is_empty() {
            self.members.retain(|id, _| !late.contains(id));
            self.epoch += 1;
            self.assign();
        }
        late
    }

    /// The coordinator has moved: everybody has a full session to come to the new one.
    pub(in crate::testing::broker) fn moved(&mut self, now: Now) {
        let expires = deadline_after(now, self.session);
        self.members.values_mut().for_each(|member| member.expires = expires);
    }

    pub(in crate::testing::broker) fn heartbeat(
        &mut self,
        now: Now,
        request: &ShareGroupHeartbeatRequest,
        settings: HeartbeatSettings,
        topics: &Topics,
    ) -> Result<ShareGroupHeartbeatResponse, Refusal> {
        let id = &request.member_id;
        if request.member_epoch == LEAVE {
            return self.leave(id);
        }
        self.session = settings.session;
        let expires = deadline_after(now, settings.session);
        let joins = request.member_epoch == JOIN;
        let is_new = joins && !self.members.contains_key(id);
        if is_new {
            if self.members.len() >= settings.max_size {
                let reason = format!("the group has {} members already", self.members.len());
                return Err((Code::GROUP_MAX_SIZE_REACHED, reason));
            }
            self.members.insert(id.clone(), Member::new(expires));
        }
        let member = self.members.get_mut(id).ok_or_else(|| unknown(id))?;
        if !joins && request.member_epoch != member.epoch && request.member_epoch != member.previous {
            return Err(fenced(request.member_epoch, member.epoch));
        }
        member.expires = expires;
        let has_news = member.take(request);
        if is_new || has_news || self.wanted(topics) != self.assigned_with {
            self.epoch += 1;
            self.assigned_with = self.wanted(topics);
            self.assign();
        }
        let epoch = self.epoch;
        let member = self.members.get_mut(id).ok_or_else(|| unknown(id))?;
        // Who speaks in the epoch before has not got the answer that led out of it.
        let has_missed = request.member_epoch != member.epoch;
        if member.epoch != epoch {
            member.previous = member.epoch;
            member.epoch = epoch;
        }
        let tells = joins || has_missed || member.told != member.target;
        member.told.clone_from(&member.target);
        Ok(ShareGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: epoch,
            heartbeat_interval_ms: i32::try_from(settings.interval.as_millis()).unwrap_or(i32::MAX),
            assignment: tells.then(|| assignment(&member.target)),
            ..ShareGroupHeartbeatResponse::default()
        })
    }

    fn leave(&mut self, id: &Str) -> Result<ShareGroupHeartbeatResponse, Refusal> {
        self.members.remove(id).ok_or_else(|| unknown(id))?;
        self.epoch += 1;
        self.assign();
        Ok(ShareGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: LEAVE,
            ..ShareGroupHeartbeatResponse::default()
        })
    }

    /// The topics that anybody wants and that are there.
    fn wanted(&self, topics: &Topics) -> Topics {
        topics
            .iter()
            .filter(|(name, _)| self.members.values().any(|member| member.topics.contains(*name)))
            .map(|(name, of)| (name.clone(), *of))
            .collect()
    }

    /// Deals the partitions of each topic to those who want it. Where they are fewer than the members, they are dealt
    /// again until each member has one.
    fn assign(&mut self) {
        self.members.values_mut().for_each(|member| member.target.clear());
        for (name, (topic, count)) in &self.assigned_with {
            let mut readers: Vec<&mut Member> =
                self.members.values_mut().filter(|member| member.topics.contains(name)).collect();
            let number = readers.len();
            let partitions = usize::try_from(*count).unwrap_or(0);
            let rounds = if partitions == 0 || number == 0 { 0 } else { partitions.max(number) };
            for (turn, partition) in (0..rounds).zip((0..*count).cycle()) {
                if let Some(member) = readers.get_mut(turn % number) {
                    member.target.insert((*topic, partition));
                }
            }
        }
    }

    /// As an admin sees it.
    pub(in crate::testing::broker) fn listed(&self, id: &Str) -> ListedGroup {
        ListedGroup {
            group_id: id.clone(),
            protocol_type: "share".into(),
            group_state: if self.members.is_empty() { "Empty" } else { "Stable" }.into(),
            group_type: "share".into(),
            ..ListedGroup::default()
        }
    }
}

impl Member {
    fn new(expires: Instant) -> Self {
        Self {
            topics: BTreeSet::new(),
            epoch: 0,
            previous: 0,
            target: BTreeSet::new(),
            told: BTreeSet::new(),
            expires,
        }
    }

    /// Takes what a heartbeat says; whether the group has to be assigned anew.
    fn take(&mut self, request: &ShareGroupHeartbeatRequest) -> bool {
        let Some(topics) = &request.subscribed_topic_names else { return false };
        let topics: BTreeSet<Str> = topics.iter().cloned().collect();
        let has_news = topics != self.topics;
        self.topics = topics;
        has_news
    }
}

/// What no member may say.
pub(in crate::testing::broker) fn check(request: &ShareGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |reason: &str| Err((Code::INVALID_REQUEST, reason.to_owned()));
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if request.member_id.is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.rack_id.as_ref().is_some_and(|rack| rack.is_empty()) {
        return invalid("RackId can't be empty.");
    }
    if request.member_epoch < LEAVE {
        return invalid("MemberEpoch is invalid.");
    }
    if request.member_epoch == JOIN && request.subscribed_topic_names.is_none() {
        return invalid("SubscribedTopicNames must be set in first request.");
    }
    Ok(())
}

fn fenced(said: i32, known: i32) -> Refusal {
    let reason = format!(
        "The share group member has a member epoch ({said}) that is not the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
    );
    (Code::FENCED_MEMBER_EPOCH, reason)
}

fn assignment(keys: &BTreeSet<Key>) -> Assignment {
    let topics = by_topic(keys).into_iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id,
        partitions,
        ..TopicPartitions::default()
    });
    Assignment { topic_partitions: topics.collect(), ..Assignment::default() }
}

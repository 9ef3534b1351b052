//! A group goes from one protocol to the other while it has members (KIP-848): to the consumer protocol with the first member
//! that speaks it, and back when the last one has gone.

use std::mem;
use std::time::Duration;

use bytes::Bytes;

use super::consumer::classic::{Converted, PROTOCOL_TYPE};
use super::consumer::member::Classic;
use super::{Group, Member, Phase};
use crate::engine::machine::{Now, deadline_after};
use crate::error::Code;
use crate::testing::broker::heartbeat::Topics;

impl Group {
    /// A member of the consumer protocol joins: the others are taken over. Whether they can be.
    pub(super) fn upgrade(&mut self, now: Now, topics: &Topics) -> bool {
        if self.protocol_type.as_deref() != Some(PROTOCOL_TYPE) {
            return false;
        }
        // Who waits for others joins again, and learns what it is assigned.
        for index in 0..self.members.len() {
            self.release(index, Code::REBALANCE_IN_PROGRESS);
        }
        let members = mem::take(&mut self.members).into_iter().map(|member| {
            let of = Classic::new(member.client_id, member.session, member.protocols);
            let (id, instance, rebalance) = (member.id, member.instance, member.rebalance);
            (Converted { id, instance, rebalance, of }, member.assignment)
        });
        self.consumers.take_over(now, self.generation, members.collect(), topics);
        self.phase = Phase::Empty;
        (self.leader, self.protocol, self.sync_until) = (None, None, None);
        self.pending.clear();
        true
    }

    /// If nobody speaks the consumer protocol any more, the group is a classic one again, and rebalances.
    pub(super) fn downgrade_if_classic(&mut self, now: Now) {
        if !self.consumers.are_all_classic() {
            return;
        }
        let (generation, members) = self.consumers.give_back();
        self.generation = generation;
        self.protocol_type = Some(PROTOCOL_TYPE.into());
        self.members = members.into_iter().map(|member| Self::converted(now, member)).collect();
        self.protocol = self.choose_protocol();
        self.phase = Phase::Stable;
        self.prepare(now, Duration::ZERO);
    }

    fn converted(now: Now, member: Converted) -> Member {
        let Converted { id, instance, rebalance, of } = member;
        Member {
            id,
            instance,
            client_id: of.client_id,
            session: of.session,
            rebalance,
            protocols: of.protocols,
            // It gets another one at once.
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            synced: false,
            expires: deadline_after(now, of.session),
        }
    }
}

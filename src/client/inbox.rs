//! What the client's driver is told. Said twice, a thing counts once, so that nobody has to wait to say it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex},
};

use crate::{
    engine::{catalog::snapshot::LeaderHint, machine::Call},
    net::mailbox::ReplyTo,
    sync::{lock, wake::Wake},
    types::{TopicName, TopicPartition},
};

/// What has been said since the driver last looked.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) wanted: BTreeSet<TopicName>,
    pub(super) refresh: bool,
    /// For each partition the newest.
    pub(super) hints: BTreeMap<TopicPartition, LeaderHint>,
    /// Calls to brokers whose address is not known yet.
    pub(super) homeless: Vec<(Call, ReplyTo)>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    said: Mutex<Said>,
    wake: Arc<Wake>,
}

impl Inbox {
    pub(super) fn new(wake: Arc<Wake>) -> Self {
        Self { said: Mutex::default(), wake }
    }

    pub(super) fn want(&self, topic: &TopicName) {
        {
            let mut said = lock(&self.said);
            if said.wanted.contains(topic) {
                return;
            }
            said.wanted.insert(topic.clone());
        }
        self.wake.ring();
    }

    pub(super) fn refresh(&self) {
        lock(&self.said).refresh = true;
        self.wake.ring();
    }

    pub(super) fn hint(&self, hint: LeaderHint) {
        {
            let hints = &mut lock(&self.said).hints;
            if hints.get(&hint.partition).is_none_or(|known| known.leader_epoch < hint.leader_epoch) {
                hints.insert(hint.partition.clone(), hint);
            }
        }
        self.wake.ring();
    }

    pub(super) fn shelter(&self, call: Call, reply: ReplyTo) {
        lock(&self.said).homeless.push((call, reply));
        self.wake.ring();
    }

    /// Has the driver look around, because the client was closed.
    pub(super) fn nudge(&self) {
        self.wake.ring();
    }

    pub(super) fn take(&self) -> Said {
        mem::take(&mut *lock(&self.said))
    }
}

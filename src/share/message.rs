//! A record of a share group, and what becomes of it.

use std::{fmt, sync::Arc};

use crate::{
    engine::{
        share::{Stay, Verdict},
        share_hand::{Handed, ShareHand},
    },
    message::{Headers, Message},
    types::{Offset, TopicName, TopicPartition},
};

/// A record that this member of a share group has a lock on, until it says what becomes of it or the lock's time is over.
///
/// With [`Acknowledge::Explicit`](super::Acknowledge::Explicit), dropping it without a word releases the record.
pub struct ShareMessage {
    message: Message,
    hand: Arc<ShareHand>,
    stay: Stay,
    deliveries: u16,
}

impl ShareMessage {
    pub(super) fn new(handed: Handed, hand: Arc<ShareHand>) -> Self {
        let Handed { message, stay, deliveries } = handed;
        Self { message, hand, stay, deliveries }
    }

    /// It was worked on: nobody gets it again.
    pub fn accept(self) {
        self.decide(Verdict::Accept);
    }

    /// It was not: this member or another gets it again, unless it was delivered too often
    /// (`group.share.delivery.count.limit`, 5).
    pub fn release(self) {
        self.decide(Verdict::Release);
    }

    /// It cannot be worked on: nobody gets it again.
    pub fn reject(self) {
        self.decide(Verdict::Reject);
    }

    /// It is still worked on: the lock's time begins anew (KIP-1222). Kafka 4.2 and newer.
    pub fn renew(&self) {
        self.decide(Verdict::Renew);
    }

    fn decide(&self, verdict: Verdict) {
        self.hand.decide(self.stay, self.message.offset().0, verdict);
    }

    /// How often it was delivered to some member, this time included.
    #[must_use]
    pub fn delivery_count(&self) -> u16 {
        self.deliveries
    }

    /// The record, with all that it holds. A clone of it may be kept after the decision.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        self.message.topic()
    }

    /// The topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.message.topic_partition()
    }

    /// The offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.message.offset()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.message.value()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.message.headers()
    }
}

impl Drop for ShareMessage {
    fn drop(&mut self) {
        self.hand.dropped(self.stay, self.message.offset().0);
    }
}

impl fmt::Debug for ShareMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareMessage")
            .field("message", &self.message)
            .field("delivery_count", &self.deliveries)
            .finish_non_exhaustive()
    }
}

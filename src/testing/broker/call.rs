//! What every handler is told about a request, and what it may do with it.

use crate::engine::machine::Now;
use crate::error::Code;
use crate::wire::calls::Response;
use crate::wire::str::Str;

/// Names a request that is being answered, so that its answer may come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(pub(super) u64);

/// A request's circumstances.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) now: Now,
    /// The node that was asked.
    pub(super) node: i32,
    pub(super) version: i16,
    pub(super) client_id: Str,
    pub(super) ticket: Ticket,
    /// The topics and partitions that a fault rule has refused.
    pub(super) refusals: Vec<Refusal>,
}

/// A code to answer with instead of doing what is asked.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// Any topic if none is named.
    pub(super) topic: Option<Str>,
    /// Any partition if none is named.
    pub(super) partition: Option<i32>,
    pub(super) code: Code,
}

impl Call {
    /// The code that a fault rule wants for a partition.
    pub(super) fn refused(&self, topic: &str, partition: i32) -> Option<Code> {
        let refusal = self.refusals.iter().find(|refusal| refusal.covers(topic, Some(partition)))?;
        Some(refusal.code)
    }

    /// The code that a fault rule wants for a topic as a whole.
    pub(super) fn refused_topic(&self, topic: &str) -> Option<Code> {
        let mut whole = self.refusals.iter().filter(|refusal| refusal.partition.is_none());
        whole.find(|refusal| refusal.covers(topic, None)).map(|refusal| refusal.code)
    }
}

impl Refusal {
    /// Whether it is about the topic and, where one is given, the partition.
    pub(super) fn covers(&self, topic: &str, partition: Option<i32>) -> bool {
        let topic_matches = self.topic.as_ref().is_none_or(|name| name == topic);
        topic_matches && (self.partition.is_none() || partition.is_none() || self.partition == partition)
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Handled {
    /// Send this.
    Answer(Response),
    /// Close the connection.
    Close,
    /// Nothing is to be sent: `acks=0`.
    Silent,
    /// The answer comes later, under the ticket.
    Later,
}

impl<R: Into<Response>> From<R> for Handled {
    fn from(response: R) -> Self {
        Self::Answer(response.into())
    }
}

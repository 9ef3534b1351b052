//! What must hold between two steps.

use super::Broker;

impl Broker {
    /// Asserts every invariant.
    pub(crate) fn check(&self) {
        for (ticket, id) in &self.waiting {
            let current = self.connections.get(id).and_then(|connection| connection.current.as_ref());
            debug_assert_eq!(current.map(|current| current.call.ticket), Some(*ticket), "nobody waits");
        }
        let waiting = self.connections.values().filter(|connection| connection.current.is_some());
        debug_assert_eq!(waiting.count(), self.waiting.len(), "a request that nothing will wake");
        for connection in self.connections.values() {
            debug_assert!(
                connection.queue.len() <= self.state.limits.queued_requests,
                "the queue is bounded"
            );
        }
        debug_assert!(self.ready.is_empty(), "what can be begun is begun");
        self.state.check();
    }
}

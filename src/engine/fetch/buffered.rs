//! The byte budget of one consumer: what was fetched and not yet handed to the user.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::sync::wake::Wake;

/// Counts the fetched bytes that wait to be handed out. Shared by the planner, who asks for no more than there is room
/// for, and the buffers, which count themselves out when they are dropped.
#[derive(Debug)]
pub(crate) struct Buffered {
    limit: usize,
    used: AtomicUsize,
    /// Whether the planner wants to know of the next bytes that are given back.
    watched: AtomicBool,
    wake: Arc<Wake>,
}

impl Buffered {
    /// `wake` is the bell of the planner's driver.
    pub(crate) fn new(limit: usize, wake: Arc<Wake>) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), watched: AtomicBool::new(false), wake })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// From now on the next bytes given back ring the bell. Comes before reading the counts, so that nothing is given
    /// back unnoticed in between.
    pub(super) fn watch(&self) {
        self.watched.store(true, Ordering::SeqCst);
    }

    pub(super) fn unwatch(&self) {
        self.watched.store(false, Ordering::SeqCst);
    }

    /// Counts `bytes` of a partition until the result is dropped.
    pub(crate) fn hold(self: &Arc<Self>, partition: &Arc<AtomicUsize>, bytes: usize) -> Held {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        partition.fetch_add(bytes, Ordering::SeqCst);
        Held { bytes, buffered: Arc::clone(self), partition: Arc::clone(partition) }
    }
}

/// Bytes that count against the budget as long as this lives.
///
/// Dropping it may wake the driver, so it is not dropped under a lock.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    buffered: Arc<Buffered>,
    partition: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.partition.fetch_sub(self.bytes, Ordering::SeqCst);
        self.buffered.used.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.buffered.watched.swap(false, Ordering::SeqCst) {
            self.buffered.wake.ring();
        }
    }
}

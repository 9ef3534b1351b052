//! Compresses batches on other threads than the driver's.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
    thread,
};

use crate::{engine::produce::packing::Packing, net::task, sync::lock};

/// Batches that wait to be compressed, and those who do it: as many at once as there are processors, since more would only
/// be in each other's way. What waits here is bounded by `buffer_memory`, from which the batches have their room.
#[derive(Debug)]
pub(super) struct Packer {
    work: Arc<Mutex<Work>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Work {
    waiting: VecDeque<Packing>,
    workers: usize,
}

impl Packer {
    pub(super) fn new() -> Self {
        let most = thread::available_parallelism().map_or(1, usize::from);
        Self { work: Arc::default(), most }
    }

    /// Has a batch compressed.
    pub(super) fn pack(&self, packing: Packing) {
        let mut work = lock(&self.work);
        work.waiting.push_back(packing);
        if work.workers < self.most {
            work.workers += 1;
            let worker = Worker { work: Arc::clone(&self.work), is_counted: true };
            drop(work);
            task::spawn_blocking(move || worker.run());
        }
    }
}

/// Works until nothing waits.
struct Worker {
    work: Arc<Mutex<Work>>,
    is_counted: bool,
}

impl Worker {
    fn run(mut self) {
        while let Some(packing) = self.next() {
            // A batch whose codec panics says so itself; the others are still to be done.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| packing.run()));
        }
    }

    fn next(&mut self) -> Option<Packing> {
        let mut work = lock(&self.work);
        let next = work.waiting.pop_front();
        if next.is_none() {
            work.workers -= 1;
            self.is_counted = false;
        }
        next
    }
}

/// Also when the runtime ends before the work begins.
impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_counted {
            lock(&self.work).workers -= 1;
        }
    }
}

//! A wake-up that many may ring and one task waits for. Rings between two waits count as one.

use std::{
    future::poll_fn,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::lock;

/// The bell of one task.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    rung: AtomicBool,
    waiter: Mutex<Option<Waker>>,
}

impl Wake {
    /// Wakes the waiting task, or lets its next wait return at once. Cheap while a ring is already pending.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            let waiter = lock(&self.waiter).take();
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
    }

    /// Waits for a ring and takes it. Cancel-safe: a ring is taken only by a wait that returns. One task waits at a
    /// time.
    pub(crate) async fn rung(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }

    fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rung.swap(false, Ordering::SeqCst) {
            return Poll::Ready(());
        }
        *lock(&self.waiter) = Some(cx.waker().clone());
        // A ring between the check and the registration found no waiter.
        if self.rung.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::Arc};

    use super::*;
    use crate::sync::done::tests::{CountingWaker, poll_once};

    #[test]
    fn rings_before_a_wait_count_as_one() {
        let wake = Wake::default();
        wake.ring();
        wake.ring();
        let counter = Arc::new(CountingWaker::default());
        assert!(poll_once(pin!(wake.rung()), &counter).is_ready());
        assert!(poll_once(pin!(wake.rung()), &counter).is_pending());
    }

    #[test]
    fn a_ring_wakes_the_waiter_once() {
        let wake = Wake::default();
        let counter = Arc::new(CountingWaker::default());
        let mut wait = pin!(wake.rung());
        assert!(poll_once(wait.as_mut(), &counter).is_pending());
        wake.ring();
        wake.ring();
        assert_eq!(counter.count(), 1);
        assert!(poll_once(wait.as_mut(), &counter).is_ready());
    }
}

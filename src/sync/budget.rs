//! A budget of bytes: what is buffered stays below a limit, and who finds no room waits in turn.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::lock;

/// Bytes that may be taken and must be given back.
///
/// While nobody waits, taking and giving back are one atomic operation each. Waiters are served in the order of
/// their arrival, so that a large request is not starved by small ones.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    free: AtomicUsize,
    /// How many wait; written under the lock of `queue`.
    waiting: AtomicUsize,
    closed: AtomicBool,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
}

/// The budget was closed while one waited, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetClosed;

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    state: Mutex<WaiterState>,
}

#[derive(Debug)]
enum WaiterState {
    Waiting(Option<Waker>),
    Granted,
    Closed,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            free: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            queue: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes taken and not given back.
    pub(crate) fn used(&self) -> usize {
        self.limit.saturating_sub(self.free.load(Ordering::Relaxed))
    }

    /// Takes `bytes` if they are free and nobody waits before.
    #[inline]
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take_free(bytes)
    }

    #[inline]
    fn take_free(&self, bytes: usize) -> bool {
        self.free.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }

    /// Waits until `bytes` are free and takes them. More than the limit is never free: check before.
    ///
    /// Cancel-safe: dropped, it has taken nothing.
    pub(crate) fn take(&self, bytes: usize) -> Take<'_> {
        Take { budget: self, bytes, waiter: None }
    }

    /// Gives `bytes` back and serves those who wait.
    pub(crate) fn give(&self, bytes: usize) {
        let before = self.free.fetch_add(bytes, Ordering::SeqCst);
        debug_assert!(before + bytes <= self.limit, "more given back than taken");
        // Either this sees the waiter's count, or the waiter, who looks again after counting, sees these bytes.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve();
        }
    }

    /// Fails all who wait, now and later. What was taken may still be given back.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let queue = std::mem::take(&mut *lock(&self.queue));
        self.waiting.store(0, Ordering::SeqCst);
        for waiter in queue {
            wake(&waiter, WaiterState::Closed);
        }
    }

    fn serve(&self) {
        loop {
            let waiter = {
                let mut queue = lock(&self.queue);
                match queue.front() {
                    Some(first) if self.take_free(first.bytes) => {
                        self.waiting.fetch_sub(1, Ordering::SeqCst);
                        queue.pop_front()
                    }
                    _ => return,
                }
            };
            if let Some(waiter) = waiter {
                wake(&waiter, WaiterState::Granted);
            }
        }
    }

    fn enter(&self, bytes: usize, waker: Waker) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter { bytes, state: Mutex::new(WaiterState::Waiting(Some(waker))) });
        {
            let mut queue = lock(&self.queue);
            queue.push_back(Arc::clone(&waiter));
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }
        if self.closed.load(Ordering::SeqCst) {
            self.close();
        } else {
            self.serve();
        }
        waiter
    }

    /// Takes a waiter out again; `false` where it is no longer in the queue.
    fn leave(&self, waiter: &Arc<Waiter>) -> bool {
        let mut queue = lock(&self.queue);
        let Some(place) = queue.iter().position(|w| Arc::ptr_eq(w, waiter)) else { return false };
        queue.remove(place);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        true
    }
}

fn wake(waiter: &Waiter, state: WaiterState) {
    let before = std::mem::replace(&mut *lock(&waiter.state), state);
    if let WaiterState::Waiting(Some(waker)) = before {
        waker.wake();
    }
}

/// The future of [`Budget::take`].
#[derive(Debug)]
pub(crate) struct Take<'a> {
    budget: &'a Budget,
    bytes: usize,
    waiter: Option<Arc<Waiter>>,
}

impl Future for Take<'_> {
    type Output = Result<(), BudgetClosed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let budget = self.budget;
        if self.waiter.is_none() {
            if budget.closed.load(Ordering::SeqCst) {
                return Poll::Ready(Err(BudgetClosed));
            }
            if budget.try_take(self.bytes) {
                return Poll::Ready(Ok(()));
            }
            self.waiter = Some(budget.enter(self.bytes, cx.waker().clone()));
        }
        let Some(waiter) = &self.waiter else { return Poll::Pending };
        let outcome = match &mut *lock(&waiter.state) {
            WaiterState::Granted => Ok(()),
            WaiterState::Closed => Err(BudgetClosed),
            WaiterState::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        self.waiter = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if self.budget.leave(&waiter) {
            // The next in the queue may ask for less.
            self.budget.serve();
        } else if matches!(*lock(&waiter.state), WaiterState::Granted) {
            self.budget.give(waiter.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use proptest::prelude::*;

    use super::*;
    use crate::sync::done::tests::{CountingWaker, poll_once};

    #[test]
    fn waiters_are_served_in_turn() {
        let budget = Budget::new(10);
        let counter = Arc::new(CountingWaker::default());
        assert!(budget.try_take(8));
        let mut large = Box::pin(budget.take(6));
        let mut small = Box::pin(budget.take(1));
        assert!(poll_once(large.as_mut(), &counter).is_pending());
        assert!(poll_once(small.as_mut(), &counter).is_pending(), "2 are free, but one waits before");
        assert!(!budget.try_take(1));
        budget.give(8);
        assert!(
            poll_once(large.as_mut(), &counter).is_ready() && poll_once(small.as_mut(), &counter).is_ready()
        );
        assert_eq!((budget.used(), counter.count()), (7, 2));
    }

    #[test]
    fn a_dropped_waiter_takes_nothing_and_lets_the_next_in() {
        let budget = Budget::new(10);
        let counter = Arc::new(CountingWaker::default());
        assert!(budget.try_take(9));
        let mut large = Box::pin(budget.take(5));
        let mut small = Box::pin(budget.take(1));
        assert!(poll_once(large.as_mut(), &counter).is_pending());
        assert!(poll_once(small.as_mut(), &counter).is_pending());
        drop(large);
        assert!(poll_once(small.as_mut(), &counter).is_ready());
        budget.give(10);
        let mut granted = Box::pin(budget.take(10));
        assert!(budget.try_take(1));
        assert!(poll_once(granted.as_mut(), &counter).is_pending());
        budget.give(1);
        drop(granted);
        assert_eq!(budget.used(), 0, "granted but never seen");
    }

    #[test]
    fn closing_fails_those_who_wait_and_those_who_come() {
        let budget = Budget::new(1);
        let counter = Arc::new(CountingWaker::default());
        assert!(budget.try_take(1));
        let mut waiting = pin!(budget.take(1));
        assert!(poll_once(waiting.as_mut(), &counter).is_pending());
        budget.close();
        assert_eq!(poll_once(waiting, &counter), Poll::Ready(Err(BudgetClosed)));
        assert_eq!(poll_once(pin!(budget.take(1)), &counter), Poll::Ready(Err(BudgetClosed)));
        budget.give(1);
        assert_eq!(budget.used(), 0);
    }

    proptest! {
        /// Any order of taking, giving back and giving up: never over the limit, nobody waits while there is room
        /// for the first, and all comes back.
        #[test]
        fn the_budget_balances(ops in prop::collection::vec((0..4u8, 1..=8usize, any::<prop::sample::Index>()), 1..80)) {
            let budget = Budget::new(8);
            let counter = Arc::new(CountingWaker::default());
            let mut held: Vec<usize> = Vec::new();
            let mut waiting: Vec<(usize, Pin<Box<Take<'_>>>)> = Vec::new();
            for (op, bytes, index) in ops {
                match op {
                    0 if budget.try_take(bytes) => held.push(bytes),
                    1 => waiting.push((bytes, Box::pin(budget.take(bytes)))),
                    2 if !held.is_empty() => budget.give(held.swap_remove(index.index(held.len()))),
                    3 if !waiting.is_empty() => drop(waiting.remove(index.index(waiting.len()))),
                    _ => {}
                }
                let polled: Vec<_> = waiting.iter_mut().map(|(_, take)| poll_once(take.as_mut(), &counter).is_ready()).collect();
                for place in (0..polled.len()).rev().filter(|place| polled[*place]) {
                    held.push(waiting.remove(place).0);
                }
                let used: usize = held.iter().sum();
                prop_assert_eq!(budget.used(), used);
                if let Some((first, _)) = waiting.first() {
                    prop_assert!(used + first > 8);
                }
            }
            drop(waiting);
            for bytes in held {
                budget.give(bytes);
            }
            prop_assert_eq!(budget.used(), 0);
        }
    }
}

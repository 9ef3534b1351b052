//! The outcome of a batch, awaited by the many records in it.

use std::{
    cell::RefCell,
    sync::{Mutex, OnceLock},
    task::{Context, Poll, Waker},
};

use super::lock;

/// A value that is set once and that any number of tasks wait for. Setting it costs one wake per waiting task;
/// looking at it costs one load.
#[derive(Debug)]
pub(crate) struct Done<T> {
    value: OnceLock<T>,
    waiters: Mutex<Vec<Waker>>,
}

impl<T> Default for Done<T> {
    fn default() -> Self {
        Self { value: OnceLock::new(), waiters: Mutex::new(Vec::new()) }
    }
}

/// The place of one waiting future among the waiters: kept by the future, so that polling it again is no search.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<usize>);

impl<T> Done<T> {
    /// Sets the value and wakes all who wait. The first value stays: a later one is dropped and `false` returned.
    pub(crate) fn set(&self, value: T) -> bool {
        let first = self.value.set(value).is_ok();
        if first {
            let mut waiters = std::mem::take(&mut *lock(&self.waiters));
            waiters.drain(..).for_each(Waker::wake);
            put_by(waiters);
        }
        first
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub(crate) fn poll(&self, cx: &Context<'_>, waiting: &mut Waiting) -> Poll<&T> {
        if let Some(value) = self.value.get() {
            return Poll::Ready(value);
        }
        let mut waiters = lock(&self.waiters);
        // `set` stores the value before it takes the waiters: seen empty here, it takes this one too.
        if let Some(value) = self.value.get() {
            return Poll::Ready(value);
        }
        match waiting.0.and_then(|place| waiters.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                if waiters.capacity() == 0 {
                    *waiters = take_by();
                }
                waiting.0 = Some(waiters.len());
                waiters.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// No more lists are kept, and none of more wakers.
const KEPT: usize = 8;
const KEPT_WAKERS: usize = 4096;

thread_local! {
    /// Empty lists for the next values that are waited for: otherwise each batch would grow one of its own, step by
    /// step.
    static SPARE: RefCell<Vec<Vec<Waker>>> = const { RefCell::new(Vec::new()) };
}

fn take_by() -> Vec<Waker> {
    // Without the list, as when the thread ends, one is made.
    SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

fn put_by(waiters: Vec<Waker>) {
    if (1..=KEPT_WAKERS).contains(&waiters.capacity()) {
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(waiters);
            }
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        future::{Future, poll_fn},
        pin::{Pin, pin},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    pub(crate) struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl CountingWaker {
        pub(crate) fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Arc<CountingWaker>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(waker))))
    }

    #[test]
    fn every_waiter_is_woken_once_and_polling_again_adds_none() {
        let done = Done::default();
        let counter = Arc::new(CountingWaker::default());
        let mut places = [Waiting::default(), Waiting::default()];
        for _ in 0..3 {
            for place in &mut places {
                let future = pin!(poll_fn(|cx| done.poll(cx, place).map(|v: &i32| *v)));
                assert!(poll_once(future, &counter).is_pending());
            }
        }
        assert!(done.set(7) && !done.set(8));
        assert_eq!((counter.count(), done.get()), (2, Some(&7)));
    }
}

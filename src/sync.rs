//! What tasks share: a byte budget, the outcome of a batch, and a coalescing wake-up. No runtime, no unbounded
//! queue, and no waker is woken under a lock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

pub(crate) mod budget;
pub(crate) mod done;
pub(crate) mod wake;

/// Locks a leaf lock. A panic of another holder does not spread: every critical section of this crate leaves its
/// data whole at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a task to those that are to be woken, once.
pub(crate) fn enlist(waiters: &mut Vec<Waker>, waker: &Waker) {
    if !waiters.iter().any(|other| other.will_wake(waker)) {
        waiters.push(waker.clone());
    }
}

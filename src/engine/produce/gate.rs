//! Which records a producer's queues take: none any more, all, or those of the open transaction.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::{error::Error, sync::lock};

/// What a record belongs to: the producer as such, or one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass(u64);

impl Pass {
    /// The pass of a producer without transactions.
    pub(crate) const FREE: Self = Self(0);

    /// The pass of a transaction, which are counted from 1.
    pub(crate) const fn of_transaction(number: u64) -> Self {
        Self(number)
    }
}

/// Looked at by every append, under its queue's lock: whoever changes the gate and then takes that lock has seen the
/// last record that went through before.
#[derive(Debug)]
pub(crate) struct Gate {
    admitted: AtomicU64,
    /// Why it was shut, to those that it let through, or to all.
    reason: Mutex<Option<(Option<Pass>, Error)>>,
}

/// Nothing goes through, for now. No producer counts as many transactions.
const SHUT: u64 = u64::MAX - 1;
/// Nothing goes through any more.
const CLOSED: u64 = u64::MAX;

/// Why a gate lets nothing through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    /// The producer is closed.
    Closed,
    /// The record's transaction is not, or no longer, open.
    Ended,
}

impl Gate {
    pub(crate) fn open() -> Self {
        Self { admitted: AtomicU64::new(Pass::FREE.0), reason: Mutex::default() }
    }

    /// Lets this through and nothing else, unless the producer is closed.
    pub(crate) fn admit(&self, pass: Pass) {
        self.set(pass.0);
    }

    /// Lets nothing through for now.
    pub(crate) fn shut(&self) {
        self.set(SHUT);
    }

    /// Lets nothing through, because the transaction with this pass has failed, or, without one, for good.
    pub(crate) fn shut_because(&self, pass: Option<Pass>, error: Error) {
        *lock(&self.reason) = Some((pass, error));
        self.shut();
    }

    /// Why a record with this pass does not get through, where there is more to say than that its transaction has ended.
    pub(crate) fn reason(&self, pass: Pass) -> Option<Error> {
        let reason = lock(&self.reason);
        let (failed, error) = reason.as_ref()?;
        failed.is_none_or(|failed| failed == pass).then(|| error.clone())
    }

    pub(crate) fn close(&self) {
        self.admitted.store(CLOSED, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.admitted.load(Ordering::Acquire) == CLOSED
    }

    #[inline]
    pub(crate) fn check(&self, pass: Pass) -> Result<(), Barred> {
        match self.admitted.load(Ordering::Acquire) {
            admitted if admitted == pass.0 => Ok(()),
            CLOSED => Err(Barred::Closed),
            _ => Err(Barred::Ended),
        }
    }

    fn set(&self, to: u64) {
        let change = |now| (now != CLOSED).then_some(to);
        // Closed it stays.
        let _ = self.admitted.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_open_transaction_goes_through_and_nothing_after_the_close() {
        let gate = Gate::open();
        let (first, second) = (Pass::of_transaction(1), Pass::of_transaction(2));
        assert_eq!((gate.check(Pass::FREE), gate.check(first)), (Ok(()), Err(Barred::Ended)));
        gate.admit(first);
        assert_eq!((gate.check(first), gate.check(second)), (Ok(()), Err(Barred::Ended)));
        gate.shut();
        assert_eq!(gate.check(first), Err(Barred::Ended));
        gate.admit(second);
        assert_eq!((gate.check(first), gate.check(second)), (Err(Barred::Ended), Ok(())));
        gate.close();
        gate.admit(first);
        gate.shut();
        assert_eq!((gate.check(first), gate.is_closed()), (Err(Barred::Closed), true));
    }
}

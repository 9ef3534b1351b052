//! A number that goes up and down.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The sum of the shares of all who hold one.
#[derive(Debug, Default)]
pub(super) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A share, which is nothing at first.
    pub(super) fn share(&self) -> Share {
        Share { sum: Arc::clone(&self.0), mine: 0 }
    }
}

/// One producer's or consumer's share of a number. When it is dropped, the share is gone.
#[derive(Debug)]
pub(crate) struct Share {
    sum: Arc<AtomicU64>,
    mine: u64,
}

impl Share {
    /// The share is this now.
    pub(crate) fn set(&mut self, number: usize) {
        let number = number as u64;
        // Wrapping, the difference of two shares is exact in both directions.
        self.sum.fetch_add(number.wrapping_sub(self.mine), Ordering::Relaxed);
        self.mine = number;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_leave_with_their_owner() {
        let gauge = Gauge::default();
        let (mut one, mut two) = (gauge.share(), gauge.share());
        one.set(100);
        two.set(50);
        one.set(30);
        assert_eq!(gauge.read(), 80);
        drop(one);
        assert_eq!(gauge.read(), 50);
    }
}

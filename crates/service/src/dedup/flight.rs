//! What is being handled, so that nothing is handled twice at once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// The ids of what is being handled. As many as there are records under way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    ids: Mutex<HashSet<String>>,
    landed: Notify,
}

/// That somebody alone handles these ids, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    flight: Arc<Flight>,
    ids: Vec<String>,
}

impl Flight {
    /// Waits until nobody else handles any of these ids, and claims them: all at once, so that two who wait for each
    /// other cannot be.
    ///
    /// Dropped before it returns, nothing is claimed.
    pub(super) async fn claim(self: &Arc<Self>, ids: &[String]) -> Claim {
        loop {
            // From here on nothing that lands is missed, although it is awaited later.
            let landed = self.landed.notified();
            if self.try_claim(ids) {
                return Claim { flight: Arc::clone(self), ids: ids.to_vec() };
            }
            landed.await;
        }
    }

    fn try_claim(&self, ids: &[String]) -> bool {
        let mut claimed = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = ids.iter().all(|id| !claimed.contains(id));
        if is_free {
            claimed.extend(ids.iter().cloned());
        }
        is_free
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        {
            let mut claimed = self.flight.ids.lock().unwrap_or_else(PoisonError::into_inner);
            for id in &self.ids {
                claimed.remove(id);
            }
        }
        self.flight.landed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_claimed_is_waited_for_and_what_is_free_is_not() {
        let flight = Arc::new(Flight::default());
        let first = flight.claim(&ids(&["a", "b"])).await;
        let other = flight.claim(&ids(&["c"])).await;
        let wanted = ids(&["b", "d"]);
        let mut second = Box::pin(flight.claim(&wanted));
        tokio::select! {
            biased;
            _ = &mut second => unreachable!("b is claimed"),
            () = tokio::task::yield_now() => {}
        }
        drop(flight.claim(&ids(&["d"])).await);
        drop(other);
        drop(first);
        drop(second.await);
        assert!(flight.ids.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn claims_in_opposite_orders_do_not_wait_for_each_other() {
        let flight = Arc::new(Flight::default());
        let mut tasks = tokio::task::JoinSet::new();
        for turn in 0..40 {
            let flight = Arc::clone(&flight);
            tasks.spawn(async move {
                let wanted = if turn % 2 == 0 { ids(&["a", "b"]) } else { ids(&["b", "a"]) };
                let claim = flight.claim(&wanted).await;
                tokio::task::yield_now().await;
                drop(claim);
            });
        }
        let all = tokio::time::timeout(std::time::Duration::from_secs(60), tasks.join_all()).await;
        assert_eq!(all.unwrap().len(), 40);
        assert!(flight.ids.lock().unwrap().is_empty());
    }
}

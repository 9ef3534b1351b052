//! What a service counts.

mod histogram;
mod text;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use self::{
    histogram::{Histogram, Reading},
    text::{Label, Text},
};

/// How many kinds of failures have a series of their own, of each handler. The others are counted as `other`.
const KINDS: usize = 64;

/// What is counted of a handler.
#[derive(Debug, Default)]
pub(crate) struct HandlerMeters {
    acks: AtomicU64,
    /// By outcome and kind of failure, where something has not gone well.
    others: Mutex<BTreeMap<(&'static str, String), u64>>,
    dead_letters: Mutex<BTreeMap<String, u64>>,
    duration: Histogram,
    latency: Histogram,
}

impl HandlerMeters {
    /// A handler has come to this outcome.
    pub(crate) fn outcome(&self, name: &'static str, error_type: &str) {
        if name == "ack" {
            self.acks.fetch_add(1, Ordering::Relaxed);
        } else {
            count(&mut locked(&self.others), (name, error_type.to_owned()), (name, "other".to_owned()));
        }
    }

    /// A handler has run for so long.
    pub(crate) fn handled(&self, took: Duration) {
        self.duration.record(took);
    }

    /// A record is done with: so long after its timestamp, if it has one.
    pub(crate) fn completed(&self, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.latency.record(latency);
        }
    }

    pub(crate) fn dead_letter(&self, error_type: &str) {
        count(&mut locked(&self.dead_letters), error_type.to_owned(), "other".to_owned());
    }

    /// How often each outcome has come, and for which kind of failure.
    pub(crate) fn outcomes(&self) -> Vec<(&'static str, String, u64)> {
        let acks = ("ack", String::new(), self.acks.load(Ordering::Relaxed));
        let others = locked(&self.others);
        let others = others.iter().map(|((name, kind), count)| (*name, kind.clone(), *count));
        std::iter::once(acks).chain(others).collect()
    }

    /// How many records of each kind of failure have gone to the dead-letter topic.
    pub(crate) fn dead_letters(&self) -> Vec<(String, u64)> {
        locked(&self.dead_letters).iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    }

    /// How long the handler takes.
    pub(crate) fn duration(&self) -> Reading {
        self.duration.read()
    }

    /// How old records are when they are done with.
    pub(crate) fn latency(&self) -> Reading {
        self.latency.read()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, beyond: K) {
    let key = if counts.len() < KINDS || counts.contains_key(&key) { key } else { beyond };
    *counts.entry(key).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_the_kind_of_failure() {
        let meters = HandlerMeters::default();
        meters.outcome("ack", "");
        meters.outcome("retry", "Timeout");
        meters.outcome("retry", "Timeout");
        meters.outcome("skip", "");
        let told = meters.outcomes();
        assert_eq!(told[0], ("ack", String::new(), 1));
        assert_eq!(told[1..], [("retry", "Timeout".to_owned(), 2), ("skip", String::new(), 1)]);
    }

    #[test]
    fn kinds_without_end_share_a_series() {
        let meters = HandlerMeters::default();
        (0..1_000).for_each(|kind| meters.dead_letter(&kind.to_string()));
        let told = meters.dead_letters();
        assert_eq!((told.len(), told.iter().map(|(_, count)| count).sum::<u64>()), (KINDS + 1, 1_000));
        assert!(told.contains(&("other".to_owned(), 1_000 - KINDS as u64)));
    }
}

//! What was decided of records, as it waits to be sent.

use std::collections::BTreeMap;

/// What becomes of a record. The numbers are those of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Verdict {
    /// There is no record at this offset.
    Gap = 0,
    Accept = 1,
    /// It is for others, or for this member once more.
    Release = 2,
    /// It is for nobody any more.
    Reject = 3,
    /// It is worked on for longer (KIP-1222).
    Renew = 4,
}

/// Runs of offsets, each with one verdict.
pub(super) type Run = (i64, i64, Verdict);

/// The verdicts on one partition, by offset: a later one takes the place of an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// First offset → last offset and verdict. Runs do not overlap.
    runs: BTreeMap<i64, (i64, Verdict)>,
}

impl Verdicts {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn renews(&self) -> bool {
        self.runs.values().any(|(_, verdict)| *verdict == Verdict::Renew)
    }

    /// Decides of all offsets from `first` to `last`.
    pub(super) fn set(&mut self, first: i64, last: i64, verdict: Verdict) {
        if last < first {
            return;
        }
        self.clear(first, last);
        let (mut first, mut last) = (first, last);
        // Neighbours of the same kind become one.
        if let Some((&before, &(end, kind))) = self.runs.range(..first).next_back()
            && kind == verdict
            && end.checked_add(1) == Some(first)
        {
            self.runs.remove(&before);
            first = before;
        }
        if let Some(next) = last.checked_add(1)
            && let Some(&(end, kind)) = self.runs.get(&next)
            && kind == verdict
        {
            self.runs.remove(&next);
            last = end;
        }
        self.runs.insert(first, (last, verdict));
    }

    /// Forgets what was decided from `first` to `last`.
    fn clear(&mut self, first: i64, last: i64) {
        let overlapping = self.runs.range(..=last).rev().take_while(|(_, (end, _))| *end >= first);
        let overlapping: Vec<Run> =
            overlapping.map(|(start, (end, verdict))| (*start, *end, *verdict)).collect();
        for (start, end, verdict) in overlapping {
            self.runs.remove(&start);
            if start < first {
                self.runs.insert(start, (first - 1, verdict));
            }
            if end > last {
                self.runs.insert(last + 1, (end, verdict));
            }
        }
    }

    /// In the order of offsets.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.runs.iter().map(|(first, (last, verdict))| (*first, *last, *verdict))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_sign_loss, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn verdict() -> impl Strategy<Value = Verdict> {
        use Verdict::{Accept, Gap, Reject, Release, Renew};
        prop::sample::select(vec![Gap, Accept, Release, Reject, Renew])
    }

    proptest! {
        /// As a plain table of offsets has it, in as few runs as can be.
        #[test]
        fn the_last_verdict_counts(set in prop::collection::vec((0..40_i64, 0..10_i64, verdict()), 0..30)) {
            let (mut verdicts, mut table) = (Verdicts::default(), vec![None; 64]);
            for (first, length, verdict) in set {
                verdicts.set(first, first + length, verdict);
                (first..=first + length).for_each(|offset| table[offset as usize] = Some(verdict));
            }
            let mut told = vec![None; 64];
            let mut last = None;
            for (first, end, verdict) in verdicts.runs() {
                prop_assert!(first <= end && last.is_none_or(|(before, kind)| before + 1 < first || kind != verdict));
                (first..=end).for_each(|offset| told[offset as usize] = Some(verdict));
                last = Some((end, verdict));
            }
            prop_assert_eq!(told, table);
            let renews = verdicts.runs().any(|(.., verdict)| verdict == Verdict::Renew);
            prop_assert_eq!(verdicts.renews(), renews);
        }
    }
}

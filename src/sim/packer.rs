//! Compresses a process's batches, each when its time comes, which may be after what is behind it.

use std::time::{Duration, Instant};

use crate::engine::{backoff::Random, machine::Now, produce::packing::Packing};

#[derive(Debug, Default)]
pub(super) struct Packer(Vec<(Instant, Packing)>);

impl Packer {
    pub(super) fn pack(&mut self, now: Now, random: &mut Random, packing: Packing) {
        let longest = if random.below(8) == 0 { 5_000 } else { 20 };
        self.0.push((now.instant + Duration::from_millis(1 + random.below(longest)), packing));
    }

    /// Brings back what is ready; where a coin says so, as something that could not be compressed.
    pub(super) fn tick(&mut self, now: Now, random: &mut Random, may_break: bool, met: &mut Vec<String>) {
        for (_, packing) in self.0.extract_if(.., |(at, _)| *at <= now.instant) {
            if may_break && random.below(32) == 0 {
                met.push("produce: compression was broken off".to_owned());
                drop(packing);
            } else {
                met.push("produce: a batch was compressed aside".to_owned());
                packing.run();
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at).min()
    }
}

//! Compression beside the sender: where batches are large it takes longer than all that a sender has to do, and would
//! keep one processor busy while the others wait.

use std::sync::Arc;

use super::{accumulator::Accumulator, outcome::BatchDone, queue::PartitionQueue};
use crate::{
    error::{ConfigProblem, Error, ErrorKind},
    wire::{
        batch::{BatchBuilder, SealedBatch},
        compress::Compression,
    },
};

/// A batch that is to be compressed by whoever has time. Its place in its queue is kept, and it comes back to it whatever
/// happens: where this is dropped without being [run](Self::run), the batch fails.
#[derive(Debug)]
pub(crate) struct Packing {
    accumulator: Arc<Accumulator>,
    queue: Arc<PartitionQueue>,
    done: Arc<BatchDone>,
    compression: Compression,
    /// `None` from when on it is being compressed.
    builder: Option<BatchBuilder>,
    is_back: bool,
}

impl Packing {
    /// Takes the oldest batch of a queue that is full, takes at least `least` bytes and is not compressed.
    pub(crate) fn of(
        accumulator: &Arc<Accumulator>,
        queue: &Arc<PartitionQueue>,
        compression: Compression,
        least: usize,
    ) -> Option<Self> {
        let (done, builder) = queue.give(least)?;
        let (accumulator, queue) = (Arc::clone(accumulator), Arc::clone(queue));
        Some(Self { accumulator, queue, done, compression, builder: Some(builder), is_back: false })
    }

    /// Compresses the batch, and tells its sender.
    pub(crate) fn run(mut self) {
        if let Some(builder) = self.builder.take() {
            let sealed = seal(builder, self.compression);
            self.bring_back(sealed);
        }
    }

    fn bring_back(&mut self, sealed: Result<SealedBatch, Error>) {
        self.is_back = true;
        self.queue.take_back(&self.done, sealed);
        self.accumulator.announce(&self.queue);
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        if !self.is_back {
            self.bring_back(Err(failed(self.compression, "it was broken off")));
        }
    }
}

/// Compresses a batch and computes its checksum. The codec was checked when the producer was built; one that fails all
/// the same fails this batch.
pub(crate) fn seal(builder: BatchBuilder, compression: Compression) -> Result<SealedBatch, Error> {
    builder.seal(compression).map_err(|error| failed(compression, &error.to_string()))
}

fn failed(compression: Compression, reason: &str) -> Error {
    let problem = ConfigProblem {
        setting: "compression",
        value: format!("{compression:?}"),
        reason: reason.to_owned(),
    };
    ErrorKind::Config { problems: vec![problem] }.into()
}

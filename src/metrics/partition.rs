//! What is counted for each partition.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

use super::family::Series;

/// Defines a set of numbers, and the counters behind it.
macro_rules! counters {
    ($(#[$doc:meta])* $plain:ident, $(#[$series_doc:meta])* $series:ident,
     { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $plain {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl AddAssign for $plain {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }
        }

        $(#[$series_doc])*
        #[derive(Debug, Default)]
        pub(super) struct $series {
            $($field: AtomicU64,)*
        }

        impl Series for $series {
            type Plain = $plain;

            fn read(&self) -> $plain {
                $plain { $($field: self.$field.load(Ordering::Relaxed),)* }
            }

            fn absorb(&self, counted: &$plain) {
                $(if counted.$field > 0 {
                    self.$field.fetch_add(counted.$field, Ordering::Relaxed);
                })*
            }
        }
    };
}

counters! {
    /// What all producers of a client have sent to one partition.
    ProducedMetrics,
    /// The counters behind [`ProducedMetrics`].
    ProducedSeries,
    {
        /// Records that were acknowledged; without acknowledgements (`Acks::None`), those that were written to the
        /// connection.
        records,
        /// The size of their batches in bytes as it was sent, compressed.
        bytes,
        /// Their batches.
        batches,
        /// Records whose delivery failed. They may be in the log all the same, as the error of each says.
        failed_records,
        /// Their batches.
        failed_batches,
        /// How often a batch had to be sent again.
        retries,
    }
}

counters! {
    /// What all consumers of a client have read from one partition.
    ConsumedMetrics,
    /// The counters behind [`ConsumedMetrics`].
    ConsumedSeries,
    {
        /// Records in the batches that were handed out. Those in front of the position, where reading starts in the
        /// middle of a batch, count too.
        records,
        /// The size of the batches that were handed out in bytes, as it was fetched, compressed.
        bytes,
        /// Batches that were handed out.
        batches,
        /// Answers to fetch requests that held data of this partition.
        fetches,
        /// Bytes fetched, whether or not they were handed out: a batch that was cut off, or lay in the buffer when the
        /// position moved, is fetched again.
        fetched_bytes,
    }
}

//! What is sent or read.

use std::fmt;
use std::time::Duration;

/// The topic's partitions, unless the workload is about them.
const PARTITIONS: u32 = 6;

/// Records of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Of a record's value; it has no key.
    pub(crate) bytes: usize,
    pub(crate) lz4: bool,
    pub(crate) partitions: u32,
    /// How much later each request gets to the broker.
    pub(crate) delay: Duration,
    /// How many are sent or read in a round, unless that is said.
    pub(crate) records: usize,
    pub(crate) side: Side,
}

/// What is done with the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Send,
    /// Read where they lie: from milena by the batch.
    Read,
    /// Read one by one, each to be kept.
    Keep,
}

pub(crate) const WORKLOADS: [Workload; 9] = [
    PLAIN,
    Workload { name: "lz4", lz4: true, ..PLAIN },
    Workload { name: "1k", bytes: 1024, records: 1_000_000, ..PLAIN },
    Workload { name: "partitions", partitions: 1_000, ..PLAIN },
    FAR,
    Workload { name: "read", side: Side::Read, ..PLAIN },
    Workload { name: "read-lz4", side: Side::Read, lz4: true, ..PLAIN },
    Workload { name: "keep", side: Side::Keep, ..PLAIN },
    Workload { name: "read-far", side: Side::Read, ..FAR },
];

const PLAIN: Workload = Workload {
    name: "plain",
    bytes: 100,
    lz4: false,
    partitions: PARTITIONS,
    delay: Duration::ZERO,
    records: 5_000_000,
    side: Side::Send,
};
const FAR: Workload =
    Workload { name: "far", partitions: 1, delay: Duration::from_millis(20), records: 2_000_000, ..PLAIN };

impl Workload {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        WORKLOADS.into_iter().find(|workload| workload.name == name).ok_or_else(|| {
            let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            format!("no workload is called {name}; there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = if self.lz4 { "lz4" } else { "uncompressed" };
        let does = match self.side {
            Side::Send => "sent",
            Side::Read => "read",
            Side::Keep => "read to be kept",
        };
        write!(f, "{}: {does}, {} B, {codec}, {} partitions", self.name, self.bytes, self.partitions)?;
        if self.delay > Duration::ZERO {
            write!(f, ", a round trip of {:?}", self.delay)?;
        }
        Ok(())
    }
}

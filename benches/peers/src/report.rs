//! What came out, and whether it is good enough.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::measure::Measured;
use crate::task::{CLIENTS, LIBRDKAFKA, MILENA};

/// What milena must keep.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// Processor time per record, as a part of librdkafka's.
    pub(crate) ratio: Option<f64>,
    /// Records per second, at least.
    pub(crate) rate: Option<f64>,
    /// Peak of memory.
    pub(crate) memory_mib: Option<f64>,
}

/// The rounds of one workload.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rounds: BTreeMap<&'static str, Vec<Measured>>,
}

/// A client's medians.
struct Medians {
    micros: f64,
    rate: f64,
    memory_mib: f64,
}

impl Report {
    pub(crate) fn add(&mut self, client: &'static str, measured: Measured) {
        self.rounds.entry(client).or_default().push(measured);
    }

    /// Prints the medians, and whether milena keeps the limits.
    pub(crate) fn print(&self, limits: &Limits, out: &mut impl Write) -> io::Result<bool> {
        for client in CLIENTS {
            let Medians { micros, rate, memory_mib } = self.medians(client);
            let mut rounds: Vec<f64> = self.of(client).iter().map(micros_per_record).collect();
            rounds.sort_by(f64::total_cmp);
            let (least, most) = (rounds.first().unwrap_or(&0.0), rounds.last().unwrap_or(&0.0));
            writeln!(
                out,
                "  {client:<10} {micros:>7.3} µs of CPU per record ({least:.3} to {most:.3}), \
                 {rate:>10.0} records/s, {memory_mib:>6.1} MiB at most"
            )?;
        }
        let (own, peer) = (self.medians(MILENA), self.medians(LIBRDKAFKA));
        let ratio = own.micros / peer.micros;
        writeln!(
            out,
            "  milena / librdkafka: CPU {ratio:.3}, records/s {:.2}, memory {:.2}",
            own.rate / peer.rate,
            own.memory_mib / peer.memory_mib
        )?;
        let mut passed = true;
        let mut judge = |what: &str, value: f64, kept: bool, limit: f64| {
            passed &= kept;
            writeln!(out, "  {} {what} {value:.3}, limit {limit}", if kept { "PASS" } else { "FAIL" })
        };
        if let Some(limit) = limits.ratio {
            judge("CPU ratio", ratio, ratio <= limit, limit)?;
        }
        if let Some(limit) = limits.rate {
            judge("records/s", own.rate, own.rate >= limit, limit)?;
        }
        if let Some(limit) = limits.memory_mib {
            judge("MiB", own.memory_mib, own.memory_mib <= limit, limit)?;
        }
        Ok(passed)
    }

    fn of(&self, client: &str) -> &[Measured] {
        self.rounds.get(client).map_or(&[], Vec::as_slice)
    }

    fn medians(&self, client: &str) -> Medians {
        let rounds = self.of(client);
        Medians {
            micros: median(rounds.iter().map(micros_per_record)),
            rate: median(rounds.iter().map(|round| round.records as f64 / round.wall.as_secs_f64())),
            memory_mib: median(rounds.iter().map(|round| round.peak_kib as f64 / 1024.0)),
        }
    }
}

fn micros_per_record(round: &Measured) -> f64 {
    round.cpu.as_secs_f64() * 1e6 / round.records as f64
}

/// Of an even number, the upper of the two in the middle. There is at least one.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! What record batches cost, against what the machine needs at least for the same bytes: one copy and one CRC-32C.
//!
//! `cargo bench --bench batch --features testing`. Everything is measured in turn within each round, and the best
//! round of each counts, so that the ratios hold on a busy machine too. The process fails if a limit is passed.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench reads the clock and prints what it measured"
)]

#[path = "support/events.rs"]
mod events;

use std::collections::VecDeque;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use events::events;
use milena::doors;

const BATCH: usize = 256 * 1024;
const RECORD: usize = 100;
/// Batches per measurement: 4 MiB of records, more than a core's own caches.
const BATCHES: usize = 16;
/// Batches that wait for their acknowledgement while the next is filled; then their memory is used again.
const IN_FLIGHT: usize = 5;
const ROUNDS: usize = 60;

/// The most that sealing and reading may cost, in copies plus checksums of the same bytes.
const SEAL_LIMIT: f64 = 6.0;
const READ_LIMIT: f64 = 4.0;
/// Allocations per record.
const ALLOCATION_LIMIT: f64 = 0.02;

fn main() -> ExitCode {
    let value: Vec<u8> = (b'a'..=b'z').cycle().take(RECORD).collect();
    let batches: Vec<Bytes> =
        (0..BATCHES).map(|_| seal_batch(BytesMut::with_capacity(BATCH), &value)).collect();
    let records: u64 = batches.iter().map(|batch| doors::read_borrowed(batch).0).sum();
    let mut target = vec![0; BATCH];
    let mut in_flight: VecDeque<Bytes> =
        batches[..IN_FLIGHT].iter().map(|batch| Bytes::from(batch.to_vec())).collect();
    let [mut floor, mut seal, mut borrowed, mut owned] = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        floor = floor.min(time(|| {
            for batch in &batches {
                let target = &mut target[..batch.len()];
                target.copy_from_slice(batch);
                black_box(crc32c::crc32c(black_box(target)));
            }
        }));
        seal = seal.min(time(|| {
            for _ in 0..BATCHES {
                seal_next(&mut in_flight, &value);
            }
        }));
        borrowed = borrowed.min(time(|| {
            for batch in &batches {
                black_box(doors::read_borrowed(black_box(batch)));
            }
        }));
        owned = owned.min(time(|| {
            for batch in &batches {
                black_box(doors::read_owned(black_box(batch)));
            }
        }));
    }
    println!("{records} records of {RECORD} B in batches of {BATCH} B; best of {ROUNDS} rounds");
    row("copy and checksum", floor, records, floor);
    row("append and seal", seal, records, floor);
    row("read borrowed", borrowed, records, floor);
    row("read owned", owned, records, floor);
    let sealed = allocations(|| seal_next(&mut in_flight, &value));
    let read = allocations(|| _ = black_box(doors::read_borrowed(&batches[0])));
    let per_batch = records as f64 / BATCHES as f64;
    codecs();
    let passed = [
        check("append and seal, ratio", seal.as_secs_f64() / floor.as_secs_f64(), SEAL_LIMIT),
        check("read borrowed, ratio", borrowed.as_secs_f64() / floor.as_secs_f64(), READ_LIMIT),
        check("append and seal, allocations per record", sealed / per_batch, ALLOCATION_LIMIT),
        check("read borrowed, allocations per record", read / per_batch, ALLOCATION_LIMIT),
    ];
    if passed.iter().all(|passed| *passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seals a batch in the memory of the oldest one in flight.
fn seal_next(in_flight: &mut VecDeque<Bytes>, value: &[u8]) {
    let done = in_flight.pop_front().unwrap_or_default();
    let buffer = done.try_into_mut().unwrap_or_default();
    in_flight.push_back(black_box(seal_batch(buffer, black_box(value))));
}

fn seal_batch(buffer: BytesMut, value: &[u8]) -> Bytes {
    doors::append_and_seal(buffer, BATCH, value, 0)
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> f64 {
    allocation_counter::measure(work).count_total as f64
}

fn row(what: &str, took: Duration, records: u64, floor: Duration) {
    let nanos = took.as_secs_f64() * 1e9 / records as f64;
    let ratio = took.as_secs_f64() / floor.as_secs_f64();
    println!("{what:<20} {nanos:>8.2} ns/record  {ratio:>6.2} x");
}

fn check(what: &str, value: f64, limit: f64) -> bool {
    let passed = value <= limit;
    let verdict = if passed { "PASS" } else { "FAIL" };
    println!("{verdict}  {what}: {value:.4} (limit {limit})");
    passed
}

/// Compresses and decompresses a batch's worth of text-like records.
fn codecs() {
    let input = events(BATCH);
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    for (id, name) in [(1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")] {
        let [mut compress, mut decompress] = [Duration::MAX; 2];
        for _ in 0..8 {
            packed.clear();
            compress = compress.min(time(|| doors::compress_into(id, black_box(&input), &mut packed)));
            unpacked.clear();
            decompress = decompress.min(time(|| {
                assert!(doors::decompress_into(id, black_box(&packed), BATCH, &mut unpacked));
            }));
        }
        assert_eq!(unpacked, input);
        let speed = |took: Duration| input.len() as f64 / took.as_secs_f64() / 1e6;
        let ratio = input.len() as f64 / packed.len() as f64;
        let (compress, decompress) = (speed(compress), speed(decompress));
        println!(
            "{name:<8} ratio {ratio:>5.2}  compress {compress:>6.0} MB/s  decompress {decompress:>6.0} MB/s"
        );
    }
}

//! Batches that are compressed beside the sender.

use super::*;

/// One that compresses batches of 100 bytes and more aside.
fn packing() -> Bench {
    Bench::ready(|config| {
        config.compression = Compression::new(Codec::Lz4);
        config.packed_aside = 100;
    })
}

/// A value that makes its batch large, and shrinks.
fn large() -> String {
    "x".repeat(500)
}

fn codec(call: &Call, partition: i32) -> Codec {
    header(call, partition).attributes.codec().unwrap()
}

impl Bench {
    /// Ticks until nothing is to be compressed any more but what is away.
    fn tick_and_take(&mut self) -> Vec<Call> {
        let calls = self.tick();
        assert!(self.completed().is_empty());
        calls
    }
}

#[test]
fn a_large_batch_is_compressed_aside_and_nothing_waits_for_it() {
    let mut bench = packing();
    bench.append(0, &large());
    bench.append(1, "small");
    let calls = bench.tick_and_take();
    assert_eq!(calls.iter().map(|call| produce(call).into_keys().collect()).collect::<Vec<Vec<_>>>(), [[1]]);
    assert_eq!(bench.packings.len(), 1);
    assert!(bench.tick_and_take().is_empty(), "it is away");
    bench.packings.remove(0).run();
    let calls = bench.tick_and_take();
    assert_eq!(codec(&calls[0], 0), Codec::Lz4);
    bench.answer(&calls[0], &[(0, Code::NONE, 1)]);
    assert_eq!(bench.completed().len(), 1);
}

#[test]
fn full_batches_are_compressed_at_once_and_sent_in_their_order() {
    let mut bench = packing();
    for _ in 0..3 {
        bench.append(0, &large());
        bench.sender.flush(bench.now);
    }
    bench.append(0, "small");
    bench.sender.flush(bench.now);
    assert!(bench.tick_and_take().is_empty());
    assert_eq!(bench.packings.len(), 3, "before their turn comes");
    // The last is ready first, and so is what needs no compression.
    for packing in mem::take(&mut bench.packings).into_iter().rev() {
        assert!(bench.tick_and_take().is_empty());
        packing.run();
    }
    let sequences: Vec<i32> = bench.tick().iter().map(|call| stamp(call, 0).1).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

#[test]
fn a_batch_whose_time_is_over_while_it_is_away_fails_and_comes_back_to_nobody() {
    let mut bench = packing();
    bench.append(0, &large());
    assert!(bench.tick_and_take().is_empty());
    bench.advance(Duration::from_secs(120));
    assert!(bench.tick().is_empty());
    let [Err(error)] = &bench.completed()[..] else { panic!("it has not ended") };
    assert!(!error.maybe_written(), "{error}");
    assert_eq!(bench.accumulator.budget.used(), 0);
    assert!(bench.sender.is_idle());
    bench.packings.remove(0).run();
    assert!(bench.tick_and_take().is_empty());
}

#[test]
fn compression_that_is_broken_off_fails_its_batch_alone() {
    let mut bench = packing();
    bench.append(0, &large());
    bench.append(1, &large());
    assert!(bench.tick_and_take().is_empty());
    let second = bench.packings.pop().unwrap();
    bench.packings.clear();
    assert!(bench.tick().is_empty());
    let [Err(error)] = &bench.completed()[..] else { panic!("it has not ended") };
    assert!(error.to_string().contains("compression"), "{error}");
    second.run();
    assert_eq!(produce(&bench.tick_and_take()[0]).len(), 1);
}

#[test]
fn a_flush_waits_for_what_is_away() {
    let mut bench = packing();
    bench.append(0, &large());
    assert!(bench.tick_and_take().is_empty());
    let waiting = bench.sender.flush(bench.now);
    assert!(Arc::ptr_eq(&waiting[0], &bench.deliveries.last().unwrap().0));
    assert!(!bench.sender.is_idle());
}

#[test]
fn batches_that_shrink_become_as_large_as_their_size_on_the_wire() {
    let mut bench = packing();
    let mut sizes = Vec::new();
    for _ in 0..40 {
        // Until one is full: with 64 KiB, as it is sent.
        while bench.accumulator.topic("t").unwrap().partitions[0]
            .backlog()
            .is_none_or(|backlog| !backlog.full)
        {
            bench.append(0, &format!("{}{:?}", "x".repeat(30), bench.deliveries.len() * 7_919));
        }
        assert!(bench.tick_and_take().is_empty());
        bench.packings.drain(..).for_each(Packing::run);
        let call = bench.tick_and_take().pop().unwrap();
        sizes.push(produce(&call)[&0].len());
        bench.answer(&call, &[(0, Code::NONE, 1)]);
        bench.completed();
    }
    let (first, last) = (sizes[0], sizes[39]);
    assert!(first < 40 << 10, "{first} bytes");
    assert!((58 << 10..=64 << 10).contains(&last), "{last} bytes: {sizes:?}");
}

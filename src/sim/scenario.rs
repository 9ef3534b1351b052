//! What is played: things go wrong for a while, then everything comes to rest, and is judged.

use std::time::Duration;

use super::{
    book::{Book, GROUP},
    cast::Cast,
    consume::{CLOSE_TIMEOUT, DRAIN_TIMEOUT, Kind, PATIENCE, Way},
    faults, produce,
    world::{PARTITIONS, World},
};
use crate::types::{Offset, Position};

/// How long the longest stall lasts, of a connection, a process or a user.
const STALL: Duration = Duration::from_secs(40);

/// A producer alone.
pub(super) fn producers(world: &mut World) {
    let mut cast = Cast::new(None);
    cast.add_producer(world, 400);
    play(world, cast, Duration::from_secs(120));
}

/// Readers of chosen partitions, and who writes what they read.
pub(super) fn readers(world: &mut World) {
    let mut cast = Cast::new(None);
    cast.add_producer(world, 150);
    for _ in 0..1 + world.random.below(2) {
        let mut chosen = Vec::new();
        for index in 0..PARTITIONS as i32 {
            match world.random.below(4) {
                0 => chosen.push((index, Position::At(Offset(0)))),
                1 => chosen.push((index, Position::Latest)),
                _ => chosen.push((index, Position::Earliest)),
            }
        }
        cast.add_consumer(world, Kind::Reader(chosen));
    }
    play(world, cast, Duration::from_secs(60));
}

/// A group whose members come and go, and who writes what they read.
pub(super) fn group(world: &mut World) {
    group_of(world, Way::Eager);
}

/// Likewise, by the cooperative protocol.
pub(super) fn cooperative_group(world: &mut World) {
    group_of(world, Way::Cooperative);
}

/// Likewise under the consumer protocol.
pub(super) fn consumer_group(world: &mut World) {
    group_of(world, Way::Consumer);
}

fn group_of(world: &mut World, way: Way) {
    let mut cast = Cast::new(Some(way));
    cast.add_producer(world, 120);
    cast.add_producer(world, 80);
    cast.add_member(world);
    cast.add_member(world);
    let mut cast = play(world, cast, Duration::from_secs(90));
    for partition in 0..PARTITIONS as i32 {
        cast.book.borrow().judge(world, partition);
        let end = Book::end(world, partition);
        let committed = world.broker.committed(GROUP, super::world::TOPIC, partition);
        assert_eq!(committed.unwrap_or(0), end, "partition {partition} is not committed");
    }
    cast.actors.clear();
}

/// Producers that write in transactions, and others that take over from them.
pub(super) fn transactions(world: &mut World) {
    world.has_transactions = true;
    let mut cast = Cast::new(None);
    for id in 0..1 + world.random.below(2) as usize {
        cast.add_writer(world, id, 30);
    }
    let cast = play(world, cast, Duration::from_secs(60));
    cast.writers().for_each(|(_, writer)| writer.judge());
    cast.ledger.borrow().judge(world);
}

fn play(world: &mut World, mut cast: Cast, length: Duration) -> Cast {
    let end = world.now.instant + length;
    world.run(&mut cast, end, true);
    faults::heal(world);
    cast.heal(world);
    // Liveness: once nothing goes wrong, everything is settled in the time that the settings allow.
    let limit = world.now.instant + STALL + produce::DELIVERY_TIMEOUT + 2 * PATIENCE;
    world.run(&mut cast, limit, false);
    assert!(cast.is_settled(world), "not everything is settled once nothing goes wrong any more: {cast:?}");
    cast.close(world);
    let limit = world.now.instant + DRAIN_TIMEOUT + CLOSE_TIMEOUT + Duration::from_secs(1);
    world.run(&mut cast, limit, false);
    assert!(cast.is_settled(world), "not every consumer has closed: {cast:?}");
    if !world.has_transactions {
        produce::judge(world, cast.producers());
    }
    cast
}

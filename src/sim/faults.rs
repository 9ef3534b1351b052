//! What goes wrong, and when.

use std::time::Duration;

use super::{
    network::Way,
    world::{self, World},
};
use crate::{engine::backoff::Random, types::NodeId};

/// What every run over many seeds must have met, or it proves too little.
pub(super) const EXPECTED: [&str; 12] = [
    "NONE",
    "NOT_LEADER_OR_FOLLOWER",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "acked",
    "failed: maybe written",
    "failed: not written",
    "fault: a connection was reset",
    "fault: a leader moved",
    "fault: a node stopped",
    "fault: answers stalled",
    "fault: requests stalled",
    "no answer: maybe sent",
];

/// How long until the next fault.
pub(super) fn pause(random: &mut Random) -> Duration {
    Duration::from_millis(random.below(2_000))
}

/// Lets one thing go wrong.
pub(super) fn strike(world: &mut World) {
    match world.random.below(10) {
        0..=3 => reset(world),
        4 => stall(world, Way::ToNode, "fault: requests stalled"),
        5 | 6 => stall(world, Way::ToClient, "fault: answers stalled"),
        7 => stop_a_node(world),
        8 => start_the_nodes(world),
        _ => move_a_leader(world),
    }
}

/// Everything works again.
pub(super) fn heal(world: &mut World) {
    start_the_nodes(world);
}

fn reset(world: &mut World) {
    let Some(wire) = world.pick_wire() else { return };
    world.meet("fault: a connection was reset");
    world.break_wire(wire);
}

fn stall(world: &mut World, way: Way, path: &'static str) {
    let Some(wire) = world.pick_wire() else { return };
    world.meet(path);
    // Sometimes longer than a request may take, and sometimes longer than a delivery may.
    let pause = Duration::from_millis(world.random.below(40_000));
    let now = world.now.instant;
    world.network.stall(now, wire, way, pause);
}

fn stop_a_node(world: &mut World) {
    let up: Vec<NodeId> = world.nodes().filter(|node| world.is_up(*node)).collect();
    // One stays, so that the cluster can answer.
    if up.len() > 1 {
        let place = world.random.below(up.len() as u64) as usize;
        world.meet("fault: a node stopped");
        world.stop_node(up[place]);
    }
}

fn start_the_nodes(world: &mut World) {
    let down: Vec<NodeId> = world.nodes().filter(|node| !world.is_up(*node)).collect();
    for node in down {
        world.start_node(node);
    }
}

fn move_a_leader(world: &mut World) {
    let partition = world.random.below(world::PARTITIONS as u64) as i32;
    let nodes: Vec<NodeId> = world.nodes().collect();
    let to = nodes[world.random.below(nodes.len() as u64) as usize];
    let now = world.now;
    if world.broker.move_leader(now, world::TOPIC, partition, to) {
        world.meet("fault: a leader moved");
    }
}

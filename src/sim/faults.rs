//! What goes wrong, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    book::GROUP,
    network::Way,
    world::{self, World},
};
use crate::{
    engine::backoff::Random,
    error::Code,
    testing::{Api, Fault, FaultId, Rule},
    types::NodeId,
};

/// What every run over many seeds must have met, or it proves too little.
pub(super) const EVERYWHERE: &[&str] = &[
    "fault: a connection broke in a frame",
    "fault: a connection died unnoticed",
    "fault: a connection was reset",
    "fault: a leader moved",
    "fault: a node stopped",
    "fault: a request was delayed",
    "fault: a request was dropped",
    "fault: a request was refused",
    "fault: a request was throttled",
    "fault: an answer was lost after it was applied",
    "fault: an answer was turned into a refusal after it was applied",
    "fault: answers stalled",
    "fault: requests stalled",
    "no answer: maybe sent",
    "no answer: not sent",
    "Produce: NONE",
    "produce: acked",
];

/// As [`EVERYWHERE`], where only a producer is at work.
pub(super) const OF_PRODUCERS: &[&str] = &[
    "Produce: NOT_LEADER_OR_FOLLOWER",
    "Produce: OUT_OF_ORDER_SEQUENCE_NUMBER",
    "Produce: NOT_ENOUGH_REPLICAS",
    "Produce: INVALID_RECORD",
    "Produce: MESSAGE_TOO_LARGE",
    "produce: a batch is sent again",
    "produce: a batch is taken apart",
    "produce: a record is refused",
    "produce: a record is too large",
    "produce: an epoch was bumped",
    "produce: failed, maybe written",
    "produce: failed, not written",
];

/// As [`EVERYWHERE`], where partitions are read without a group.
pub(super) const OF_READERS: &[&str] = &[
    "Fetch: NONE",
    "Fetch: NOT_LEADER_OR_FOLLOWER",
    "ListOffsets: NONE",
    "ListOffsets: NOT_LEADER_OR_FOLLOWER",
    "cast: a consumer has closed",
    "cast: a process stands still",
    "user: pauses",
    "user: resumes",
    "user: seeks",
];

/// As [`EVERYWHERE`], where a group reads.
pub(super) const OF_GROUPS: &[&str] = &[
    "Fetch: NONE",
    "Fetch: NOT_LEADER_OR_FOLLOWER",
    "FindCoordinator: NONE",
    "Heartbeat: ILLEGAL_GENERATION",
    "Heartbeat: NONE",
    "Heartbeat: NOT_COORDINATOR",
    "Heartbeat: REBALANCE_IN_PROGRESS",
    "Heartbeat: UNKNOWN_MEMBER_ID",
    "JoinGroup: MEMBER_ID_REQUIRED",
    "JoinGroup: NONE",
    "JoinGroup: NOT_COORDINATOR",
    "JoinGroup: UNKNOWN_MEMBER_ID",
    "LeaveGroup: NONE",
    "ListOffsets: NONE",
    "OffsetCommit: ILLEGAL_GENERATION",
    "OffsetCommit: NONE",
    "OffsetCommit: NOT_COORDINATOR",
    "OffsetCommit: UNKNOWN_MEMBER_ID",
    "OffsetFetch: NONE",
    "SyncGroup: NONE",
    "SyncGroup: REBALANCE_IN_PROGRESS",
    "cast: a consumer has closed",
    "cast: a machine loses power",
    "cast: a member closes",
    "cast: a member joins",
    "cast: a process crashes",
    "cast: a process stands still",
    "cast: a static member joins",
    "commit: done",
    "fault: a coordinator moved",
    "listener: Assigned",
    "listener: Lost",
    "listener: Revoking",
    "look-up: done",
    "user: Timeout",
];

/// What a few seeds may miss.
pub(super) const RARE: &[&str] = &[
    "Heartbeat: ILLEGAL_GENERATION",
    "Heartbeat: NOT_COORDINATOR",
    "Heartbeat: UNKNOWN_MEMBER_ID",
    "JoinGroup: NOT_COORDINATOR",
    "ListOffsets: NOT_LEADER_OR_FOLLOWER",
    "OffsetCommit: ILLEGAL_GENERATION",
    "OffsetCommit: NOT_COORDINATOR",
    "OffsetCommit: UNKNOWN_MEMBER_ID",
    "fault: an answer was turned into a refusal after it was applied",
    "produce: a record is too large",
    "user: Timeout",
];

/// A rule of the broker that is in force.
#[derive(Debug)]
pub(super) struct Planned {
    id: FaultId,
    hits: Arc<AtomicU64>,
    path: &'static str,
}

/// How long until the next fault.
pub(super) fn pause(random: &mut Random) -> Duration {
    Duration::from_millis(random.below(2_000))
}

/// Lets one thing go wrong.
pub(super) fn strike(world: &mut World) {
    match world.random.below(16) {
        0..=2 => reset(world),
        3 => cut(world),
        4 => stall(world, Way::ToNode, "fault: requests stalled"),
        5 | 6 => stall(world, Way::ToClient, "fault: answers stalled"),
        7 => kill(world),
        8 => stop_a_node(world),
        9 | 10 => start_the_nodes(world),
        11 => move_a_leader(world),
        _ => plan(world),
    }
}

/// Everything works again.
pub(super) fn heal(world: &mut World) {
    start_the_nodes(world);
    for wire in world.network.dead() {
        world.break_wire(wire);
    }
    for Planned { id, hits, path } in std::mem::take(&mut world.planned) {
        world.broker.remove_fault(id);
        let hits = hits.load(Ordering::Relaxed);
        if hits > 0 {
            world.meet_often(path, hits);
        }
    }
}

fn reset(world: &mut World) {
    let Some(wire) = world.pick_wire() else { return };
    world.meet("fault: a connection was reset");
    world.break_wire(wire);
}

/// A connection that has something on its way breaks in the middle of it.
fn cut(world: &mut World) {
    for way in [Way::ToClient, Way::ToNode] {
        let wires: Vec<_> = world.network.in_use().map(|(wire, _)| wire).collect();
        for wire in wires {
            if world.network.cut(wire, way, &mut world.random) {
                return;
            }
        }
    }
}

fn stall(world: &mut World, way: Way, path: &'static str) {
    let Some(wire) = world.pick_wire() else { return };
    world.meet(path);
    // Sometimes longer than a request may take, and sometimes longer than a delivery may.
    let pause = Duration::from_millis(world.random.below(40_000));
    let now = world.now.instant;
    world.network.stall(now, wire, way, pause);
}

fn kill(world: &mut World) {
    let Some(wire) = world.pick_wire() else { return };
    world.meet("fault: a connection died unnoticed");
    world.network.kill(wire);
}

fn stop_a_node(world: &mut World) {
    let up: Vec<NodeId> = world.nodes().filter(|node| world.is_up(*node)).collect();
    // One stays, so that the cluster can answer.
    if up.len() > 1 {
        let place = world.random.below(up.len() as u64) as usize;
        world.meet("fault: a node stopped");
        watch_coordinator(world, |world| world.stop_node(up[place]));
    }
}

fn start_the_nodes(world: &mut World) {
    let down: Vec<NodeId> = world.nodes().filter(|node| !world.is_up(*node)).collect();
    for node in down {
        watch_coordinator(world, |world| world.start_node(node));
    }
}

fn watch_coordinator(world: &mut World, act: impl FnOnce(&mut World)) {
    let before = world.broker.coordinator(GROUP);
    act(world);
    if world.broker.coordinator(GROUP) != before {
        world.meet("fault: a coordinator moved");
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

/// The next requests of a kind go wrong at the broker.
fn plan(world: &mut World) {
    let api = pick(&mut world.random, &APIS);
    let (fault, path) = fault(&mut world.random, api);
    let times = 1 + world.random.below(3);
    let rule = Rule::new(fault).on(api).times(times);
    let (id, hits) = world.broker.add_fault(rule);
    world.planned.push(Planned { id, hits, path });
}

const APIS: [Api; 14] = [
    Api::ApiVersions,
    Api::Fetch,
    Api::Fetch,
    Api::FindCoordinator,
    Api::Heartbeat,
    Api::InitProducerId,
    Api::JoinGroup,
    Api::ListOffsets,
    Api::Metadata,
    Api::OffsetCommit,
    Api::OffsetFetch,
    Api::Produce,
    Api::Produce,
    Api::SyncGroup,
];

fn fault(random: &mut Random, api: Api) -> (Fault, &'static str) {
    let longest = if random.below(3) == 0 { 12_000 } else { 1_500 };
    let pause = Duration::from_millis(random.below(longest));
    match random.below(8) {
        0 => (Fault::Delay(pause), "fault: a request was delayed"),
        1 => (Fault::Throttle(pause), "fault: a request was throttled"),
        2 => (Fault::Ignore, "fault: a request was dropped"),
        3 => (Fault::CloseBefore, "fault: a request was dropped"),
        4 => (Fault::DropAnswer, "fault: an answer was lost after it was applied"),
        5 => (Fault::CloseAfter, "fault: an answer was lost after it was applied"),
        kind => {
            let codes = refusals(api);
            if codes.is_empty() {
                return (Fault::Delay(pause), "fault: a request was delayed");
            }
            let code = pick(random, codes);
            // What a broker says before it does anything is not said by one that has done it.
            let may_be_applied = matches!(api, Api::Produce | Api::OffsetCommit);
            if kind == 6 && may_be_applied {
                let path = "fault: an answer was turned into a refusal after it was applied";
                return (Fault::ApplyThenRefuse(Code::REQUEST_TIMED_OUT), path);
            }
            (Fault::Refuse(code), "fault: a request was refused")
        }
    }
}

/// What a broker may say to a request that is all right.
fn refusals(api: Api) -> &'static [Code] {
    const COORDINATOR: &[Code] =
        &[Code::COORDINATOR_LOAD_IN_PROGRESS, Code::COORDINATOR_NOT_AVAILABLE, Code::NOT_COORDINATOR];
    match api {
        Api::Fetch => &[Code::NOT_LEADER_OR_FOLLOWER, Code::UNKNOWN_LEADER_EPOCH, Code::KAFKA_STORAGE_ERROR],
        Api::ListOffsets => &[Code::NOT_LEADER_OR_FOLLOWER, Code::UNKNOWN_LEADER_EPOCH],
        Api::Produce => &[Code::NOT_LEADER_OR_FOLLOWER, Code::NOT_ENOUGH_REPLICAS, Code::MESSAGE_TOO_LARGE],
        Api::InitProducerId | Api::FindCoordinator => &[Code::COORDINATOR_NOT_AVAILABLE],
        Api::Heartbeat => &[
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::UNKNOWN_MEMBER_ID,
            Code::ILLEGAL_GENERATION,
            Code::REBALANCE_IN_PROGRESS,
        ],
        Api::JoinGroup | Api::SyncGroup | Api::OffsetCommit | Api::OffsetFetch => COORDINATOR,
        _ => &[],
    }
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

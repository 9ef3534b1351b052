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
    ledger::Ledger,
    network::Way,
    world::{self, World},
};
use crate::{
    engine::backoff::Random,
    error::Code,
    testing::{Api, Fault, FaultId, Rule},
    types::NodeId,
};

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
    if world.has_transactions && world.random.below(3) == 0 {
        return strike_transactions(world);
    }
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
    if world.has_transactions {
        world.broker.hold_markers(world.now, false);
    }
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
    let (transactional_id, of_it) = (Ledger::transactional_id(0), Ledger::group(0));
    let paths = [
        (GROUP, "fault: a coordinator moved"),
        (&transactional_id, "fault: a coordinator of transactions moved"),
        (&of_it, "fault: a coordinator of offsets moved"),
    ];
    let paths = &paths[if world.has_transactions { 1..3 } else { 0..1 }];
    let before: Vec<_> = paths.iter().map(|(key, _)| world.broker.coordinator(key)).collect();
    act(world);
    for ((key, path), before) in paths.iter().zip(before) {
        if world.broker.coordinator(key) != before {
            world.meet(path);
        }
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
    plan_for(world, api);
}

fn plan_for(world: &mut World, api: Api) {
    let (fault, path) = fault(&mut world.random, api, world.has_transactions);
    let times = 1 + world.random.below(3);
    let rule = Rule::new(fault).on(api).times(times);
    let (id, hits) = world.broker.add_fault(rule);
    world.planned.push(Planned { id, hits, path });
}

/// What goes wrong with transactions: requests of theirs, and markers that are not written for a while.
fn strike_transactions(world: &mut World) {
    match world.random.below(8) {
        0 => {
            world.meet("fault: markers are held back");
            world.broker.hold_markers(world.now, true);
        }
        1 | 2 => world.broker.hold_markers(world.now, false),
        _ => {
            let api = pick(&mut world.random, &APIS_OF_TRANSACTIONS);
            plan_for(world, api);
        }
    }
}

const APIS_OF_TRANSACTIONS: [Api; 7] = [
    Api::AddOffsetsToTxn,
    Api::AddPartitionsToTxn,
    Api::EndTxn,
    Api::EndTxn,
    Api::InitProducerId,
    Api::Produce,
    Api::TxnOffsetCommit,
];

const APIS: [Api; 16] = [
    Api::ApiVersions,
    Api::ConsumerGroupHeartbeat,
    Api::ConsumerGroupHeartbeat,
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

fn fault(random: &mut Random, api: Api, is_transactional: bool) -> (Fault, &'static str) {
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
            let codes = if is_transactional { refusals_of_transactions(api) } else { refusals(api) };
            if codes.is_empty() {
                return (Fault::Delay(pause), "fault: a request was delayed");
            }
            let code = pick(random, codes);
            // What a broker says before it does anything is not said by one that has done it.
            let may_be_applied =
                matches!(api, Api::Produce | Api::OffsetCommit | Api::EndTxn | Api::TxnOffsetCommit);
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
        Api::Fetch => &[
            Code::NOT_LEADER_OR_FOLLOWER,
            Code::UNKNOWN_LEADER_EPOCH,
            Code::KAFKA_STORAGE_ERROR,
            Code::FETCH_SESSION_ID_NOT_FOUND,
            Code::INVALID_FETCH_SESSION_EPOCH,
        ],
        Api::ListOffsets => &[Code::NOT_LEADER_OR_FOLLOWER, Code::UNKNOWN_LEADER_EPOCH],
        Api::Produce => &[Code::NOT_LEADER_OR_FOLLOWER, Code::NOT_ENOUGH_REPLICAS, Code::MESSAGE_TOO_LARGE],
        Api::InitProducerId | Api::FindCoordinator => &[Code::COORDINATOR_NOT_AVAILABLE],
        Api::ConsumerGroupHeartbeat => &[
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::UNKNOWN_MEMBER_ID,
            Code::FENCED_MEMBER_EPOCH,
        ],
        // That the group rebalances cannot be made up: a coordinator that says so has heard the member, whose session begins anew.
        Api::Heartbeat => &[
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::UNKNOWN_MEMBER_ID,
            Code::ILLEGAL_GENERATION,
        ],
        // That a commit is late cannot be made up: the member would go on in a generation that is over.
        Api::JoinGroup | Api::SyncGroup | Api::OffsetCommit | Api::OffsetFetch => COORDINATOR,
        _ => &[],
    }
}

/// Likewise to one of a transactional producer.
fn refusals_of_transactions(api: Api) -> &'static [Code] {
    match api {
        Api::Produce => &[
            Code::NOT_LEADER_OR_FOLLOWER,
            Code::NOT_ENOUGH_REPLICAS,
            Code::MESSAGE_TOO_LARGE,
            Code::TRANSACTION_ABORTABLE,
            Code::UNKNOWN_PRODUCER_ID,
        ],
        Api::InitProducerId => &[
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::CONCURRENT_TRANSACTIONS,
            Code::UNKNOWN_SERVER_ERROR,
        ],
        Api::AddPartitionsToTxn | Api::AddOffsetsToTxn => &[
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::CONCURRENT_TRANSACTIONS,
            Code::TRANSACTION_ABORTABLE,
            Code::INVALID_PRODUCER_ID_MAPPING,
            Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ],
        Api::TxnOffsetCommit => &[
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::UNKNOWN_TOPIC_OR_PARTITION,
            Code::GROUP_AUTHORIZATION_FAILED,
            Code::ILLEGAL_GENERATION,
            Code::TRANSACTION_ABORTABLE,
        ],
        Api::EndTxn => &[
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::CONCURRENT_TRANSACTIONS,
            Code::TRANSACTION_ABORTABLE,
            Code::UNKNOWN_SERVER_ERROR,
        ],
        _ => refusals(api),
    }
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

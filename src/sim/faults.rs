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
    "produce: a batch was compressed aside",
    "produce: a record is refused",
    "produce: a record is too large",
    "produce: an epoch was bumped",
    "produce: compression was broken off",
    "produce: failed, maybe written",
    "produce: failed, not written",
];

/// As [`EVERYWHERE`], where partitions are read without a group.
pub(super) const OF_READERS: &[&str] = &[
    "Fetch: FETCH_SESSION_ID_NOT_FOUND",
    "Fetch: INVALID_FETCH_SESSION_EPOCH",
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
    "OffsetCommit: REBALANCE_IN_PROGRESS",
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

/// As [`EVERYWHERE`], where there are transactions.
pub(super) const OF_TRANSACTIONS: &[&str] = &[
    "AddOffsetsToTxn: CONCURRENT_TRANSACTIONS",
    "AddOffsetsToTxn: INVALID_PRODUCER_ID_MAPPING",
    "AddOffsetsToTxn: NONE",
    "AddOffsetsToTxn: NOT_COORDINATOR",
    "AddOffsetsToTxn: PRODUCER_FENCED",
    "AddOffsetsToTxn: TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "AddOffsetsToTxn: no answer",
    "AddPartitionsToTxn: CONCURRENT_TRANSACTIONS",
    "AddPartitionsToTxn: INVALID_PRODUCER_ID_MAPPING",
    "AddPartitionsToTxn: NONE",
    "AddPartitionsToTxn: NOT_COORDINATOR",
    "AddPartitionsToTxn: PRODUCER_FENCED",
    "AddPartitionsToTxn: TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "AddPartitionsToTxn: no answer",
    "EndTxn: CONCURRENT_TRANSACTIONS",
    "EndTxn: COORDINATOR_LOAD_IN_PROGRESS",
    "EndTxn: COORDINATOR_NOT_AVAILABLE",
    "EndTxn: INVALID_TXN_STATE",
    "EndTxn: NONE",
    "EndTxn: NOT_COORDINATOR",
    "EndTxn: PRODUCER_FENCED",
    "EndTxn: REQUEST_TIMED_OUT",
    "EndTxn: TRANSACTION_ABORTABLE",
    "EndTxn: UNKNOWN_SERVER_ERROR",
    "EndTxn: no answer",
    "EndTxn: of the first version",
    "EndTxn: of the second version",
    "FindCoordinator: COORDINATOR_NOT_AVAILABLE",
    "FindCoordinator: NONE",
    "InitProducerId: CONCURRENT_TRANSACTIONS",
    "InitProducerId: COORDINATOR_LOAD_IN_PROGRESS",
    "InitProducerId: COORDINATOR_NOT_AVAILABLE",
    "InitProducerId: NONE",
    "InitProducerId: NOT_COORDINATOR",
    "InitProducerId: UNKNOWN_SERVER_ERROR",
    "InitProducerId: for another epoch",
    "InitProducerId: no answer",
    "Produce: CONCURRENT_TRANSACTIONS",
    "Produce: INVALID_PRODUCER_EPOCH",
    "Produce: NOT_LEADER_OR_FOLLOWER",
    "Produce: REQUEST_TIMED_OUT",
    "Produce: TRANSACTION_ABORTABLE",
    "Produce: UNKNOWN_PRODUCER_ID",
    "Produce: no answer",
    "TxnOffsetCommit: CONCURRENT_TRANSACTIONS",
    "TxnOffsetCommit: COORDINATOR_NOT_AVAILABLE",
    "TxnOffsetCommit: GROUP_AUTHORIZATION_FAILED",
    "TxnOffsetCommit: INVALID_PRODUCER_EPOCH",
    "TxnOffsetCommit: NONE",
    "TxnOffsetCommit: NOT_COORDINATOR",
    "TxnOffsetCommit: REQUEST_TIMED_OUT",
    "TxnOffsetCommit: TRANSACTION_ABORTABLE",
    "TxnOffsetCommit: UNKNOWN_TOPIC_OR_PARTITION",
    "TxnOffsetCommit: no answer",
    "cast: a machine loses power",
    "cast: a process crashes",
    "cast: a process stands still",
    "cast: a producer has come to its end",
    "cast: another instance of a producer starts",
    "fault: a coordinator of offsets moved",
    "fault: a coordinator of transactions moved",
    "fault: markers are held back",
    "ledger: its coordinator has given a transaction up",
    "ledger: offsets are committed",
    "ledger: told Aborted and not seen",
    "ledger: told Asked and not seen",
    "ledger: told Asked and seen",
    "ledger: told Committed and not seen",
    "ledger: told Committed and seen",
    "ledger: told Nothing and not seen",
    "offsets: refused",
    "offsets: taken",
    "produce: a batch was compressed aside",
    "produce: given up with its transaction",
    "ready: not in time",
    "transaction: ProducerFailed",
    "transaction: TRANSACTION_ABORTABLE (120)",
    "transaction: abort, Aborted",
    "transaction: abort, Nothing",
    "transaction: commit, Aborted",
    "transaction: commit, Asked",
    "transaction: commit, Committed",
    "transaction: failed, INVALID_PRODUCER_ID_MAPPING (49)",
    "transaction: failed, INVALID_RECORD (87)",
    "transaction: failed, TRANSACTION_ABORTABLE (120)",
    "transaction: failed, Timeout",
    "transaction: failed, UNKNOWN_PRODUCER_ID (59)",
    "transaction: failed, Undelivered",
    "transaction: fenced",
    "transaction: fenced by another instance",
    "transaction: fenced by its coordinator",
    "user: asks who is at the end",
    "user: sees that the transaction has failed",
    "user: tarries",
];

/// What a few seeds may miss.
pub(super) const RARE: &[&str] = &[
    "AddOffsetsToTxn: CONCURRENT_TRANSACTIONS",
    "AddOffsetsToTxn: INVALID_PRODUCER_ID_MAPPING",
    "AddOffsetsToTxn: NONE",
    "AddOffsetsToTxn: NOT_COORDINATOR",
    "AddOffsetsToTxn: PRODUCER_FENCED",
    "AddOffsetsToTxn: TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "AddOffsetsToTxn: no answer",
    "AddPartitionsToTxn: INVALID_PRODUCER_ID_MAPPING",
    "AddPartitionsToTxn: NOT_COORDINATOR",
    "AddPartitionsToTxn: PRODUCER_FENCED",
    "AddPartitionsToTxn: TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "AddPartitionsToTxn: no answer",
    "EndTxn: COORDINATOR_LOAD_IN_PROGRESS",
    "EndTxn: COORDINATOR_NOT_AVAILABLE",
    "EndTxn: INVALID_TXN_STATE",
    "EndTxn: NOT_COORDINATOR",
    "EndTxn: PRODUCER_FENCED",
    "EndTxn: REQUEST_TIMED_OUT",
    "EndTxn: TRANSACTION_ABORTABLE",
    "EndTxn: UNKNOWN_SERVER_ERROR",
    "EndTxn: no answer",
    "Fetch: FETCH_SESSION_ID_NOT_FOUND",
    "Fetch: INVALID_FETCH_SESSION_EPOCH",
    "FindCoordinator: COORDINATOR_NOT_AVAILABLE",
    "Heartbeat: ILLEGAL_GENERATION",
    "Heartbeat: NOT_COORDINATOR",
    "Heartbeat: UNKNOWN_MEMBER_ID",
    "InitProducerId: COORDINATOR_LOAD_IN_PROGRESS",
    "InitProducerId: COORDINATOR_NOT_AVAILABLE",
    "InitProducerId: NONE",
    "InitProducerId: NOT_COORDINATOR",
    "InitProducerId: UNKNOWN_SERVER_ERROR",
    "InitProducerId: for another epoch",
    "InitProducerId: no answer",
    "JoinGroup: NOT_COORDINATOR",
    "ListOffsets: NOT_LEADER_OR_FOLLOWER",
    "OffsetCommit: ILLEGAL_GENERATION",
    "OffsetCommit: NOT_COORDINATOR",
    "OffsetCommit: REBALANCE_IN_PROGRESS",
    "OffsetCommit: UNKNOWN_MEMBER_ID",
    "Produce: INVALID_PRODUCER_EPOCH",
    "Produce: REQUEST_TIMED_OUT",
    "Produce: TRANSACTION_ABORTABLE",
    "Produce: UNKNOWN_PRODUCER_ID",
    "Produce: no answer",
    "SyncGroup: REBALANCE_IN_PROGRESS",
    "TxnOffsetCommit: CONCURRENT_TRANSACTIONS",
    "TxnOffsetCommit: COORDINATOR_NOT_AVAILABLE",
    "TxnOffsetCommit: GROUP_AUTHORIZATION_FAILED",
    "TxnOffsetCommit: INVALID_PRODUCER_EPOCH",
    "TxnOffsetCommit: NONE",
    "TxnOffsetCommit: NOT_COORDINATOR",
    "TxnOffsetCommit: REQUEST_TIMED_OUT",
    "TxnOffsetCommit: TRANSACTION_ABORTABLE",
    "TxnOffsetCommit: UNKNOWN_TOPIC_OR_PARTITION",
    "TxnOffsetCommit: no answer",
    "cast: a producer has come to its end",
    "cast: another instance of a producer starts",
    "fault: a coordinator of offsets moved",
    "fault: a coordinator of transactions moved",
    "fault: an answer was turned into a refusal after it was applied",
    "fault: markers are held back",
    "ledger: its coordinator has given a transaction up",
    "ledger: offsets are committed",
    "ledger: told Aborted and not seen",
    "ledger: told Asked and not seen",
    "ledger: told Asked and seen",
    "ledger: told Committed and not seen",
    "ledger: told Nothing and not seen",
    "offsets: refused",
    "offsets: taken",
    "produce: a record is too large",
    "produce: compression was broken off",
    "produce: given up with its transaction",
    "ready: not in time",
    "transaction: ProducerFailed",
    "transaction: TRANSACTION_ABORTABLE (120)",
    "transaction: abort, Aborted",
    "transaction: abort, Nothing",
    "transaction: commit, Aborted",
    "transaction: commit, Asked",
    "transaction: failed, INVALID_PRODUCER_ID_MAPPING (49)",
    "transaction: failed, INVALID_RECORD (87)",
    "transaction: failed, TRANSACTION_ABORTABLE (120)",
    "transaction: failed, Timeout",
    "transaction: failed, UNKNOWN_PRODUCER_ID (59)",
    "transaction: failed, Undelivered",
    "transaction: fenced",
    "transaction: fenced by another instance",
    "transaction: fenced by its coordinator",
    "user: Timeout",
    "user: asks who is at the end",
    "user: sees that the transaction has failed",
    "user: tarries",
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
        Api::Heartbeat => &[
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::UNKNOWN_MEMBER_ID,
            Code::ILLEGAL_GENERATION,
            Code::REBALANCE_IN_PROGRESS,
        ],
        Api::JoinGroup | Api::SyncGroup | Api::OffsetFetch => COORDINATOR,
        Api::OffsetCommit => &[
            Code::COORDINATOR_LOAD_IN_PROGRESS,
            Code::COORDINATOR_NOT_AVAILABLE,
            Code::NOT_COORDINATOR,
            Code::UNKNOWN_MEMBER_ID,
            Code::ILLEGAL_GENERATION,
            Code::REBALANCE_IN_PROGRESS,
        ],
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

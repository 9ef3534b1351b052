//! What an operator does to a cluster and the client cannot ask for yet: calls written by hand, over connections of
//! their own, to any broker that takes plain TCP.

use std::collections::BTreeMap;
use std::io;

use super::probe::{Call, Fields, call};

const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const DELETE_RECORDS: i16 = 21;
const CREATE_PARTITIONS: i16 = 37;
const ELECT_LEADERS: i16 = 43;
const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
const ALTER_CLIENT_QUOTAS: i16 = 49;

const TIMEOUT_MS: i32 = 10_000;
const ELECTION_NOT_NEEDED: i16 = 84;

/// The node that coordinates a group; none while there is none.
///
/// # Errors
/// What the connection said.
pub fn coordinator(address: &str, group: &str) -> io::Result<Option<i32>> {
    let mut body = Vec::new();
    string(&mut body, group)?;
    let answer = call(address, &Call { api: FIND_COORDINATOR, version: 0, flexible: false, body })?;
    let mut fields = Fields(&answer);
    let (code, node) = (fields.i16()?, fields.i32()?);
    Ok((code == 0).then_some(node))
}

/// How far a group has committed in the first partitions of a topic, where it has. `address` is that of its coordinator.
///
/// # Errors
/// What the connection or the broker said.
pub fn committed(address: &str, group: &str, topic: &str, partitions: u32) -> io::Result<BTreeMap<i32, i64>> {
    let mut body = Vec::new();
    string(&mut body, group)?;
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic)?;
    body.extend(partitions.to_be_bytes());
    body.extend((0..partitions).flat_map(u32::to_be_bytes));
    let answer = call(address, &Call { api: OFFSET_FETCH, version: 1, flexible: false, body })?;
    let mut fields = Fields(&answer);
    let (_topics, _name) = (fields.i32()?, fields.string()?);
    let mut committed = BTreeMap::new();
    for _ in 0..fields.count()? {
        let (partition, offset, _metadata) = (fields.i32()?, fields.i64()?, fields.string()?);
        accepted("OffsetFetch", fields.i16()?)?;
        if offset >= 0 {
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

/// Deletes the records of a partition below an offset. `leader` is the address of the partition's leader.
///
/// # Errors
/// What the connection or the broker said.
pub fn delete_records(leader: &str, topic: &str, partition: i32, before: i64) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic)?;
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(before.to_be_bytes());
    body.extend(TIMEOUT_MS.to_be_bytes());
    let answer = call(leader, &Call { api: DELETE_RECORDS, version: 0, flexible: false, body })?;
    let mut fields = Fields(&answer);
    let (_throttle, _topics, _name, _partitions) =
        (fields.i32()?, fields.i32()?, fields.string()?, fields.i32()?);
    let (_partition, _low_watermark) = (fields.i32()?, fields.i64()?);
    accepted("DeleteRecords", fields.i16()?)
}

/// Makes the first of `replicas` the preferred replica of a partition, and has it elected: it leads once the others
/// have learnt of it. `replicas` are those that the partition has, in another order.
///
/// # Errors
/// What the connection or the controller said.
pub fn lead(address: &str, topic: &str, partition: i32, replicas: &[i32]) -> io::Result<()> {
    let mut body = TIMEOUT_MS.to_be_bytes().to_vec();
    body.push(2);
    compact(&mut body, topic)?;
    body.push(2);
    body.extend(partition.to_be_bytes());
    body.push(u8::try_from(replicas.len() + 1).map_err(io::Error::other)?);
    body.extend(replicas.iter().flat_map(|node| node.to_be_bytes()));
    // The tags of the partition, of the topic and of the request.
    body.extend([0, 0, 0]);
    let order = Call { api: ALTER_PARTITION_REASSIGNMENTS, version: 0, flexible: true, body };
    let answer = call(address, &order)?;
    let mut fields = Fields(&answer);
    let (_tags, _throttle) = (fields.u8()?, fields.i32()?);
    accepted("AlterPartitionReassignments", fields.i16()?)?;

    const PREFERRED: u8 = 0;
    let mut body = vec![PREFERRED, 2];
    compact(&mut body, topic)?;
    body.push(2);
    body.extend(partition.to_be_bytes());
    body.push(0);
    body.extend(TIMEOUT_MS.to_be_bytes());
    body.push(0);
    let answer = call(address, &Call { api: ELECT_LEADERS, version: 2, flexible: true, body })?;
    let mut fields = Fields(&answer);
    let (_tags, _throttle) = (fields.u8()?, fields.i32()?);
    match fields.i16()? {
        ELECTION_NOT_NEEDED => Ok(()),
        code => accepted("ElectLeaders", code),
    }
}

/// Adds partitions to a topic until it has `total`.
///
/// # Errors
/// What the connection or the controller said.
pub fn add_partitions(address: &str, topic: &str, total: i32) -> io::Result<()> {
    const CHOOSE_THE_NODES: i32 = -1;
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    string(&mut body, topic)?;
    body.extend(total.to_be_bytes());
    body.extend(CHOOSE_THE_NODES.to_be_bytes());
    body.extend(TIMEOUT_MS.to_be_bytes());
    // Not only to be validated.
    body.push(0);
    let answer = call(address, &Call { api: CREATE_PARTITIONS, version: 0, flexible: false, body })?;
    let mut fields = Fields(&answer);
    let (_throttle, _topics, _name) = (fields.i32()?, fields.i32()?, fields.string()?);
    accepted("CreatePartitions", fields.i16()?)
}

/// Lets the clients with this id write so many bytes a second and no more.
///
/// # Errors
/// What the connection or the controller said.
pub fn limit_producers(address: &str, client_id: &str, bytes_per_second: f64) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    string(&mut body, "client-id")?;
    string(&mut body, client_id)?;
    body.extend(1_i32.to_be_bytes());
    string(&mut body, "producer_byte_rate")?;
    body.extend(bytes_per_second.to_be_bytes());
    // Neither to be removed nor only to be validated.
    body.extend([0, 0]);
    let answer = call(address, &Call { api: ALTER_CLIENT_QUOTAS, version: 0, flexible: false, body })?;
    let mut fields = Fields(&answer);
    let (_throttle, _entries) = (fields.i32()?, fields.i32()?);
    accepted("AlterClientQuotas", fields.i16()?)
}

fn accepted(request: &str, code: i16) -> io::Result<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("{request} was answered with error code {code}")))
    }
}

fn string(body: &mut Vec<u8>, text: &str) -> io::Result<()> {
    body.extend(u16::try_from(text.len()).map_err(io::Error::other)?.to_be_bytes());
    body.extend(text.as_bytes());
    Ok(())
}

/// A string as flexible versions write it: its length plus 1 as a varint.
fn compact(body: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let mut length = u16::try_from(text.len() + 1).map_err(io::Error::other)?;
    while length >= 0x80 {
        body.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.extend(text.as_bytes());
    Ok(())
}

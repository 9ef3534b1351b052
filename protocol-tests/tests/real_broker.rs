//! The harness itself: real brokers start, answer, die and come back.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol_tests::broker::{BrokerError, RealCluster, Version, or_skip};

/// Sends ApiVersions v0 and returns its error code.
fn api_versions(address: &str) -> std::io::Result<i16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Length 10, API 18, version 0, correlation id 7, no client id.
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
    let mut head = [0; 10];
    stream.read_exact(&mut head)?;
    assert_eq!(head[4..8], [0, 0, 0, 7], "the correlation id comes back");
    Ok(i16::from_be_bytes([head[8], head[9]]))
}

#[test]
fn three_nodes_survive_a_loss_and_leave_nothing_behind() {
    let Some(cluster) = or_skip(RealCluster::start(Version::V4_4_0, 3)) else { return };
    assert_eq!(cluster.bootstrap().split(',').count(), 3);

    cluster.kill(2).unwrap();
    let dead = cluster.address(2).unwrap();
    assert!(api_versions(&dead).is_err(), "a killed node answers nobody");
    assert_eq!(api_versions(&cluster.address(1).unwrap()).unwrap(), 0, "the others go on");

    cluster.restart(2).unwrap();
    assert_eq!(cluster.address(2).unwrap(), dead, "a node keeps its address");
    assert_eq!(api_versions(&dead).unwrap(), 0);

    assert!(matches!(cluster.kill(4), Err(BrokerError::UnknownNode { node: 4, nodes: 3 })));

    let directory = cluster.directory().to_path_buf();
    assert!(directory.exists());
    drop(cluster);
    assert!(!directory.exists(), "a test that passes keeps no logs");
}

#[test]
fn a_property_that_kafka_refuses_is_told_with_its_log() {
    let refused = RealCluster::builder(Version::V4_4_0).with_property("log.retention.bytes", "many").start();
    if let Err(BrokerError::Failed { reason, directory, .. }) = refused {
        assert!(reason.contains("log.retention.bytes"), "the reason names the property: {reason}");
        std::fs::remove_dir_all(directory.parent().expect("the cluster's directory")).unwrap();
    } else {
        assert!(or_skip(refused).is_none(), "a broker with a refused property must not start");
    }
}

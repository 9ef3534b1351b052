//! The harness itself: real brokers start, answer, die and come back. And what the client leaves out because no broker
//! has it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use protocol_tests::broker::{BrokerError, RealCluster, Version, or_skip};
use protocol_tests::raw::{Line, Outcome};
use serde_json::json;

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

/// Two-phase commit (KIP-939) needs a broker that keeps a prepared transaction for the instance that comes after. Kafka
/// 4.4.0 takes the request for it where unstable versions are switched on, and refuses to keep anything: this test fails
/// with the release that changes it.
#[test]
fn kafka_keeps_no_prepared_transaction_yet() {
    let builder = RealCluster::builder(Version::V4_4_0)
        .with_property("unstable.api.versions.enable", "true")
        .with_property("transaction.two.phase.commit.enable", "true");
    let Some(cluster) = or_skip(builder.start()) else { return };
    let mut line = Line::connect(&cluster.bootstrap()).unwrap();
    let mut ask = |api: &str, version: i16, body| {
        line.send(api, version, &body).unwrap();
        let Outcome::Answer(answer) = line.receive().unwrap() else { unreachable!("the broker hangs up") };
        answer["ErrorCode"].as_i64().unwrap()
    };
    let mut initialise = |keeps: bool| {
        let body = json!({
            "TransactionalId": "prepared",
            "TransactionTimeoutMs": 60_000,
            "ProducerId": -1,
            "ProducerEpoch": -1,
            "Enable2Pc": true,
            "KeepPreparedTxn": keeps,
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            // The look-up has the topic of the coordinators created.
            ask("FindCoordinator", 3, json!({ "Key": "prepared", "KeyType": 1 }));
            let code = ask("InitProducerId", 6, body.clone());
            // While the coordinator loads.
            if ![14, 15, 16].contains(&code) || Instant::now() > deadline {
                return code;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert_eq!(initialise(false), 0);
    assert_eq!(initialise(true), 35, "UNSUPPORTED_VERSION");
}

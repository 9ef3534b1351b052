//! What differs from one version of Kafka to the next, as far as a client meets it.

use serde_json::{Value, json};

use crate::broker::{Version, api_versions};
use crate::raw::{Line, Outcome};
use crate::suite::{Stage, eventually};
use crate::target::Target;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const JOIN_GROUP: i16 = 11;
const API_VERSIONS: i16 = 18;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
const SHARE_GROUP_HEARTBEAT: i16 = 76;

/// The brokers offer what this version of Kafka is known to offer: with it the other scenarios show that the client
/// copes with old and new. The embedded cluster is a 4.4.
pub(crate) async fn the_offered_versions_are_those_of_the_release(stage: Stage) {
    let version = match stage.target() {
        Target::Kafka { version, .. } => *version,
        Target::Embedded { .. } => Version::V4_4_0,
        // Anything may stand there.
        Target::Given { .. } => return,
    };
    let address = stage.cluster().bootstrap().remove(0);
    let offered = eventually("a broker tells its versions", async || {
        let address = address.clone();
        tokio::task::spawn_blocking(move || api_versions(&address)).await.ok()?.ok()
    })
    .await;
    let range = |api: i16| offered.iter().find(|(key, ..)| *key == api).map(|&(_, min, max)| (min, max));
    let (produce, fetch, join, versions) = match version {
        Version::V3_9_1 => ((0, 11), (0, 17), (0, 9), (0, 4)),
        Version::V4_0_0 => ((0, 12), (4, 17), (2, 9), (0, 4)),
        _ => ((0, 13), (4, 18), (0, 9), (0, 5)),
    };
    assert_eq!(range(PRODUCE), Some(produce), "Produce");
    assert_eq!(range(FETCH), Some(fetch), "Fetch");
    assert_eq!(range(JOIN_GROUP), Some(join), "JoinGroup");
    assert_eq!(range(API_VERSIONS), Some(versions), "ApiVersions");
    if matches!(stage.target(), Target::Kafka { .. }) {
        // KIP-848 is a preview in 3.9 and complete in 4.0; share groups (KIP-932) are offered from 4.1 on.
        assert!(range(CONSUMER_GROUP_HEARTBEAT).is_some());
        assert_eq!(range(SHARE_GROUP_HEARTBEAT).is_some(), version == Version::V4_4_0, "ShareGroupHeartbeat");
    }
}

/// Transactions of the second version (KIP-890) and the new groups (KIP-848) are in force from 4.0 on: a client goes by
/// the features that the cluster has finalized, not by the versions of the APIs, which 3.9 offers too. The embedded
/// cluster finalizes only what it does.
pub(crate) async fn the_finalized_features_are_those_of_the_release(stage: Stage) {
    let Target::Kafka { version, .. } = *stage.target() else { return };
    let address = stage.cluster().bootstrap().remove(0);
    let answer = tokio::task::spawn_blocking(move || finalized_features(&address)).await.unwrap().unwrap();
    let level = |name: &str| {
        let features = answer.pointer("/FinalizedFeatures").and_then(Value::as_array).unwrap();
        let found = features.iter().find(|feature| feature["Name"] == name);
        found.map_or(0, |feature| feature["MaxVersionLevel"].as_i64().unwrap())
    };
    assert!(level("metadata.version") > 0, "{answer}");
    let (transactions, groups) = if version == Version::V3_9_1 { (0, 0) } else { (2, 1) };
    assert_eq!(level("transaction.version"), transactions, "{answer}");
    assert_eq!(level("group.version"), groups, "{answer}");
}

fn finalized_features(address: &str) -> Result<Value, String> {
    let mut line = Line::connect(address).map_err(|error| format!("{address}: {error}"))?;
    let client = json!({ "ClientSoftwareName": "milena", "ClientSoftwareVersion": "0.1.0" });
    line.send("ApiVersions", 3, &client)?;
    match line.receive()? {
        Outcome::Answer(answer) => Ok(answer),
        Outcome::Closed => Err("closed".to_owned()),
    }
}

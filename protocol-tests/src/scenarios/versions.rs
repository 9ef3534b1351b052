//! What differs from one version of Kafka to the next, as far as a client meets it.

use crate::broker::{Version, api_versions};
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

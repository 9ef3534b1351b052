//! ApiVersions: what the broker can do.

use super::call::Call;
use super::state::State;
use crate::error::Code;
use crate::wire::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::versions::ApiKey;

/// The APIs that are answered, as a 4.4 broker advertises them. Produce is advertised from 0, and yet a request below 3
/// has its connection closed: Kafka does so for the sake of old librdkafka clients. Versions 4 and 5 of AddPartitionsToTxn
/// are for brokers; here they close the connection too.
pub(super) const ADVERTISED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 11),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 10),
    (ApiKey::OffsetFetch, 1, 10),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 5),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 5),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 5),
    (ApiKey::TxnOffsetCommit, 0, 6),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::ConsumerGroupHeartbeat, 0, 1),
    (ApiKey::ShareGroupHeartbeat, 1, 1),
    (ApiKey::ShareFetch, 1, 2),
    (ApiKey::ShareAcknowledge, 1, 2),
];

/// The features of a 4.4 broker: name, lowest and highest level it has, and the level that the cluster has finalized.
/// What the embedded broker does not do yet is not finalized; those of groups, share groups and transactions are for the cluster's settings to say.
const FEATURES: &[(&str, i16, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1, 0),
    (GROUPS, 0, 1, 0),
    ("kraft.version", 0, 1, 0),
    ("metadata.version", 7, 33, 33),
    (SHARES, 0, 2, 0),
    ("streams.version", 0, 1, 0),
    (TRANSACTIONS, 0, 2, 0),
];
const TRANSACTIONS: &str = "transaction.version";
const GROUPS: &str = "group.version";
const SHARES: &str = "share.version";

/// The first version that shows features whose lowest level is 0.
const ALL_FEATURES: i16 = 4;

pub(super) fn handle(state: &State, call: &Call, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    if let Err(code) = check(state, call, request) {
        return ApiVersionsResponse { error_code: code.get(), ..ApiVersionsResponse::default() };
    }
    let shown = FEATURES.iter().filter(|(_, min, ..)| call.version >= ALL_FEATURES || *min > 0);
    let supported = shown.map(|&(name, min_version, max_version, _)| SupportedFeatureKey {
        name: name.into(),
        min_version,
        max_version,
        ..SupportedFeatureKey::default()
    });
    let settings = &state.settings;
    let level = |name: &str, level| match name {
        TRANSACTIONS => i16::from(settings.transaction_version),
        GROUPS => i16::from(settings.group_version),
        SHARES => i16::from(settings.share_version),
        _ => level,
    };
    let finalized = FEATURES.iter().map(|&(name, .., fixed)| (name, level(name, fixed)));
    let finalized = finalized.filter(|(_, level)| *level > 0).map(|(name, level)| FinalizedFeatureKey {
        name: name.into(),
        max_version_level: level,
        min_version_level: level,
        ..FinalizedFeatureKey::default()
    });
    ApiVersionsResponse {
        api_keys: ADVERTISED.iter().map(|&(key, min, max)| api_version(key, min, max)).collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: 1,
        finalized_features: finalized.collect(),
        ..ApiVersionsResponse::default()
    }
}

/// The answer to a version that the broker does not know, in version 0: an error, and the versions of this API alone
/// (KIP-511).
pub(super) fn unsupported() -> ApiVersionsResponse {
    let own = ADVERTISED.iter().filter(|(key, ..)| *key == ApiKey::ApiVersions);
    ApiVersionsResponse {
        error_code: Code::UNSUPPORTED_VERSION.get(),
        api_keys: own.map(|&(key, min, max)| api_version(key, min, max)).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn api_version(key: ApiKey, min_version: i16, max_version: i16) -> ApiVersion {
    ApiVersion { api_key: key.number(), min_version, max_version, ..ApiVersion::default() }
}

fn check(state: &State, call: &Call, request: &ApiVersionsRequest) -> Result<(), Code> {
    if call.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        return Err(Code::INVALID_REQUEST);
    }
    // KIP-1242: a client that knows whom it means to reach says so, with both facts or neither.
    match (&request.cluster_id, request.node_id) {
        (None, -1) => Ok(()),
        (None, _) | (Some(_), -1) => Err(Code::INVALID_REQUEST),
        (Some(cluster), node) if *cluster == state.cluster_id && node == call.node => Ok(()),
        (Some(_), _) => Err(Code::REBOOTSTRAP_REQUIRED),
    }
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software_name(name: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alphanumeric(name.chars().next())
        && alphanumeric(name.chars().next_back())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

//! What is generated. To add an API, add its line here and run `cargo run -p milena-codegen -- generate`.

/// The APIs whose request and response are generated, by the name that both schemas begin with.
pub(crate) const APIS: &[&str] = &[
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "InitProducerId",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "EndTxn",
    "TxnOffsetCommit",
    "OffsetForLeaderEpoch",
    "DescribeCluster",
    "ConsumerGroupHeartbeat",
    "ShareGroupHeartbeat",
    "ShareFetch",
    "ShareAcknowledge",
];

/// Schemas that are neither a request nor a response: headers, and what travels inside opaque fields.
pub(crate) const DATA: &[&str] =
    &["RequestHeader", "ResponseHeader", "ConsumerProtocolSubscription", "ConsumerProtocolAssignment"];

/// Highest versions that a client may use where they are below what the schemas define. A latest version that Kafka
/// marks as unstable is left out without being named here.
pub(crate) const CEILINGS: &[(&str, i16)] = &[
    // From version 4 on the API is for brokers among themselves.
    ("AddPartitionsToTxn", 3),
];

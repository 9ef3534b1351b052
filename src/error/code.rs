//! Kafka's error codes: their names, and what a client does about each.

use std::fmt;

/// An error code as a broker sent it (`ErrorCode` in the protocol).
///
/// Codes that this version of the crate does not know survive: they keep their number, have no
/// [`name`](Code::name), and are not retried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(i16);

/// What a client does when a broker answers with a code, before anything that one request type adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Nothing went wrong.
    Done,
    /// Asking again cannot help.
    Fail,
    /// Ask again after a backoff.
    Retry,
    /// The view of the cluster is stale: refresh it, then ask again.
    RefreshMetadata,
    /// The coordinator is elsewhere or loading: look it up, then ask again.
    FindCoordinator,
}

impl Code {
    /// Wraps a number from the wire.
    #[must_use]
    pub const fn new(code: i16) -> Self {
        Self(code)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }

    /// Whether this is [`NONE`](Self::NONE).
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// `Ok` for [`NONE`](Self::NONE).
    pub(crate) const fn check(code: i16) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self(code)) }
    }

    /// Whether the same request may succeed when it is sent again.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        !matches!(self.disposition(), Disposition::Done | Disposition::Fail)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $disposition:ident;)*) => {
        impl Code {
            $(#[doc = concat!("`", stringify!($name), "` (", stringify!($code), ").")]
            pub const $name: Self = Self($code);)*

            /// Kafka's name of the code, `None` for one that this version does not know.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            pub(crate) const fn disposition(self) -> Disposition {
                match self.0 {
                    $($code => Disposition::$disposition,)*
                    _ => Disposition::Fail,
                }
            }
        }
    };
}

codes! {
    UNKNOWN_SERVER_ERROR = -1, Fail;
    NONE = 0, Done;
    OFFSET_OUT_OF_RANGE = 1, Fail;
    CORRUPT_MESSAGE = 2, Retry;
    UNKNOWN_TOPIC_OR_PARTITION = 3, RefreshMetadata;
    INVALID_FETCH_SIZE = 4, Fail;
    LEADER_NOT_AVAILABLE = 5, RefreshMetadata;
    NOT_LEADER_OR_FOLLOWER = 6, RefreshMetadata;
    REQUEST_TIMED_OUT = 7, Retry;
    BROKER_NOT_AVAILABLE = 8, Fail;
    REPLICA_NOT_AVAILABLE = 9, RefreshMetadata;
    MESSAGE_TOO_LARGE = 10, Fail;
    STALE_CONTROLLER_EPOCH = 11, Fail;
    OFFSET_METADATA_TOO_LARGE = 12, Fail;
    NETWORK_EXCEPTION = 13, RefreshMetadata;
    COORDINATOR_LOAD_IN_PROGRESS = 14, Retry;
    COORDINATOR_NOT_AVAILABLE = 15, FindCoordinator;
    NOT_COORDINATOR = 16, FindCoordinator;
    INVALID_TOPIC_EXCEPTION = 17, Fail;
    RECORD_LIST_TOO_LARGE = 18, Fail;
    NOT_ENOUGH_REPLICAS = 19, Retry;
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, Retry;
    INVALID_REQUIRED_ACKS = 21, Fail;
    ILLEGAL_GENERATION = 22, Fail;
    INCONSISTENT_GROUP_PROTOCOL = 23, Fail;
    INVALID_GROUP_ID = 24, Fail;
    UNKNOWN_MEMBER_ID = 25, Fail;
    INVALID_SESSION_TIMEOUT = 26, Fail;
    REBALANCE_IN_PROGRESS = 27, Fail;
    INVALID_COMMIT_OFFSET_SIZE = 28, Fail;
    TOPIC_AUTHORIZATION_FAILED = 29, Fail;
    GROUP_AUTHORIZATION_FAILED = 30, Fail;
    CLUSTER_AUTHORIZATION_FAILED = 31, Fail;
    INVALID_TIMESTAMP = 32, Fail;
    UNSUPPORTED_SASL_MECHANISM = 33, Fail;
    ILLEGAL_SASL_STATE = 34, Fail;
    UNSUPPORTED_VERSION = 35, Fail;
    TOPIC_ALREADY_EXISTS = 36, Fail;
    INVALID_PARTITIONS = 37, Fail;
    INVALID_REPLICATION_FACTOR = 38, Fail;
    INVALID_REPLICA_ASSIGNMENT = 39, Fail;
    INVALID_CONFIG = 40, Fail;
    NOT_CONTROLLER = 41, RefreshMetadata;
    INVALID_REQUEST = 42, Fail;
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, Fail;
    POLICY_VIOLATION = 44, Fail;
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, Fail;
    DUPLICATE_SEQUENCE_NUMBER = 46, Fail;
    INVALID_PRODUCER_EPOCH = 47, Fail;
    INVALID_TXN_STATE = 48, Fail;
    INVALID_PRODUCER_ID_MAPPING = 49, Fail;
    INVALID_TRANSACTION_TIMEOUT = 50, Fail;
    CONCURRENT_TRANSACTIONS = 51, Retry;
    TRANSACTION_COORDINATOR_FENCED = 52, Fail;
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, Fail;
    SECURITY_DISABLED = 54, Fail;
    OPERATION_NOT_ATTEMPTED = 55, Fail;
    KAFKA_STORAGE_ERROR = 56, RefreshMetadata;
    LOG_DIR_NOT_FOUND = 57, Fail;
    SASL_AUTHENTICATION_FAILED = 58, Fail;
    UNKNOWN_PRODUCER_ID = 59, Fail;
    REASSIGNMENT_IN_PROGRESS = 60, Fail;
    DELEGATION_TOKEN_AUTH_DISABLED = 61, Fail;
    DELEGATION_TOKEN_NOT_FOUND = 62, Fail;
    DELEGATION_TOKEN_OWNER_MISMATCH = 63, Fail;
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64, Fail;
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, Fail;
    DELEGATION_TOKEN_EXPIRED = 66, Fail;
    INVALID_PRINCIPAL_TYPE = 67, Fail;
    NON_EMPTY_GROUP = 68, Fail;
    GROUP_ID_NOT_FOUND = 69, Fail;
    FETCH_SESSION_ID_NOT_FOUND = 70, Retry;
    INVALID_FETCH_SESSION_EPOCH = 71, Retry;
    LISTENER_NOT_FOUND = 72, RefreshMetadata;
    TOPIC_DELETION_DISABLED = 73, Fail;
    FENCED_LEADER_EPOCH = 74, RefreshMetadata;
    UNKNOWN_LEADER_EPOCH = 75, Retry;
    UNSUPPORTED_COMPRESSION_TYPE = 76, Fail;
    STALE_BROKER_EPOCH = 77, Fail;
    OFFSET_NOT_AVAILABLE = 78, Retry;
    MEMBER_ID_REQUIRED = 79, Fail;
    PREFERRED_LEADER_NOT_AVAILABLE = 80, RefreshMetadata;
    GROUP_MAX_SIZE_REACHED = 81, Fail;
    FENCED_INSTANCE_ID = 82, Fail;
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, RefreshMetadata;
    ELECTION_NOT_NEEDED = 84, RefreshMetadata;
    NO_REASSIGNMENT_IN_PROGRESS = 85, Fail;
    GROUP_SUBSCRIBED_TO_TOPIC = 86, Fail;
    INVALID_RECORD = 87, Fail;
    UNSTABLE_OFFSET_COMMIT = 88, Retry;
    THROTTLING_QUOTA_EXCEEDED = 89, Retry;
    PRODUCER_FENCED = 90, Fail;
    RESOURCE_NOT_FOUND = 91, Fail;
    DUPLICATE_RESOURCE = 92, Fail;
    UNACCEPTABLE_CREDENTIAL = 93, Fail;
    INCONSISTENT_VOTER_SET = 94, Fail;
    INVALID_UPDATE_VERSION = 95, Fail;
    FEATURE_UPDATE_FAILED = 96, Fail;
    PRINCIPAL_DESERIALIZATION_FAILURE = 97, Fail;
    SNAPSHOT_NOT_FOUND = 98, Fail;
    POSITION_OUT_OF_RANGE = 99, Fail;
    UNKNOWN_TOPIC_ID = 100, RefreshMetadata;
    DUPLICATE_BROKER_REGISTRATION = 101, Fail;
    BROKER_ID_NOT_REGISTERED = 102, Fail;
    INCONSISTENT_TOPIC_ID = 103, RefreshMetadata;
    INCONSISTENT_CLUSTER_ID = 104, Fail;
    TRANSACTIONAL_ID_NOT_FOUND = 105, Fail;
    FETCH_SESSION_TOPIC_ID_ERROR = 106, Retry;
    INELIGIBLE_REPLICA = 107, Fail;
    NEW_LEADER_ELECTED = 108, Fail;
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, Fail;
    FENCED_MEMBER_EPOCH = 110, Fail;
    UNRELEASED_INSTANCE_ID = 111, Fail;
    UNSUPPORTED_ASSIGNOR = 112, Fail;
    STALE_MEMBER_EPOCH = 113, Fail;
    MISMATCHED_ENDPOINT_TYPE = 114, Fail;
    UNSUPPORTED_ENDPOINT_TYPE = 115, Fail;
    UNKNOWN_CONTROLLER_ID = 116, Fail;
    UNKNOWN_SUBSCRIPTION_ID = 117, Fail;
    TELEMETRY_TOO_LARGE = 118, Fail;
    INVALID_REGISTRATION = 119, Fail;
    TRANSACTION_ABORTABLE = 120, Fail;
    INVALID_RECORD_STATE = 121, Fail;
    SHARE_SESSION_NOT_FOUND = 122, Retry;
    INVALID_SHARE_SESSION_EPOCH = 123, Retry;
    FENCED_STATE_EPOCH = 124, Fail;
    INVALID_VOTER_KEY = 125, Fail;
    DUPLICATE_VOTER = 126, Fail;
    VOTER_NOT_FOUND = 127, Fail;
    INVALID_REGULAR_EXPRESSION = 128, Fail;
    REBOOTSTRAP_REQUIRED = 129, Fail;
    STREAMS_INVALID_TOPOLOGY = 130, Fail;
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, Fail;
    STREAMS_TOPOLOGY_FENCED = 132, Fail;
    SHARE_SESSION_LIMIT_REACHED = 133, Retry;
    GROUP_DELETION_FAILED = 134, Fail;
    STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED = 135, Fail;
    CONTROLLER_ID_NOT_REGISTERED = 136, Fail;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_keep_their_number_and_are_not_retried() {
        let code = Code::new(31_000);
        assert_eq!((code.get(), code.name(), code.is_retriable()), (31_000, None, false));
        assert_eq!(code.to_string(), "unknown error code 31000");
    }

    #[test]
    fn dispositions_follow_the_kind_of_trouble() {
        assert_eq!(Code::NONE.disposition(), Disposition::Done);
        assert_eq!(Code::NOT_LEADER_OR_FOLLOWER.disposition(), Disposition::RefreshMetadata);
        assert_eq!(Code::NOT_COORDINATOR.disposition(), Disposition::FindCoordinator);
        assert_eq!(Code::REQUEST_TIMED_OUT.disposition(), Disposition::Retry);
        assert_eq!(Code::MESSAGE_TOO_LARGE.disposition(), Disposition::Fail);
        assert!(!Code::NONE.is_retriable());
        assert_eq!(format!("{:?}", Code::NOT_CONTROLLER), "NOT_CONTROLLER (41)");
    }
}

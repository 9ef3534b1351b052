//! The requests by name, for rules and for the journal.

use std::fmt;

use crate::wire::versions::ApiKey;

macro_rules! apis {
    ($($name:ident,)*) => {
        /// A kind of request that the embedded cluster answers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Api {
            $(#[doc = concat!("`", stringify!($name), "`.")] $name,)*
        }

        impl Api {
            pub(crate) fn of(key: ApiKey) -> Self {
                match key {
                    $(ApiKey::$name => Self::$name,)*
                }
            }

            fn key(self) -> ApiKey {
                match self {
                    $(Self::$name => ApiKey::$name,)*
                }
            }
        }
    };
}

apis! {
    AddOffsetsToTxn,
    AddPartitionsToTxn,
    ApiVersions,
    ConsumerGroupHeartbeat,
    CreateTopics,
    DeleteTopics,
    DescribeCluster,
    DescribeGroups,
    EndTxn,
    Fetch,
    FindCoordinator,
    Heartbeat,
    InitProducerId,
    JoinGroup,
    LeaveGroup,
    ListGroups,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    OffsetForLeaderEpoch,
    Produce,
    ShareAcknowledge,
    ShareFetch,
    ShareGroupHeartbeat,
    SyncGroup,
    TxnOffsetCommit,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(f)
    }
}

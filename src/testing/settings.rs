//! What a cluster's brokers are set to, and what the embedded cluster limits itself to.

use std::time::Duration;

/// Settings of the brokers of an embedded cluster. The defaults are those of a Kafka 4.4 broker, but for
/// [`group_initial_rebalance_delay`](Self::group_initial_rebalance_delay), which would only make tests wait, and
/// [`auto_create_topics`](Self::auto_create_topics), which hides misspelt names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Whether a metadata request may create a topic (`auto.create.topics.enable`). Default: no.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is created without saying how many (`num.partitions`). Default: 1.
    pub default_partitions: i32,
    /// Replicas of a topic that is created without saying how many (`default.replication.factor`), at most as many
    /// as there are nodes. Default: 3.
    pub default_replication_factor: i16,
    /// How many replicas must be alive for a write with `acks=all` (`min.insync.replicas`). Default: 1.
    pub min_insync_replicas: i16,
    /// The largest record batch in bytes (`message.max.bytes`). Default: 1,048,588.
    pub message_max_bytes: i32,
    /// The most that one fetch answers, in bytes (`fetch.max.bytes`). Default: 55 MiB.
    pub fetch_max_bytes: i32,
    /// How long a group that was empty waits for more members before its first generation
    /// (`group.initial.rebalance.delay.ms`). Default: none; Kafka's is 3 s.
    pub group_initial_rebalance_delay: Duration,
    /// The shortest session timeout of a group member (`group.min.session.timeout.ms`). Default: 6 s.
    pub group_min_session_timeout: Duration,
    /// The longest session timeout of a group member (`group.max.session.timeout.ms`). Default: 30 min.
    pub group_max_session_timeout: Duration,
    /// The most members of a group (`group.max.size`). Default: 1,000; Kafka's is not bounded.
    pub group_max_size: usize,
    /// The finalized level of the feature `group.version`, 0 or 1: at 1, the coordinators of groups speak the consumer
    /// protocol too (KIP-848). Default: 1.
    pub group_version: u8,
    /// Whether a member under the consumer protocol may commit in an older epoch what it has had since then, as on Kafka
    /// from 4.3 on (KIP-1251), or is refused with `STALE_MEMBER_EPOCH`. Default: yes.
    pub group_assignment_epochs: bool,
    /// After how long without a heartbeat a member under the consumer protocol is taken for dead
    /// (`group.consumer.session.timeout.ms`). Default: 45 s.
    pub group_consumer_session_timeout: Duration,
    /// How often members under the consumer protocol let themselves be heard
    /// (`group.consumer.heartbeat.interval.ms`). Default: 5 s.
    pub group_consumer_heartbeat_interval: Duration,
    /// The finalized level of the feature `share.version`, 0 to 2: from 1 on, the brokers serve share groups (KIP-932).
    /// Default: 2.
    pub share_version: u8,
    /// Whether a share group begins with the oldest record of a partition that it has not read yet, or with the next
    /// one that is written (`share.auto.offset.reset` of the group, `earliest` or `latest`). Default: with the next one.
    pub share_from_earliest: bool,
    /// After how long without a heartbeat a member of a share group is taken for dead
    /// (`group.share.session.timeout.ms`). Default: 45 s.
    pub share_session_timeout: Duration,
    /// How often members of share groups let themselves be heard (`group.share.heartbeat.interval.ms`). Default: 5 s.
    pub share_heartbeat_interval: Duration,
    /// The most members of a share group (`group.share.max.size`). Default: 200.
    pub share_group_max_size: usize,
    /// The most share sessions of one node (`group.share.max.share.sessions`). Default: 2,000.
    pub share_sessions: usize,
    /// How long a member of a share group may take over a record before it goes to another
    /// (`group.share.record.lock.duration.ms`). Default: 30 s.
    pub share_lock_timeout: Duration,
    /// How often a share group delivers a record before it gives up (`group.share.delivery.count.limit`). Default: 5.
    pub share_delivery_limit: u16,
    /// How many records of one partition a share group has in flight before it delivers no further ones
    /// (`group.share.partition.max.record.locks`); a batch that is begun is delivered whole. Default: 2,000.
    pub share_max_locks: usize,
    /// The longest text beside a committed offset, in bytes (`offset.metadata.max.bytes`). Default: 4,096.
    pub offset_metadata_max_bytes: usize,
    /// The most fetch sessions of one node (`max.incremental.fetch.session.cache.slots`). Default: 1,000.
    pub fetch_sessions: usize,
    /// Whether a leader sends consumers that say where they are to a replica in the same rack, if there is one
    /// (`replica.selector.class`, with Kafka's own `RackAwareReplicaSelector`; KIP-392). Default: no.
    pub rack_aware_replicas: bool,
    /// The longest that a producer may ask the coordinator to leave its transaction open
    /// (`transaction.max.timeout.ms`). Default: 15 min.
    pub transaction_max_timeout: Duration,
    /// The finalized level of the feature `transaction.version`, 0 to 2: at 2, producers end transactions in the second
    /// way (KIP-890). The cluster answers every version of a request as Kafka does, whatever is finalized. Default: 2.
    pub transaction_version: u8,
    /// How long after the end of a transaction was answered its markers are written. Kafka has no such setting: it is as
    /// quick as it can. Default: at once.
    pub transaction_marker_delay: Duration,
}

impl Settings {
    /// The newest version of transactions.
    #[cfg(feature = "net")]
    pub(super) const MAX_TRANSACTION_VERSION: u8 = 2;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto_create_topics: false,
            default_partitions: 1,
            default_replication_factor: 3,
            min_insync_replicas: 1,
            message_max_bytes: 1_048_588,
            fetch_max_bytes: 55 * 1024 * 1024,
            group_initial_rebalance_delay: Duration::ZERO,
            group_min_session_timeout: Duration::from_secs(6),
            group_max_session_timeout: Duration::from_secs(30 * 60),
            group_max_size: 1_000,
            group_version: 1,
            group_assignment_epochs: true,
            group_consumer_session_timeout: Duration::from_secs(45),
            group_consumer_heartbeat_interval: Duration::from_secs(5),
            share_version: 2,
            share_from_earliest: false,
            share_session_timeout: Duration::from_secs(45),
            share_heartbeat_interval: Duration::from_secs(5),
            share_group_max_size: 200,
            share_sessions: 2_000,
            share_lock_timeout: Duration::from_secs(30),
            share_delivery_limit: 5,
            share_max_locks: 2_000,
            offset_metadata_max_bytes: 4_096,
            fetch_sessions: 1_000,
            rack_aware_replicas: false,
            transaction_max_timeout: Duration::from_secs(15 * 60),
            transaction_version: 2,
            transaction_marker_delay: Duration::ZERO,
        }
    }
}

/// What an embedded cluster holds at most, so that a client gone wild ends in an error and not in the machine's memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections to all nodes; one more is closed at once. Default: 10,000.
    pub connections: usize,
    /// Requests of one connection that wait behind the one being answered; one more closes it. Default: 1,024.
    pub queued_requests: usize,
    /// The largest request in bytes (`socket.request.max.bytes`); a larger one closes the connection. Default: 100 MiB.
    pub frame_bytes: usize,
    /// Topics; creating one more fails with `POLICY_VIOLATION`. Default: 10,000.
    pub topics: usize,
    /// Partitions of one topic; more fail with `INVALID_PARTITIONS`. Default: 10,000.
    pub partitions_per_topic: usize,
    /// Bytes in all logs together; a write beyond fails with `KAFKA_STORAGE_ERROR`. Default: 2 GiB.
    pub log_bytes: usize,
    /// What a compressed batch may grow to when it is checked, in bytes. Default: 128 MiB.
    pub decompressed_batch_bytes: usize,
    /// Producers whose sequences one partition remembers; the one that was silent longest is forgotten. Default: 10,000.
    pub producers_per_partition: usize,
    /// Groups; joining one more fails with `GROUP_MAX_SIZE_REACHED`. Default: 10,000.
    pub groups: usize,
    /// Offsets that one group has committed; committing for more partitions fails with `POLICY_VIOLATION`.
    /// Default: 100,000.
    pub offsets_per_group: usize,
    /// Transactional ids; beginning with one more fails with `POLICY_VIOLATION`. Default: 10,000.
    pub transactional_ids: usize,
    /// Requests that the journal remembers; the oldest is forgotten. Default: 100,000.
    pub journal_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            queued_requests: 1_024,
            frame_bytes: 100 * 1024 * 1024,
            topics: 10_000,
            partitions_per_topic: 10_000,
            log_bytes: 2 * 1024 * 1024 * 1024 - 1,
            decompressed_batch_bytes: 128 * 1024 * 1024,
            producers_per_partition: 10_000,
            groups: 10_000,
            offsets_per_group: 100_000,
            transactional_ids: 10_000,
            journal_entries: 100_000,
        }
    }
}

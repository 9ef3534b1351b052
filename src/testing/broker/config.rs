//! What topics are set to.

use crate::testing::settings::Settings;
use crate::wire::batch::TimestampType;
use crate::wire::str::Str;

/// What a topic is set to. Settings that the broker does not act on are kept as they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicConfig {
    /// `max.message.bytes`.
    pub(super) max_message_bytes: Option<i32>,
    /// `min.insync.replicas`.
    pub(super) min_insync_replicas: Option<i16>,
    /// `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    timestamp_before_ms: Option<i64>,
    timestamp_after_ms: Option<i64>,
    /// `message.timestamp.type` is `LogAppendTime`.
    log_append_time: bool,
    /// `cleanup.policy` has `compact`: records need keys. It is compacted when that is asked for.
    pub(super) compacted: bool,
    /// All that was given, by name.
    given: Vec<(Str, Str)>,
}

/// `ConfigSource` of the protocol: set on the topic, for all brokers of the cluster, or nowhere.
const FROM_TOPIC: i8 = 1;
const FROM_CLUSTER: i8 = 3;
const DEFAULT: i8 = 5;

/// How far a timestamp may lie in the future where nothing else is said.
const FUTURE_MS: i64 = 3_600_000;

/// What a setting may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bool,
    /// A number from one to another.
    Number(i64, i64),
    Fraction,
    One(&'static [&'static str]),
    Some(&'static [&'static str]),
    Text,
}

impl TopicConfig {
    /// Takes a setting, or says why not.
    pub(super) fn set(&mut self, name: &Str, value: &Str) -> Result<(), String> {
        let known = KNOWN.iter().find(|(known, ..)| *known == name.as_str());
        let (_, _, kind) = known.ok_or_else(|| format!("unknown topic config name: {name}"))?;
        if !kind.takes(value) {
            return Err(format!("invalid value {value} for configuration {name}"));
        }
        match name.as_str() {
            "max.message.bytes" => self.max_message_bytes = value.parse().ok(),
            "min.insync.replicas" => self.min_insync_replicas = value.parse().ok(),
            "message.timestamp.before.max.ms" => self.timestamp_before_ms = value.parse().ok(),
            "message.timestamp.after.max.ms" => self.timestamp_after_ms = value.parse().ok(),
            "message.timestamp.type" => self.log_append_time = value.as_str() == "LogAppendTime",
            "cleanup.policy" => self.compacted = value.split(',').any(|policy| policy.trim() == "compact"),
            _ => {}
        }
        self.given.retain(|(given, _)| given != name);
        self.given.push((name.clone(), value.clone()));
        Ok(())
    }

    pub(super) fn timestamps(&self) -> TimestampType {
        if self.log_append_time { TimestampType::LogAppend } else { TimestampType::Create }
    }

    /// The times that records may have at a wall time.
    pub(super) fn allowed_times(&self, unix_ms: i64) -> (i64, i64) {
        let before = self.timestamp_before_ms.unwrap_or(i64::MAX);
        let after = self.timestamp_after_ms.unwrap_or(FUTURE_MS);
        (unix_ms.saturating_sub(before), unix_ms.saturating_add(after))
    }

    /// All settings of a topic, with their values and where these come from.
    pub(super) fn all(&self, settings: &Settings) -> impl Iterator<Item = (&'static str, Str, i8)> {
        KNOWN.iter().map(move |&(name, default, _)| {
            match (self.given.iter().find(|(given, _)| given.as_str() == name), name) {
                (Some((_, value)), _) => (name, value.clone(), FROM_TOPIC),
                (None, "max.message.bytes") => (name, settings.message_max_bytes.to_string().into(), DEFAULT),
                // A cluster with eligible leader replicas (KIP-966) keeps this one for all its brokers.
                (None, "min.insync.replicas") => {
                    (name, settings.min_insync_replicas.to_string().into(), FROM_CLUSTER)
                }
                (None, _) => (name, default.into(), DEFAULT),
            }
        })
    }
}

impl Kind {
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Bool => matches!(value.to_ascii_lowercase().as_str(), "true" | "false"),
            Self::Number(min, max) => {
                value.trim().parse::<i64>().is_ok_and(|number| (min..=max).contains(&number))
            }
            Self::Fraction => value.trim().parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number)),
            Self::One(values) => values.contains(&value),
            Self::Some(values) => value.split(',').all(|value| values.contains(&value.trim())),
            Self::Text => true,
        }
    }
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// The settings of a Kafka 4.4 topic, their defaults, and what they may be.
const KNOWN: &[(&str, &str, Kind)] = &[
    ("cleanup.policy", "delete", Kind::Some(&["compact", "delete"])),
    ("compression.gzip.level", "-1", Kind::Number(-1, 9)),
    ("compression.lz4.level", "9", Kind::Number(1, 17)),
    ("compression.type", "producer", Kind::One(CODECS)),
    ("compression.zstd.level", "3", Kind::Number(-131_072, 22)),
    ("delete.retention.ms", "86400000", Kind::Number(0, LONG)),
    ("errors.deadletterqueue.group.enable", "false", Kind::Bool),
    ("file.delete.delay.ms", "60000", Kind::Number(0, LONG)),
    ("flush.messages", "9223372036854775807", Kind::Number(1, LONG)),
    ("flush.ms", "9223372036854775807", Kind::Number(0, LONG)),
    ("follower.replication.throttled.replicas", "", Kind::Text),
    ("index.interval.bytes", "4096", Kind::Number(0, INT)),
    ("leader.replication.throttled.replicas", "", Kind::Text),
    ("local.retention.bytes", "-2", Kind::Number(-2, LONG)),
    ("local.retention.ms", "-2", Kind::Number(-2, LONG)),
    ("max.compaction.lag.ms", "9223372036854775807", Kind::Number(1, LONG)),
    ("max.decompressed.message.bytes", "2147483639", Kind::Number(0, INT)),
    ("max.message.bytes", "1048588", Kind::Number(0, INT)),
    ("message.timestamp.after.max.ms", "3600000", Kind::Number(0, LONG)),
    ("message.timestamp.before.max.ms", "9223372036854775807", Kind::Number(0, LONG)),
    ("message.timestamp.type", "CreateTime", Kind::One(&["CreateTime", "LogAppendTime"])),
    ("min.cleanable.dirty.ratio", "0.5", Kind::Fraction),
    ("min.compaction.lag.ms", "0", Kind::Number(0, LONG)),
    ("min.insync.replicas", "1", Kind::Number(1, i16::MAX as i64)),
    ("preallocate", "false", Kind::Bool),
    ("remote.copy.lag.bytes", "-1", Kind::Number(-2, LONG)),
    ("remote.copy.lag.ms", "0", Kind::Number(-2, LONG)),
    ("remote.log.copy.disable", "false", Kind::Bool),
    ("remote.log.delete.on.disable", "false", Kind::Bool),
    ("remote.storage.enable", "false", Kind::Bool),
    ("retention.bytes", "-1", Kind::Number(i64::MIN, LONG)),
    ("retention.ms", "604800000", Kind::Number(-1, LONG)),
    ("segment.bytes", "1073741824", Kind::Number(1_048_576, INT)),
    ("segment.index.bytes", "10485760", Kind::Number(4, INT)),
    ("segment.jitter.ms", "0", Kind::Number(0, LONG)),
    ("segment.ms", "604800000", Kind::Number(1, LONG)),
    ("unclean.leader.election.enable", "false", Kind::Bool),
];

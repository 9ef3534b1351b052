//! What Java's properties mean to milena.

use std::{fmt, time::Duration};

use milena::{
    Acks, Compression, Config, ConsumerBuilder, GroupProtocol, Isolation, OnOutOfRange, Position,
    ProducerBuilder,
};

use super::properties::Properties;

/// Settings that were understood, for a `T` that is made later.
pub(crate) struct Changes<T>(Vec<Change<T>>);

type Change<T> = Box<dyn FnOnce(T) -> T + Send + Sync>;

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: 'static> Changes<T> {
    pub(crate) fn apply(self, to: T) -> T {
        self.0.into_iter().fold(to, |to, change| change(to))
    }

    pub(crate) fn push(&mut self, change: impl FnOnce(T) -> T + Send + Sync + 'static) {
        self.0.push(Box::new(change));
    }

    /// Takes one property.
    fn take<V: Send + Sync + 'static>(
        &mut self,
        properties: &mut Properties,
        key: &'static str,
        parse: fn(&str) -> Result<V, String>,
        change: fn(T, V) -> T,
    ) {
        if let Some(value) = properties.take(key, parse) {
            self.push(move |to| change(to, value));
        }
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Changes").field(&self.0.len()).finish()
    }
}

/// What concerns the client as a whole.
pub(crate) fn client(properties: &mut Properties) -> Changes<Config> {
    let mut changes = Changes::default();
    let mut set = |key, change: fn(Config, Duration) -> Config| {
        changes.take(properties, key, millis, change);
    };
    set("request.timeout.ms", Config::request_timeout);
    set("socket.connection.setup.timeout.ms", Config::connect_timeout);
    set("metadata.max.age.ms", Config::metadata_max_age);
    set("connections.max.idle.ms", Config::connections_max_idle);
    changes.take(properties, "client.id", text, |config, id| config.client_id(id));
    changes.take(properties, "client.rack", text, |config, rack| config.client_rack(rack));
    changes.take(properties, "receive.message.max.bytes", number, Config::receive_message_max_bytes);
    let pairs = [
        (
            "reconnect.backoff.ms",
            "reconnect.backoff.max.ms",
            [50, 5_000].map(Duration::from_millis),
            Config::reconnect_backoff as SetBackoff,
        ),
        (
            "retry.backoff.ms",
            "retry.backoff.max.ms",
            [100, 1_000].map(Duration::from_millis),
            Config::retry_backoff as SetBackoff,
        ),
    ];
    for (first, last, defaults, set) in pairs {
        let given = [properties.take(first, millis), properties.take(last, millis)];
        if given.iter().any(Option::is_some) {
            let [first, last] = [0, 1].map(|at| given[at].unwrap_or(defaults[at]));
            changes.push(move |config| set(config, first, last.max(first)));
        }
    }
    security(properties);
    changes
}

type SetBackoff = fn(Config, Duration, Duration) -> Config;

/// TLS and SASL, which the client does not have, and what the command line says.
fn security(properties: &mut Properties) {
    properties.take("security.protocol", |value| match value {
        "PLAINTEXT" => Ok(()),
        _ => Err(format!("{value} is not supported; milena has neither TLS nor SASL yet")),
    });
    for prefix in ["sasl.", "ssl."] {
        properties.refuse(prefix, "not supported; milena has neither TLS nor SASL yet");
    }
    properties.refuse("bootstrap.servers", "give it as --bootstrap-server");
}

/// What concerns a producer.
pub(crate) fn producer(properties: &mut Properties) -> Changes<ProducerBuilder> {
    let mut changes = Changes::default();
    changes.take(properties, "acks", acks, ProducerBuilder::acks);
    changes.take(properties, "enable.idempotence", boolean, ProducerBuilder::idempotence);
    changes.take(properties, "linger.ms", millis, ProducerBuilder::linger);
    changes.take(properties, "delivery.timeout.ms", millis, ProducerBuilder::delivery_timeout);
    changes.take(properties, "max.block.ms", millis, ProducerBuilder::max_block);
    changes.take(properties, "batch.size", number, ProducerBuilder::batch_size);
    changes.take(properties, "buffer.memory", number, ProducerBuilder::buffer_memory);
    changes.take(properties, "max.request.size", number, ProducerBuilder::max_request_size);
    let in_flight = "max.in.flight.requests.per.connection";
    changes.take(properties, in_flight, number, ProducerBuilder::max_in_flight);
    changes.take(properties, "compression.type", compression, ProducerBuilder::compression);
    if properties.take("retries", number::<u32>).is_some_and(|retries| retries < i32::MAX.unsigned_abs()) {
        tracing::warn!("retries is not kept: milena tries until delivery.timeout.ms has passed");
    }
    for transactions in ["transactional.id", "transaction."] {
        properties.refuse(transactions, "give it as --transactional-id or --transaction-timeout");
    }
    changes
}

/// What concerns a consumer, except for what the command line says.
pub(crate) fn consumer(properties: &mut Properties) -> Changes<ConsumerBuilder> {
    let mut changes = Changes::default();
    changes.take(properties, "isolation.level", isolation, ConsumerBuilder::isolation);
    changes.take(properties, "heartbeat.interval.ms", millis, ConsumerBuilder::heartbeat_interval);
    changes.take(properties, "max.poll.interval.ms", millis, ConsumerBuilder::max_poll_interval);
    changes.take(properties, "fetch.min.bytes", number, ConsumerBuilder::fetch_min_bytes);
    changes.take(properties, "fetch.max.wait.ms", millis, ConsumerBuilder::fetch_max_wait);
    changes.take(properties, "fetch.max.bytes", number, ConsumerBuilder::fetch_max_bytes);
    changes.take(properties, "max.partition.fetch.bytes", number, ConsumerBuilder::partition_max_bytes);
    if properties.take("check.crcs", boolean) == Some(false) {
        tracing::warn!("check.crcs is not kept: milena always checks");
    }
    for (key, option) in [
        ("auto.offset.reset", "--reset-policy"),
        ("enable.auto.commit", "--enable-autocommit"),
        ("group.", "--group-id, --group-instance-id, --group-protocol or --group-remote-assignor"),
        ("partition.assignment.strategy", "--assignment-strategy"),
        ("session.timeout.ms", "--session-timeout"),
    ] {
        properties.refuse(key, &format!("give it as {option}"));
    }
    changes
}

/// Where a group starts that has committed nothing, and what to do when an offset is gone.
pub(crate) fn reset_policy(value: &str) -> Result<(Position, OnOutOfRange), String> {
    match value {
        "earliest" => Ok((Position::Earliest, OnOutOfRange::Earliest)),
        "latest" => Ok((Position::Latest, OnOutOfRange::Latest)),
        "none" => Ok((Position::Committed, OnOutOfRange::Fail)),
        _ => Err(format!("{value}: must be earliest, latest or none")),
    }
}

/// Java's names of the protocols.
pub(crate) fn group_protocol(value: &str) -> Result<GroupProtocol, String> {
    match value.to_ascii_lowercase().as_str() {
        "classic" => Ok(GroupProtocol::Classic),
        "consumer" => Ok(GroupProtocol::Consumer),
        _ => Err(format!("{value}: must be classic or consumer")),
    }
}

pub(crate) fn acks(value: &str) -> Result<Acks, String> {
    match value {
        "-1" | "all" => Ok(Acks::All),
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        _ => Err(format!("{value}: must be -1, 0 or 1")),
    }
}

fn compression(value: &str) -> Result<Compression, String> {
    match value {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::gzip(6)),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::zstd(3)),
        _ => Err(format!("{value}: must be none, gzip, snappy, lz4 or zstd")),
    }
}

fn isolation(value: &str) -> Result<Isolation, String> {
    match value {
        "read_committed" => Ok(Isolation::ReadCommitted),
        "read_uncommitted" => Ok(Isolation::ReadUncommitted),
        _ => Err(format!("{value}: must be read_committed or read_uncommitted")),
    }
}

fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

fn boolean(value: &str) -> Result<bool, String> {
    value.trim().to_ascii_lowercase().parse().map_err(|_| format!("{value}: must be true or false"))
}

pub(crate) fn number<T: std::str::FromStr<Err: fmt::Display>>(value: &str) -> Result<T, String> {
    value.trim().parse().map_err(|error| format!("{value}: {error}"))
}

fn millis(value: &str) -> Result<Duration, String> {
    number(value).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn problems(text: &str, take: impl FnOnce(&mut Properties)) -> String {
        let mut properties = Properties::parse(text);
        client(&mut properties);
        take(&mut properties);
        properties.end().err().unwrap_or_default()
    }

    fn of_producer(text: &str) -> String {
        problems(text, |properties| drop(producer(properties)))
    }

    fn of_consumer(text: &str) -> String {
        problems(text, |properties| drop(consumer(properties)))
    }

    #[test]
    fn what_milena_has_is_taken() {
        let common =
            "client.id=x\nrequest.timeout.ms=1000\nsecurity.protocol=PLAINTEXT\nretry.backoff.ms=5\n";
        let producer = "delivery.timeout.ms=3000\nenable.idempotence=TRUE\nacks=all\nretries=7\n\
                        compression.type=zstd\nlinger.ms=0\nbatch.size=16384\n";
        assert_eq!(of_producer(&format!("{common}{producer}")), "");
        let consumer = "isolation.level=read_committed\ncheck.crcs=true\nfetch.min.bytes=1\n";
        assert_eq!(of_consumer(&format!("{common}{consumer}")), "");
    }

    #[test]
    fn a_change_reaches_its_setting() {
        let mut properties = Properties::parse("client.id=changed\nreconnect.backoff.ms=7");
        let config = client(&mut properties).apply(Config::new(["a:1"]));
        let shown = format!("{config:?}");
        assert!(shown.contains("\"changed\"") && shown.contains("reconnect_backoff: 7ms"), "{shown}");
    }

    #[test]
    fn what_milena_lacks_is_refused_with_the_reason() {
        for (text, reason) in [
            ("security.protocol=SASL_SSL", "neither TLS nor SASL"),
            ("sasl.jaas.config=secret", "neither TLS nor SASL"),
            ("ssl.ca.location=ca.pem", "neither TLS nor SASL"),
            ("bootstrap.servers=a:1", "--bootstrap-server"),
            ("transactional.id=x", "give it as --transactional-id"),
            ("acks=2", "must be -1, 0 or 1"),
            ("lingerms=5", "the nearest is linger.ms"),
        ] {
            let told = of_producer(text);
            assert!(told.contains(reason) && !told.contains("secret"), "{text}: {told}");
        }
        for (text, reason) in [
            ("group.protocol=consumer", "--group-protocol"),
            ("auto.offset.reset=latest", "--reset-policy"),
            ("isolation.levle=read_committed", "the nearest is isolation.level"),
        ] {
            assert!(of_consumer(text).contains(reason), "{text}: {}", of_consumer(text));
        }
    }
}

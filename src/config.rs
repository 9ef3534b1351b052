//! Settings of the client as a whole: where the cluster is, and how patient to be with it.

use std::time::Duration;

use crate::error::{ConfigProblem, Error, ErrorKind};

/// Settings of a client. The bootstrap list is the only one that must be given; setters chain by value.
///
/// ```
/// use milena::Config;
/// use std::time::Duration;
/// let config = Config::new(["kafka-1:9092", "kafka-2:9092"])
///     .client_id("orders")
///     .request_timeout(Duration::from_secs(10));
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) bootstrap: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) bootstrap_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) reconnect_backoff: Duration,
    pub(crate) reconnect_backoff_max: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
    pub(crate) metadata_max_age: Duration,
    pub(crate) connections_max_idle: Duration,
    pub(crate) receive_message_max_bytes: usize,
    pub(crate) client_rack: Option<String>,
}

impl Config {
    /// Settings with their defaults, for the cluster that these brokers (`host:port`) belong to. Not all of the
    /// cluster's brokers need to be listed; two or three guard against one being down.
    pub fn new(bootstrap: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: "milena".to_owned(),
            bootstrap_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(5),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
            connections_max_idle: Duration::from_secs(540),
            receive_message_max_bytes: 100 << 20,
            client_rack: None,
        }
    }

    /// The name that brokers see in their logs, metrics and quotas, at most 32,767 bytes. Default `milena`. Java:
    /// `client.id`.
    #[must_use]
    pub fn client_id(self, id: impl Into<String>) -> Self {
        Self { client_id: id.into(), ..self }
    }

    /// How long `Client::connect` waits for the first broker that answers, more than 0. A silent
    /// address takes no more than its share of it, so that every address is tried. Default 60 s.
    #[must_use]
    pub fn bootstrap_timeout(self, timeout: Duration) -> Self {
        Self { bootstrap_timeout: timeout, ..self }
    }

    /// How long one connection may take to be established, up to and including the first answer; more than 0. It
    /// grows to 30 s while attempts fail. Default 10 s.
    /// Java: `socket.connection.setup.timeout.ms`.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// How long one request may take, more than 0. A connection on which an answer is overdue is closed. Default 30 s. Java:
    /// `request.timeout.ms`.
    #[must_use]
    pub fn request_timeout(self, timeout: Duration) -> Self {
        Self { request_timeout: timeout, ..self }
    }

    /// The wait before a broker is connected to again: `first`, doubled after each failure up to `max`, each
    /// ± 20 %; 0 < `first` <= `max`. Default 50 ms and 5 s. Java: `reconnect.backoff.ms`, `reconnect.backoff.max.ms`.
    #[must_use]
    pub fn reconnect_backoff(self, first: Duration, max: Duration) -> Self {
        Self { reconnect_backoff: first, reconnect_backoff_max: max, ..self }
    }

    /// The wait before a request is made again, likewise. Default 100 ms and 1 s (KIP-580). Java:
    /// `retry.backoff.ms`, `retry.backoff.max.ms`.
    #[must_use]
    pub fn retry_backoff(self, first: Duration, max: Duration) -> Self {
        Self { retry_backoff: first, retry_backoff_max: max, ..self }
    }

    /// How old the view of the cluster may grow before it is refreshed without a reason, more than 0.
    /// Default 5 min. Java:
    /// `metadata.max.age.ms`.
    #[must_use]
    pub fn metadata_max_age(self, age: Duration) -> Self {
        Self { metadata_max_age: age, ..self }
    }

    /// How long a connection may be idle before it is closed, more than 0; the next call opens it again unnoticed. Default
    /// 9 min, a little less than a broker's own 10. Java: `connections.max.idle.ms`.
    #[must_use]
    pub fn connections_max_idle(self, idle: Duration) -> Self {
        Self { connections_max_idle: idle, ..self }
    }

    /// The longest answer that is taken from a broker, in bytes, 1 MiB or more. A longer one closes the connection.
    /// Default 100 MiB. librdkafka: `receive.message.max.bytes`.
    #[must_use]
    pub fn receive_message_max_bytes(self, bytes: usize) -> Self {
        Self { receive_message_max_bytes: bytes, ..self }
    }

    /// Where this client is, in the words in which the brokers say it of themselves (`broker.rack`): a zone of a cloud,
    /// mostly. Consumers then read from replicas in the same rack, if the brokers have a `replica.selector.class` that
    /// knows racks (KIP-392). Default: not known. Java: `client.rack`.
    #[must_use]
    pub fn client_rack(self, rack: impl Into<String>) -> Self {
        Self { client_rack: Some(rack.into()), ..self }
    }

    /// All problems at once.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut problems = Problems::default();
        if self.bootstrap.is_empty() {
            problems.add("bootstrap", &"", "it lists no broker; give at least one host:port");
        }
        for address in &self.bootstrap {
            if let Err(reason) = split_address(address) {
                problems.add("bootstrap", address, reason);
            }
        }
        if self.client_id.len() > MAX_NAME {
            let reason =
                format!("it is {} bytes long; the protocol has room for {MAX_NAME}", self.client_id.len());
            problems.add("client_id", &shortened(&self.client_id), reason);
        }
        for (setting, value) in [
            ("bootstrap_timeout", self.bootstrap_timeout),
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("metadata_max_age", self.metadata_max_age),
            ("connections_max_idle", self.connections_max_idle),
        ] {
            if value.is_zero() {
                problems.add(setting, &format!("{value:?}"), "it must be more than 0");
            }
        }
        for (setting, first, max) in [
            ("reconnect_backoff", self.reconnect_backoff, self.reconnect_backoff_max),
            ("retry_backoff", self.retry_backoff, self.retry_backoff_max),
        ] {
            if first.is_zero() || first > max {
                problems.add(setting, &format!("{first:?} up to {max:?}"), "0 < first <= max must hold");
            }
        }
        if self.receive_message_max_bytes < 1 << 20 {
            let value = self.receive_message_max_bytes.to_string();
            problems.add("receive_message_max_bytes", &value, "it must be 1 MiB or more");
        }
        problems.into_result()
    }
}

/// The longest name, in bytes, that every version of the protocol has room for.
pub(crate) const MAX_NAME: usize = 32_767;

/// What a response holds besides records.
pub(crate) const FRAME_ROOM: usize = 64 << 10;

/// The beginning of a text that is too long to be shown.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(40).chain("…".chars()).collect()
}

/// Collects what is wrong with a set of settings.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<ConfigProblem>);

impl Problems {
    pub(crate) fn add(
        &mut self,
        setting: &'static str,
        value: &(impl ToString + ?Sized),
        reason: impl Into<String>,
    ) {
        self.0.push(ConfigProblem { setting, value: value.to_string(), reason: reason.into() });
    }

    /// The name of a group of any protocol.
    pub(crate) fn check_group(&mut self, group: &str) {
        if group.is_empty() {
            self.add("group", "", "a group has a name");
        }
        if group.len() > MAX_NAME {
            let reason = format!("it is {} bytes long; the protocol has room for {MAX_NAME}", group.len());
            self.add("group", &shortened(group), reason);
        }
    }

    /// What a broker is told of the answers to fetches.
    pub(crate) fn check_fetch(
        &mut self,
        config: &Config,
        fetch_min_bytes: i32,
        fetch_max_wait: Duration,
        fetch_max_bytes: usize,
    ) {
        if fetch_min_bytes < 1 {
            self.add("fetch_min_bytes", &fetch_min_bytes, "it must be 1 or more");
        }
        if fetch_max_wait > config.request_timeout {
            let value = format!("{fetch_max_wait:?}");
            let reason = format!("it must not exceed request_timeout, which is {:?}", config.request_timeout);
            self.add("fetch_max_wait", &value, reason);
        }
        let receive = config.receive_message_max_bytes;
        if fetch_max_bytes < 1 || fetch_max_bytes.saturating_add(FRAME_ROOM) > receive {
            let reason = format!(
                "it must be 1 or more, and {FRAME_ROOM} less than receive_message_max_bytes, which is {receive}"
            );
            self.add("fetch_max_bytes", &fetch_max_bytes, reason);
        }
    }

    pub(crate) fn into_result(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(ErrorKind::Config { problems: self.0 }.into()) }
    }
}

/// Splits `host:port`; an IPv6 address stands in brackets. Java's `PROTOCOL://` in front is not taken.
pub(crate) fn split_address(address: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("the port is missing; write host:port")?;
    let port: u16 = port.parse().map_err(|_| "the port is not a number from 1 to 65535")?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match bare.unwrap_or(host) {
        _ if port == 0 => Err("the port is not a number from 1 to 65535"),
        "" => Err("the host is missing; write host:port"),
        h if h.contains('/') => Err("write host:port, with no scheme in front"),
        h if bare.is_none() && h.contains(':') => Err("an IPv6 address stands in brackets: [::1]:9092"),
        h => Ok((h, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_or_say_what_is_wrong() {
        assert_eq!(split_address("kafka:9092"), Ok(("kafka", 9092)));
        assert_eq!(split_address("[::1]:9092"), Ok(("::1", 9092)));
        for bad in ["", "kafka", "kafka:", "kafka:0", "kafka:70000", ":9092", "http://k:1", "::1:9092"] {
            assert!(split_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let config = Config::new([""; 0])
            .request_timeout(Duration::ZERO)
            .retry_backoff(Duration::from_secs(2), Duration::from_secs(1))
            .client_id("x".repeat(40_000))
            .receive_message_max_bytes(5);
        let settings = match config.check().map_err(|e| e.kind().clone()) {
            Err(ErrorKind::Config { problems }) => problems.iter().map(|p| p.setting).collect(),
            _ => Vec::new(),
        };
        assert_eq!(
            settings,
            ["bootstrap", "client_id", "request_timeout", "retry_backoff", "receive_message_max_bytes"]
        );
    }
}

//! How patient a link is, and what it lets through.

use std::time::Duration;

use crate::{
    config::Config,
    engine::{backoff::Backoff, machine::Purpose},
    wire::str::Str,
};

/// Settings of one link.
#[derive(Clone, Debug)]
pub(crate) struct LinkSettings {
    pub(crate) client_id: Str,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) reconnect: Backoff,
    pub(crate) max_idle: Duration,
    pub(crate) max_frame: usize,
    pub(crate) in_flight: usize,
}

impl LinkSettings {
    pub(crate) fn new(config: &Config, purpose: Purpose) -> Self {
        // Five batches of a partition are what a broker remembers of an idempotent producer. Elsewhere the limit
        // only bounds memory: brokers answer one request of a connection at a time.
        let in_flight = if purpose == Purpose::Produce { 5 } else { 100 };
        Self {
            client_id: Str::from(config.client_id.as_str()),
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
            reconnect: Backoff { first: config.reconnect_backoff, max: config.reconnect_backoff_max },
            max_idle: config.connections_max_idle,
            max_frame: config.receive_message_max_bytes,
            in_flight,
        }
    }
}

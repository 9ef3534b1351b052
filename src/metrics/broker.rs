//! What is counted for each broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    family::Series,
    histogram::{Histogram, Recorder},
};

/// What has passed between this client and one broker, over all connections to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerMetrics {
    /// Requests sent, those of the handshake too.
    pub requests: u64,
    /// Answers that came and could be read. A produce request that wants no answer counts as answered once it is
    /// written. Answers with an error code count as well.
    pub responses: u64,
    /// Calls that ended without an answer: time was up, the connection was lost or could not be made, the broker does
    /// not know the request.
    pub errors: u64,
    /// Requests that were sent and have no answer yet.
    pub in_flight: u64,
    /// From a request's being handed to the connection to its answer's being read; waiting for the connection, or
    /// behind a throttle, does not count.
    pub request_latency: Histogram,
    /// How long the broker has asked to be left alone because of a quota (KIP-124), in all.
    pub throttle_time: Duration,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Connections that were opened, whether or not the handshake on them succeeded.
    pub connections_opened: u64,
    /// Connections that ended. The difference is what is open now.
    pub connections_closed: u64,
    /// Attempts to connect that failed.
    pub connections_failed: u64,
}

/// The counters behind [`BrokerMetrics`].
#[derive(Debug, Default)]
pub(super) struct BrokerSeries {
    requests: AtomicU64,
    responses: AtomicU64,
    errors: AtomicU64,
    in_flight: AtomicU64,
    request_latency: Recorder,
    throttle_us: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connections_failed: AtomicU64,
}

impl Series for BrokerSeries {
    type Plain = BrokerMetrics;

    fn read(&self) -> BrokerMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerMetrics {
            requests: read(&self.requests),
            responses: read(&self.responses),
            errors: read(&self.errors),
            in_flight: read(&self.in_flight),
            request_latency: self.request_latency.read(),
            throttle_time: Duration::from_micros(read(&self.throttle_us)),
            bytes_out: read(&self.bytes_out),
            bytes_in: read(&self.bytes_in),
            connections_opened: read(&self.connections_opened),
            connections_closed: read(&self.connections_closed),
            connections_failed: read(&self.connections_failed),
        }
    }

    fn absorb(&self, counted: &BrokerMetrics) {
        add(&self.requests, counted.requests);
        add(&self.responses, counted.responses);
        add(&self.errors, counted.errors);
        add(&self.in_flight, counted.in_flight);
        self.request_latency.absorb(&counted.request_latency);
        add(&self.throttle_us, micros(counted.throttle_time));
        add(&self.bytes_out, counted.bytes_out);
        add(&self.bytes_in, counted.bytes_in);
        add(&self.connections_opened, counted.connections_opened);
        add(&self.connections_closed, counted.connections_closed);
        add(&self.connections_failed, counted.connections_failed);
    }
}

/// What the driver of one link counts with. When it is dropped, what it has opened is closed and what it has in flight
/// is not.
#[derive(Debug)]
pub(crate) struct LinkMeter {
    series: Arc<BrokerSeries>,
    in_flight: u64,
    is_open: bool,
}

impl LinkMeter {
    pub(super) fn new(series: Arc<BrokerSeries>) -> Self {
        Self { series, in_flight: 0, is_open: false }
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        add(&self.series.bytes_out, bytes as u64);
    }

    pub(crate) fn read(&self, bytes: usize) {
        add(&self.series.bytes_in, bytes as u64);
    }

    pub(crate) fn sent(&mut self) {
        self.in_flight += 1;
        add(&self.series.requests, 1);
        add(&self.series.in_flight, 1);
    }

    pub(crate) fn answered(&mut self, latency: Duration, throttle: Duration) {
        add(&self.series.responses, 1);
        self.series.request_latency.record(latency);
        if !throttle.is_zero() {
            add(&self.series.throttle_us, micros(throttle));
        }
        self.settle(1);
    }

    /// So many requests in flight will have no answer.
    pub(crate) fn unanswered(&mut self, requests: usize) {
        self.settle(requests as u64);
    }

    /// A call has ended without an answer.
    pub(crate) fn failed(&self) {
        add(&self.series.errors, 1);
    }

    pub(crate) fn opened(&mut self) {
        self.closed();
        self.is_open = true;
        add(&self.series.connections_opened, 1);
    }

    /// The connection has ended, if there was one.
    pub(crate) fn closed(&mut self) {
        if std::mem::take(&mut self.is_open) {
            add(&self.series.connections_closed, 1);
        }
    }

    pub(crate) fn could_not_open(&self) {
        add(&self.series.connections_failed, 1);
    }

    fn settle(&mut self, requests: u64) {
        let requests = requests.min(self.in_flight);
        self.in_flight -= requests;
        self.series.in_flight.fetch_sub(requests, Ordering::Relaxed);
    }
}

impl Drop for LinkMeter {
    fn drop(&mut self) {
        self.closed();
        self.settle(self.in_flight);
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_counts_into_its_brokers_series() {
        let series = Arc::new(BrokerSeries::default());
        let mut meter = LinkMeter::new(Arc::clone(&series));
        meter.could_not_open();
        meter.opened();
        meter.wrote(100);
        meter.read(30);
        for _ in 0..4 {
            meter.sent();
        }
        meter.answered(Duration::from_millis(3), Duration::from_millis(20));
        meter.unanswered(2);
        meter.failed();
        let mut counted = series.read();
        assert_eq!(counted.request_latency.max(), Duration::from_millis(3));
        counted.request_latency = Histogram::default();
        let expected = BrokerMetrics {
            requests: 4,
            responses: 1,
            errors: 1,
            in_flight: 1,
            throttle_time: Duration::from_millis(20),
            bytes_out: 100,
            bytes_in: 30,
            connections_opened: 1,
            connections_failed: 1,
            ..BrokerMetrics::default()
        };
        assert_eq!(counted, expected);
        drop(meter);
        assert_eq!((series.read().in_flight, series.read().connections_closed), (0, 1));
    }

    #[test]
    fn a_meter_counts_what_it_closes_once() {
        let series = Arc::new(BrokerSeries::default());
        let mut meter = LinkMeter::new(Arc::clone(&series));
        meter.closed();
        meter.opened();
        meter.opened();
        meter.closed();
        meter.closed();
        meter.unanswered(9);
        let counted = series.read();
        let connections = (counted.connections_opened, counted.connections_closed);
        assert_eq!((connections, counted.in_flight), ((2, 2), 0));
    }
}

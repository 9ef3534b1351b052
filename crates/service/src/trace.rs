//! Traces: the spans of handlers, and the context that records carry (W3C Trace Context).

use milena::Message;
use tracing::{Span, field};

use crate::{delivery::Delivery, headers::text, identity::Identity, outgoing::Outgoing};

/// The headers that say which trace a record belongs to. They are passed on as they are: who makes spans for
/// OpenTelemetry, takes them from the record.
const CARRIED: [&str; 2] = ["traceparent", "tracestate"];

/// The span of a delivery that is handled, with the names of OpenTelemetry's conventions for messaging.
pub(crate) fn process(delivery: &Delivery) -> Span {
    let message = delivery.message();
    let span = tracing::info_span!(
        "process",
        otel.name = field::Empty,
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = message.topic().as_str(),
        messaging.destination.partition.id = message.partition().0,
        messaging.consumer.group.name = delivery.group(),
        messaging.kafka.offset = message.offset().0,
        messaging.kafka.message.key = field::Empty,
        messaging.kafka.message.tombstone = field::Empty,
        messaging.message.id = field::Empty,
        messaging.batch.message_count = field::Empty,
        handler = delivery.handler(),
        attempt = delivery.attempt(),
        traceparent = field::Empty,
        error.r#type = field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    span.record("otel.name", format!("process {}", message.topic()));
    if let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) {
        span.record("messaging.kafka.message.key", key);
    }
    if message.value().is_none() {
        span.record("messaging.kafka.message.tombstone", true);
    }
    if delivery.len() > 1 {
        span.record("messaging.batch.message_count", delivery.len());
    }
    if let Identity::Event(_, id) = Identity::of(message) {
        span.record("messaging.message.id", &*id);
    }
    if let Some(value) = text(message, "traceparent") {
        span.record("traceparent", value);
    }
    span
}

/// The span of records that are published.
pub(crate) fn send(records: &[Outgoing]) -> Span {
    let Some(first) = records.first() else { return Span::none() };
    let span = tracing::info_span!(
        "send",
        otel.name = field::Empty,
        otel.kind = "producer",
        messaging.system = "kafka",
        messaging.operation.name = "send",
        messaging.operation.r#type = "send",
        messaging.destination.name = first.topic().as_str(),
        messaging.batch.message_count = field::Empty,
        error.r#type = field::Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("send {}", first.topic()));
        if records.len() > 1 {
            span.record("messaging.batch.message_count", records.len());
        }
    }
    span
}

/// What was to be done in a span has failed: the code of a broker says why, or `_OTHER`, as OpenTelemetry calls what has no
/// name of its own.
pub(crate) fn failed(span: &Span, error: &milena::Error) {
    if span.is_disabled() {
        return;
    }
    match error.code().and_then(|code| code.name()) {
        Some(name) => span.record("error.type", name),
        None => span.record("error.type", "_OTHER"),
    };
}

/// Passes the trace of a record on to what was published because of it, where that names none.
pub(crate) fn carry(published: &mut [Outgoing], cause: &Message) {
    if published.is_empty() {
        return;
    }
    for name in CARRIED {
        let Some(value) = cause.headers().last_named(name).flatten() else { continue };
        for outgoing in published.iter_mut().filter(|outgoing| outgoing.header_named(name).is_none()) {
            outgoing.add_header(name.into(), Some(value.to_vec().into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use milena::Record;

    use super::*;

    #[test]
    fn a_trace_goes_on_unless_another_is_named() {
        let headers: [(&str, Option<&[u8]>); 2] =
            [("traceparent", Some(b"00-11-22-01")), ("tracestate", Some(b"a=1"))];
        let cause = Message::from_record(&Record::new("t", "v").headers(&headers), 0);
        let mut published =
            [Outgoing::new("o", "1"), Outgoing::new("o", "2").header("traceparent", "00-33-44-01")];
        carry(&mut published, &cause);
        let of = |outgoing: &Outgoing, name: &str| {
            outgoing.header_named(name).flatten().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(of(&published[0], "traceparent").as_deref(), Some("00-11-22-01"));
        assert_eq!(of(&published[0], "tracestate").as_deref(), Some("a=1"));
        assert_eq!(of(&published[1], "traceparent").as_deref(), Some("00-33-44-01"));
    }
}

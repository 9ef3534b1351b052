//! Records that could not be handled, with where they come from and why.
//!
//! A dead letter is the record as it was, key, value and headers, with headers of text that begin with `dlq-`. They are
//! replaced and never appended, so that a record that fails over and over does not grow.

use std::{borrow::Cow, fmt::Write, time::SystemTime};

use bytes::Bytes;
use milena::{Message, Offset, Partition, TopicName};

use crate::{failure::Failure, outgoing::Outgoing, rfc3339};

/// What all headers of dead letters begin with.
const PREFIX: &str = "dlq-";
const TOPIC: &str = "dlq-original-topic";
const PARTITION: &str = "dlq-original-partition";
const OFFSET: &str = "dlq-original-offset";
const TIMESTAMP: &str = "dlq-original-timestamp";
const GROUP: &str = "dlq-original-group";
const ERROR_TYPE: &str = "dlq-error-type";
const ERROR_MESSAGE: &str = "dlq-error-message";
const ERROR_CHAIN: &str = "dlq-error-chain";
const ATTEMPTS: &str = "dlq-attempts";
const FIRST_FAILED_AT: &str = "dlq-first-failed-at";
const HANDLER: &str = "dlq-handler";
const REDRIVE_COUNT: &str = "dlq-redrive-count";
const TRUNCATED: &str = "dlq-truncated";
/// Only the services of this group are to handle a record that was redriven.
const REDRIVE_GROUP: &str = "dlq-redrive-group";

/// The most bytes of an error's type or message.
const SHORT: usize = 1024;
/// The most bytes of an error's causes.
const LONG: usize = 4096;

/// Where a record that could not be handled comes from, and why it could not be.
///
/// ```no_run
/// # async fn example(consumer: milena::Consumer) -> milena::Result<()> {
/// use milena_service::DeadLetter;
///
/// while let Some(message) = consumer.next().await {
///     if let Some(letter) = DeadLetter::of(&message?) {
///         println!("{}-{} at {}: {}", letter.topic, letter.partition, letter.offset, letter.error_message);
///     }
/// }
/// # Ok(()) }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic in which it could not be handled.
    pub topic: TopicName,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// Its timestamp, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The group that could not handle it.
    pub group: String,
    /// The handler's name.
    pub handler: String,
    /// The kind of the failure: mostly the name of the error's type. At most 1 KiB.
    pub error_type: String,
    /// What the error said. At most 1 KiB.
    pub error_message: String,
    /// What caused it, outermost first, separated by `": "`. At most 4 KiB.
    pub error_chain: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first.
    pub first_failed_at: Option<SystemTime>,
    /// How often it has been redriven before it failed again.
    pub redrive_count: u32,
    /// Of how many bytes its value was, if it was too large for the dead-letter topic and has been cut.
    pub truncated: Option<u64>,
}

/// The circumstances of a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) group: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) attempts: u32,
    pub(crate) first_failed_at: SystemTime,
}

impl DeadLetter {
    /// What the headers of a record say; `None` for one that is no dead letter.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        let text = |name| {
            let value = message.headers().last_named(name).flatten()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let number = |name| text(name)?.parse::<i64>().ok();
        let count = |name| number(name).and_then(|count| u32::try_from(count).ok());
        Some(Self {
            topic: text(TOPIC)?.into(),
            partition: Partition(i32::try_from(number(PARTITION)?).ok()?),
            offset: Offset(number(OFFSET)?),
            timestamp: number(TIMESTAMP).unwrap_or(-1),
            group: text(GROUP).unwrap_or_default(),
            handler: text(HANDLER).unwrap_or_default(),
            error_type: text(ERROR_TYPE).unwrap_or_default(),
            error_message: text(ERROR_MESSAGE).unwrap_or_default(),
            error_chain: text(ERROR_CHAIN).unwrap_or_default(),
            attempts: count(ATTEMPTS).unwrap_or(0),
            first_failed_at: text(FIRST_FAILED_AT).and_then(|at| rfc3339::parse(&at)),
            redrive_count: count(REDRIVE_COUNT).unwrap_or(0),
            truncated: number(TRUNCATED).and_then(|size| u64::try_from(size).ok()),
        })
    }
}

/// The dead letter of a record.
pub(crate) fn letter(
    to: &TopicName,
    message: &Message,
    failure: &Failure,
    about: Circumstances<'_>,
) -> Outgoing {
    let mut chain = String::new();
    for cause in failure.causes() {
        let separator = if chain.is_empty() { "" } else { ": " };
        // Writing into a string does not fail.
        let _written = write!(chain, "{separator}{cause}");
    }
    let redriven = message.headers().last_named(REDRIVE_COUNT).flatten().map(Bytes::copy_from_slice);
    let fields: [(&'static str, Bytes); 12] = [
        (TOPIC, message.topic().as_str().to_owned().into()),
        (PARTITION, message.partition().to_string().into()),
        (OFFSET, message.offset().to_string().into()),
        (TIMESTAMP, message.timestamp().to_string().into()),
        (GROUP, about.group.to_owned().into()),
        (HANDLER, about.handler.to_owned().into()),
        (ERROR_TYPE, capped(failure.kind(), SHORT)),
        (ERROR_MESSAGE, capped(&failure.error().to_string(), SHORT)),
        (ERROR_CHAIN, capped(&chain, LONG)),
        (ATTEMPTS, about.attempts.to_string().into()),
        (FIRST_FAILED_AT, rfc3339::millis(about.first_failed_at).into()),
        (REDRIVE_COUNT, redriven.unwrap_or_else(|| Bytes::from_static(b"0"))),
    ];
    let letter = copy(to.clone(), message);
    fields.into_iter().fold(letter, |letter, (name, value)| letter.header(name, value))
}

/// `letter` with no more than `most` bytes of its value, which says how many it had.
pub(crate) fn truncated(letter: Outgoing, most: usize) -> Outgoing {
    let size = letter.value_bytes().map_or(0, <[u8]>::len);
    letter.with_value_cut(most).header(TRUNCATED, size.to_string())
}

/// The record that a dead letter was, on its way back to where it came from, for the group that could not handle it.
pub(crate) fn back(message: &Message, letter: &DeadLetter) -> Outgoing {
    copy(letter.topic.clone(), message)
        .header(REDRIVE_COUNT, letter.redrive_count.saturating_add(1).to_string())
        .header(REDRIVE_GROUP, letter.group.clone())
}

/// The group for which a record was redriven, if it was.
pub(crate) fn redriven_for(message: &Message) -> Option<&[u8]> {
    message.headers().last_named(REDRIVE_GROUP).flatten()
}

/// The record that could not be handled, without what dead letters say.
fn copy(to: TopicName, message: &Message) -> Outgoing {
    let bare = Outgoing::of(to, message.shared_key(), message.shared_value());
    let own = message.headers().filter(|(name, _)| !name.starts_with(PREFIX));
    own.fold(bare, |copy, (name, value)| {
        copy.header_field(Cow::Owned(name.to_owned()), value.map(Bytes::copy_from_slice))
    })
}

/// At most `most` bytes of `text`, cut between characters.
fn capped(text: &str, most: usize) -> Bytes {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use milena::Record;

    use super::*;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    fn about(group: &str) -> Circumstances<'_> {
        Circumstances {
            group,
            handler: "on_order",
            attempts: 3,
            first_failed_at: AT + Duration::from_millis(1_500),
        }
    }

    fn received(letter: &Outgoing) -> Message {
        Message::from_record(&letter.record(&letter.headers().collect::<Vec<_>>()), 0)
    }

    #[test]
    fn a_dead_letter_tells_where_it_comes_from_and_why() {
        let headers: [(&str, Option<&[u8]>); 3] =
            [("trace", Some(b"t")), ("null", None), ("trace", Some(b"u"))];
        let record = Record::new("orders", "value").key("key").headers(&headers).partition(3).timestamp(77);
        let failed = letter(
            &"orders.billing.dlq".into(),
            &Message::from_record(&record, 9),
            &Failure::new("x".parse::<u8>().unwrap_err()),
            about("billing"),
        );
        let message = received(&failed);
        assert_eq!((message.key(), message.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
        assert!(message.headers().take(3).eq(headers));
        let told = DeadLetter::of(&message).unwrap();
        assert_eq!((told.topic.as_str(), told.partition, told.offset), ("orders", Partition(3), Offset(9)));
        assert_eq!((told.timestamp, told.attempts, told.redrive_count), (77, 3, 0));
        assert_eq!((&*told.group, &*told.handler), ("billing", "on_order"));
        assert_eq!(
            (&*told.error_type, &*told.error_message),
            ("ParseIntError", "invalid digit found in string")
        );
        assert_eq!((told.first_failed_at, told.truncated), (Some(AT + Duration::from_millis(1_500)), None));
    }

    #[test]
    fn a_letter_that_fails_again_does_not_grow() {
        let first = Message::from_record(&Record::new("orders", "v"), 1);
        let failure = || Failure::named("a", "b");
        let once = letter(&"d".into(), &first, &failure(), about("g"));
        let redriven = back(&received(&once), &DeadLetter::of(&received(&once)).unwrap());
        assert_eq!(redriven.topic().as_str(), "orders");
        assert_eq!(redriven_for(&received(&redriven)), Some(&b"g"[..]));
        let twice = letter(&"d".into(), &received(&redriven), &failure(), about("g"));
        assert_eq!(twice.headers().count(), once.headers().count());
        assert_eq!(DeadLetter::of(&received(&twice)).unwrap().redrive_count, 1);
        assert!(DeadLetter::of(&first).is_none());
    }

    #[test]
    fn errors_and_values_are_cut_between_characters() {
        let long = "\u{4e2d}".repeat(10_000);
        let message = Message::from_record(&Record::new("orders", &vec![7; 5_000]), 1);
        let failed = letter(&"d".into(), &message, &Failure::named(long.clone(), long), about("g"));
        let told = DeadLetter::of(&received(&failed)).unwrap();
        assert_eq!((told.error_type.len(), told.error_message.len()), (1_023, 1_023));
        let cut = received(&truncated(failed, 100));
        assert_eq!(cut.value().unwrap().len(), 100);
        assert_eq!(DeadLetter::of(&cut).unwrap().truncated, Some(5_000));
    }

    #[test]
    fn a_record_of_nothing_stays_one() {
        let message = Message::from_record(&Record::empty("orders"), 1);
        let failed = received(&letter(&"d".into(), &message, &Failure::named("a", "b"), about("g")));
        assert_eq!((failed.key(), failed.value()), (None, None));
    }
}

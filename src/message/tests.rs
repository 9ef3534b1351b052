#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    record::Record,
    types::{Offset, TopicPartition},
    wire::{
        batch::{BatchBuilder, Batches, RecordCursor},
        compress::Compression,
    },
};

fn cursor() -> RecordCursor {
    let mut builder = BatchBuilder::new(0, 0);
    builder
        .append(5, Some(b"k0"), Some(b"v0"), &[("a", Some(b"1")), ("b", None), ("a", Some(b"2"))])
        .unwrap();
    builder.append(6, None, Some(b"v1"), &[]).unwrap();
    builder.append(7, Some(b"k2"), None, &[]).unwrap();
    builder.append(8, None, None, &[("only", Some(b"h"))]).unwrap();
    let sealed = builder.seal(Compression::NONE).unwrap();
    Batches::new(sealed.bytes().clone()).next().unwrap().unwrap().cursor(1 << 20).unwrap()
}

fn batch(first: i64) -> Batch {
    Batch::new(TopicPartition::new("t", 3), cursor(), first, 4, 10, None)
}

#[test]
fn a_message_by_hand_says_what_its_record_says() {
    let headers: [(&str, Option<&[u8]>); 3] = [("a", Some(b"1")), ("b", None), ("a", Some(b""))];
    let record = Record::new("t", "value").key("key").headers(&headers).partition(3).timestamp(5);
    let message = Message::from_record(&record, 9);
    assert_eq!((message.key(), message.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert!(message.headers().eq(headers));
    assert_eq!((message.topic().as_str(), message.partition().0, message.offset().0), ("t", 3, 9));
    assert_eq!((message.timestamp(), message.clone().detach().key()), (5, Some(&b"key"[..])));
    message.ack();
    let empty = Message::from_record(&Record::tombstone("t", ""), 0);
    assert_eq!((empty.key(), empty.value(), empty.headers().count()), (Some(&b""[..]), None, 0));
    assert_eq!((empty.timestamp(), empty.partition().0), (-1, 0));
}

#[test]
fn a_detached_message_says_the_same() {
    for message in batch(0).messages() {
        let message = message.unwrap();
        let detached = message.clone().detach();
        assert_eq!((detached.key(), detached.value()), (message.key(), message.value()));
        assert!(detached.headers().eq(message.headers()));
        assert_eq!((detached.offset(), detached.timestamp()), (message.offset(), message.timestamp()));
        let inside =
            message.value().is_some_and(|value| detached.shared_value().unwrap().as_ptr() == value.as_ptr());
        assert!(!inside, "it keeps its own bytes only");
    }
}

#[test]
fn shared_fields_are_slices_of_the_buffer() {
    let message = batch(0).messages().next().unwrap().unwrap();
    let (key, value) = (message.shared_key().unwrap(), message.shared_value().unwrap());
    assert_eq!((&key[..], &value[..]), (&b"k0"[..], &b"v0"[..]));
    assert_eq!(
        (key.as_ptr(), value.as_ptr()),
        (message.key().unwrap().as_ptr(), message.value().unwrap().as_ptr())
    );
}

#[test]
fn headers_keep_their_order_and_the_last_of_a_name_counts() {
    let message = batch(0).messages().next().unwrap().unwrap();
    let names: Vec<_> = message.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "a"]);
    assert_eq!(message.headers().last_named("a"), Some(Some(&b"2"[..])));
    assert_eq!((message.headers().last_named("b"), message.headers().last_named("c")), (Some(None), None));
}

#[test]
fn a_batch_starts_at_the_offset_that_was_asked_for() {
    let batch = batch(2);
    let offsets: Vec<_> = batch.records().map(|record| record.unwrap().offset().0).collect();
    assert_eq!(offsets, [2, 3]);
    assert_eq!(
        (batch.first_offset(), batch.next_offset(), batch.high_watermark()),
        (Offset(2), Offset(4), Offset(10))
    );
    assert_eq!(batch.records().count(), 2, "it can be read again");
}

#[test]
fn what_is_shown_of_a_message_is_not_its_content() {
    let shown = format!("{:?}", batch(0).messages().next().unwrap().unwrap());
    assert!(shown.contains("value_len: Some(2)") && !shown.contains("v0"), "{shown}");
}

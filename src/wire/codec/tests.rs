#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::str::Str;

const F: &str = "Test.field";

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

fn kind<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> DecodeErrorKind {
    let error = result.unwrap_err();
    assert_eq!(error.field, F);
    error.kind
}

fn written(write: impl FnOnce(&mut Writer) -> Result<(), EncodeError>) -> Bytes {
    let mut w = Writer::new();
    write(&mut w).unwrap();
    w.finish().into_bytes()
}

proptest! {
    #[test]
    fn variable_length_integers_round_trip_in_the_fewest_bytes(value in any::<u32>()) {
        let bytes = written(|w| { w.uvarint(value); Ok(()) });
        let bits = (u32::BITS - value.leading_zeros()).max(1);
        prop_assert_eq!(bytes.len(), usize::try_from(bits.div_ceil(7)).unwrap());
        prop_assert_eq!(Reader::new(bytes).uvarint(F), Ok(value));
    }

    #[test]
    fn strings_and_bytes_round_trip(text in prop::option::of(".{0,200}"), flex in any::<bool>()) {
        let string = text.clone().map(Str::from);
        let bytes = written(|w| w.opt_string(string.as_ref(), flex, F));
        prop_assert_eq!(Reader::new(bytes).opt_string(flex, F), Ok(string));
        let value = text.map(Bytes::from);
        let bytes = written(|w| w.opt_bytes(value.as_ref(), flex, F));
        prop_assert_eq!(Reader::new(bytes).opt_bytes(flex, F), Ok(value));
    }

    #[test]
    fn large_pieces_keep_their_places(
        pieces in prop::collection::vec((0..100i32, 0..3000usize), 0..8)
    ) {
        let mut w = Writer::frame();
        let mut expected = Vec::new();
        for (number, length) in &pieces {
            let large = Bytes::from(vec![0xab; *length]);
            w.i32(*number);
            w.bytes(&large, false, F).unwrap();
            expected.extend_from_slice(&number.to_be_bytes());
            expected.extend_from_slice(&u32::try_from(*length).unwrap().to_be_bytes());
            expected.extend_from_slice(&large);
        }
        prop_assert_eq!(w.len(), expected.len() + 4);
        let frame = w.finish_frame(F).unwrap();
        prop_assert_eq!(frame.len(), expected.len() + 4);
        let frame = frame.into_bytes();
        prop_assert_eq!(&frame[..4], &u32::try_from(expected.len()).unwrap().to_be_bytes());
        prop_assert_eq!(&frame[4..], &expected);
    }
}

#[test]
fn overlong_variable_length_integers_are_refused() {
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff, 0x10][..],
        &[0x80, 0x80, 0x80, 0x80, 0x80],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        assert_eq!(kind(reader(bytes).uvarint(F)), DecodeErrorKind::Varint, "{bytes:?}");
    }
    assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(F), Ok(u32::MAX));
    let cut = kind(reader(&[0xff, 0xff]).uvarint(F));
    assert_eq!(cut, DecodeErrorKind::Truncated { needed: 3, remaining: 2 });
}

#[test]
fn lengths_below_null_and_beyond_the_bytes_are_refused() {
    assert_eq!(kind(reader(&[0xff, 0xfe]).opt_string(false, F)), DecodeErrorKind::NegativeLength(-2));
    assert_eq!(
        kind(reader(&[0x80, 0, 0, 0]).opt_bytes(false, F)),
        DecodeErrorKind::NegativeLength(-2_147_483_648)
    );
    let truncated = DecodeErrorKind::Truncated { needed: 5, remaining: 2 };
    assert_eq!(kind(reader(&[0, 5, b'a', b'b']).string(false, F)), truncated);
    assert_eq!(kind(reader(&[6, b'a', b'b']).bytes(true, F)), truncated);
}

#[test]
fn null_is_refused_where_there_is_none() {
    assert_eq!(kind(reader(&[0xff, 0xff]).string(false, F)), DecodeErrorKind::Null);
    assert_eq!(kind(reader(&[0]).string(true, F)), DecodeErrorKind::Null);
    assert_eq!(kind(reader(&[0xff; 4]).bytes(false, F)), DecodeErrorKind::Null);
    assert_eq!(kind(reader(&[0]).array(true, 1, F, |r| r.i8(F))), DecodeErrorKind::Null);
}

#[test]
fn text_must_be_utf8() {
    let error = reader(&[0, 2, 0xc3, 0x28]).string(false, F).unwrap_err();
    assert_eq!(error, DecodeError { field: F, offset: 2, kind: DecodeErrorKind::Utf8 });
    assert_eq!(error.to_string(), "Test.field at byte 2: not UTF-8");
}

#[test]
fn a_count_is_held_against_the_bytes_left() {
    let elements = |bytes: &[u8]| reader(bytes).array(true, 4, F, |r| r.i32(F));
    assert_eq!(elements(&[2, 0, 0, 0, 9]), Ok(vec![9]));
    let count = DecodeErrorKind::Count { count: 2, remaining: 7 };
    assert_eq!(kind(elements(&[3, 0, 0, 0, 9, 0, 0, 0])), count);
    // Tagged fields: 5 of them in the 9 bytes left, at least 2 bytes each.
    let tags = reader(&[5, 0, 0, 1, 0, 2, 0, 3, 0, 4]).unknown_tags(F);
    assert_eq!(kind(tags), DecodeErrorKind::Count { count: 5, remaining: 9 });
}

#[test]
fn tagged_fields_end_where_they_say() {
    // Tag 1 in three bytes of which two are read; tag 2, unknown; then one byte behind the tags.
    let mut r = reader(&[2, 1, 3, 0, 9, 0xaa, 2, 1, 0xbb, 7]);
    let mut value = 0;
    let unknown = r.tags(F, |r, tag| {
        if tag == 1 {
            value = r.i16(F)?;
        }
        Ok(tag == 1)
    });
    assert_eq!((value, unknown), (9, Ok(vec![(2, Bytes::from_static(&[0xbb]))])));
    assert_eq!((r.position(), r.i8(F)), (9, Ok(7)));
    // A value cannot be read beyond its tagged field.
    let beyond = reader(&[1, 1, 1, 0, 9]).tags(F, |r, _| r.i16(F).map(|_| true));
    assert_eq!(kind(beyond), DecodeErrorKind::Truncated { needed: 2, remaining: 1 });
}

#[test]
fn tags_out_of_order_are_read_into_order() {
    let bytes = [2, 9, 1, b'9', 1, 1, b'1'];
    let ordered = vec![(1, Bytes::from_static(b"1")), (9, Bytes::from_static(b"9"))];
    assert_eq!(reader(&bytes).unknown_tags(F), Ok(ordered.clone()));
    assert_eq!(reader(&bytes).tags(F, |_, _| Ok(false)), Ok(ordered));
}

#[test]
fn tags_are_written_in_order_and_once() {
    let (one, nine) = (Bytes::from_static(b"1"), Bytes::from_static(b"9"));
    let bytes = written(|w| w.tags(vec![(9, nine.clone())], &[(1, one.clone())], F));
    assert_eq!(bytes, &[2, 1, 1, b'1', 9, 1, b'9'][..]);
    let twice = Writer::new().tags(vec![(9, nine)], &[(1, one.clone()), (9, one)], F);
    assert_eq!(twice, Err(EncodeError::DuplicateTag { field: F, tag: 9 }));
}

#[test]
fn what_its_prefix_cannot_count_is_refused() {
    let text = Str::from("x".repeat(0x8000));
    for flex in [false, true] {
        let refused = Writer::new().string(&text, flex, F);
        assert_eq!(refused, Err(EncodeError::TooLong { field: F, length: 0x8000, limit: 0x7fff }));
    }
}

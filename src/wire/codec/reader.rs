use bytes::Bytes;

use super::error::{DecodeError, DecodeErrorKind};
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;
use crate::wire::varint::{self, VarintError};

/// What an array may reserve before its elements have been read. Beyond it the vector grows with what is really there.
const RESERVE_ELEMENTS: usize = 256;

/// Reads a message from one buffer. Nothing it allocates is sized by a length from the wire alone.
///
/// `flex` arguments say whether the field uses the compact encodings of a flexible version (KIP-482).
/// `field` arguments name the field for the error.
#[derive(Debug)]
pub(crate) struct Reader {
    buf: Bytes,
    pos: usize,
    /// The end of what may be read: that of the buffer, or of the tagged field being read.
    end: usize,
}

impl Reader {
    pub(crate) fn new(buf: Bytes) -> Self {
        let end = buf.len();
        Self { buf, pos: 0, end }
    }

    /// Bytes from the start of the buffer.
    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn remaining(&self) -> usize {
        self.end.saturating_sub(self.pos)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        let start = self.pos.min(self.end);
        self.pos = self.end;
        self.buf.slice(start..self.end)
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.i8(field)? != 0)
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Result<i8, DecodeError> {
        self.array_of(field).map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.array_of(field).map(i16::from_be_bytes)
    }

    #[allow(dead_code, reason = "for schemas that are not compiled in yet")]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array_of(field).map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array_of(field).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array_of(field).map(i64::from_be_bytes)
    }

    #[allow(dead_code, reason = "for schemas that are not compiled in yet")]
    pub(crate) fn f64(&mut self, field: &'static str) -> Result<f64, DecodeError> {
        self.array_of(field).map(f64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<Uuid, DecodeError> {
        self.array_of(field).map(Uuid::from_bytes)
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub(crate) fn uvarint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let readable = self.buf.get(..self.end).unwrap_or_default();
        varint::read_u32(readable, &mut self.pos).map_err(|error| {
            let remaining = self.remaining();
            let kind = match error {
                VarintError::Truncated => {
                    DecodeErrorKind::Truncated { needed: remaining.saturating_add(1), remaining }
                }
                VarintError::TooLarge => DecodeErrorKind::Varint,
            };
            self.error(field, kind)
        })
    }

    pub(crate) fn string(&mut self, flex: bool, field: &'static str) -> Result<Str, DecodeError> {
        self.opt_string(flex, field)?.ok_or_else(|| self.error(field, DecodeErrorKind::Null))
    }

    pub(crate) fn opt_string(&mut self, flex: bool, field: &'static str) -> Result<Option<Str>, DecodeError> {
        let length = if flex {
            self.compact_length(field)?
        } else {
            let length = self.i16(field)?;
            self.plain_length(i64::from(length), field)?
        };
        let Some(length) = length else { return Ok(None) };
        let offset = self.pos;
        let text = std::str::from_utf8(self.take(length, field)?).map_err(|_| DecodeError {
            field,
            offset,
            kind: DecodeErrorKind::Utf8,
        })?;
        Ok(Some(Str::from(text)))
    }

    pub(crate) fn bytes(&mut self, flex: bool, field: &'static str) -> Result<Bytes, DecodeError> {
        self.opt_bytes(flex, field)?.ok_or_else(|| self.error(field, DecodeErrorKind::Null))
    }

    /// A slice of the buffer, which it keeps alive.
    pub(crate) fn opt_bytes(
        &mut self,
        flex: bool,
        field: &'static str,
    ) -> Result<Option<Bytes>, DecodeError> {
        match self.wide_length(flex, field)? {
            Some(length) => self.slice(length, field).map(Some),
            None => Ok(None),
        }
    }

    /// `min` is the fewest bytes that one element takes in any version.
    pub(crate) fn array<T>(
        &mut self,
        flex: bool,
        min: usize,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.opt_array(flex, min, field, element)?.ok_or_else(|| self.error(field, DecodeErrorKind::Null))
    }

    /// As [`Self::array`], with null.
    pub(crate) fn opt_array<T>(
        &mut self,
        flex: bool,
        min: usize,
        field: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.wide_length(flex, field)? else { return Ok(None) };
        self.check_count(count, min, field)?;
        let mut elements = Vec::with_capacity(count.min(RESERVE_ELEMENTS));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// A struct that may be null: one byte below zero for null, then nothing.
    pub(crate) fn opt_struct<T>(
        &mut self,
        field: &'static str,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8(field)? < 0 { Ok(None) } else { value(self).map(Some) }
    }

    /// The tagged fields that end a struct of a flexible version. `known` reads the value of a tag and returns true, or
    /// returns false for a tag that it does not know; those are returned as they are, in the order in which
    /// they are to be written: a peer that does not keep it means the same.
    pub(crate) fn tags(
        &mut self,
        field: &'static str,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<Vec<(u32, Bytes)>, DecodeError> {
        let mut unknown = Vec::new();
        for _ in 0..self.tag_count(field)? {
            let (tag, length) = self.tag(field)?;
            let outer = self.end;
            let end = self.pos.saturating_add(length);
            self.end = end;
            let taken = known(self, tag);
            self.end = outer;
            if taken? {
                // What a newer schema may have added behind the value is passed over.
                self.pos = end;
            } else {
                unknown.push((tag, self.slice(length, field)?));
            }
        }
        unknown.sort_by_key(|(tag, _)| *tag);
        Ok(unknown)
    }

    /// As [`Self::tags`] for a struct that has no tagged field of its own.
    pub(crate) fn unknown_tags(&mut self, field: &'static str) -> Result<Vec<(u32, Bytes)>, DecodeError> {
        let mut unknown = Vec::new();
        for _ in 0..self.tag_count(field)? {
            let (tag, length) = self.tag(field)?;
            unknown.push((tag, self.slice(length, field)?));
        }
        unknown.sort_by_key(|(tag, _)| *tag);
        Ok(unknown)
    }

    /// An error at the reader's place.
    pub(crate) fn error(&self, field: &'static str, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { field, offset: self.pos, kind }
    }

    /// An error unless the schema called `message` has the version.
    pub(crate) fn check_version(
        &self,
        message: &'static str,
        version: i16,
        min: i16,
        max: i16,
    ) -> Result<(), DecodeError> {
        if (min..=max).contains(&version) {
            Ok(())
        } else {
            Err(self.error(message, DecodeErrorKind::Version { version, min, max }))
        }
    }

    fn tag_count(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.uvarint(field)?).unwrap_or(usize::MAX);
        // A tag and a length take a byte each.
        self.check_count(count, 2, field)?;
        Ok(count)
    }

    /// A tag and the length of its value, which lies within what is left.
    fn tag(&mut self, field: &'static str) -> Result<(u32, usize), DecodeError> {
        let tag = self.uvarint(field)?;
        let length = usize::try_from(self.uvarint(field)?).unwrap_or(usize::MAX);
        self.check_room(length, field)?;
        Ok((tag, length))
    }

    /// The length of bytes, records or an array; `None` for null.
    fn wide_length(&mut self, flex: bool, field: &'static str) -> Result<Option<usize>, DecodeError> {
        if flex {
            self.compact_length(field)
        } else {
            let length = self.i32(field)?;
            self.plain_length(i64::from(length), field)
        }
    }

    /// A compact length is one more than the length; zero is null.
    fn compact_length(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        let length = self.uvarint(field)?.checked_sub(1);
        Ok(length.map(|length| usize::try_from(length).unwrap_or(usize::MAX)))
    }

    fn plain_length(&self, length: i64, field: &'static str) -> Result<Option<usize>, DecodeError> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error(field, DecodeErrorKind::NegativeLength(length))),
        }
    }

    fn check_count(&self, count: usize, min: usize, field: &'static str) -> Result<(), DecodeError> {
        let remaining = self.remaining();
        if count.saturating_mul(min) > remaining {
            return Err(self.error(field, DecodeErrorKind::Count { count, remaining }));
        }
        Ok(())
    }

    fn check_room(&self, needed: usize, field: &'static str) -> Result<(), DecodeError> {
        let remaining = self.remaining();
        if needed > remaining {
            return Err(self.error(field, DecodeErrorKind::Truncated { needed, remaining }));
        }
        Ok(())
    }

    fn slice(&mut self, length: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        self.check_room(length, field)?;
        let start = self.pos;
        self.pos = start.saturating_add(length);
        Ok(self.buf.slice(start..self.pos))
    }

    fn take(&mut self, length: usize, field: &'static str) -> Result<&[u8], DecodeError> {
        self.check_room(length, field)?;
        let start = self.pos;
        self.pos = start.saturating_add(length);
        // In range: `check_room` has seen to it, and `end` never lies beyond the buffer.
        Ok(self.buf.get(start..self.pos).unwrap_or_default())
    }

    fn array_of<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let found = self.buf.get(self.pos..self.end).and_then(|rest| rest.first_chunk::<N>()).copied();
        let Some(bytes) = found else {
            let remaining = self.remaining();
            return Err(self.error(field, DecodeErrorKind::Truncated { needed: N, remaining }));
        };
        self.pos = self.pos.saturating_add(N);
        Ok(bytes)
    }
}

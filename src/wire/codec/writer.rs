use bytes::Bytes;

use super::error::EncodeError;
use super::segments::Segments;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;
use crate::wire::varint;

/// From this size on, bytes are passed on as a segment of their own instead of being copied between the small fields.
const SEGMENT_BYTES: usize = 1024;

/// What a fresh writer has room for: most requests without records are smaller.
const INITIAL_BYTES: usize = 256;

/// The longest string that Kafka reads, compact or not.
const STRING_LIMIT: usize = 0x7fff;

/// The longest array, bytes or records.
const LENGTH_LIMIT: usize = 0x7fff_ffff;

/// Writes a message. The arguments `flex` and `field` mean the same as in [`super::Reader`].
#[derive(Debug)]
pub(crate) struct Writer {
    small: Vec<u8>,
    /// Large pieces, each with the place in `small` where it belongs.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { small: Vec::with_capacity(INITIAL_BYTES), large: Vec::new(), large_bytes: 0 }
    }

    /// A writer whose output begins with a place for the length that [`Self::finish_frame`] fills in.
    pub(crate) fn frame() -> Self {
        let mut w = Self::new();
        w.i32(0);
        w
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.small.len().saturating_add(self.large_bytes)
    }

    /// What has been written.
    pub(crate) fn finish(self) -> Segments {
        let small = Bytes::from(self.small);
        let mut segments = Segments::with_capacity(2 * self.large.len() + 1);
        let mut from = 0;
        for (at, part) in self.large {
            segments.push(small.slice(from..at));
            segments.push(part);
            from = at;
        }
        segments.push(small.slice(from..));
        segments
    }

    /// What has been written since [`Self::frame`], with its length in front.
    pub(crate) fn finish_frame(mut self, field: &'static str) -> Result<Segments, EncodeError> {
        let length = self.len().saturating_sub(size_of::<i32>());
        let prefix =
            i32::try_from(length).map_err(|_| EncodeError::TooLong { field, length, limit: LENGTH_LIMIT })?;
        if let Some(place) = self.small.first_chunk_mut() {
            *place = prefix.to_be_bytes();
        }
        Ok(self.finish())
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.small.push(u8::from(value));
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.small.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.small.extend_from_slice(&value.to_be_bytes());
    }

    #[allow(dead_code, reason = "for schemas that are not compiled in yet")]
    pub(crate) fn u16(&mut self, value: u16) {
        self.small.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.small.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.small.extend_from_slice(&value.to_be_bytes());
    }

    #[allow(dead_code, reason = "for schemas that are not compiled in yet")]
    pub(crate) fn f64(&mut self, value: f64) {
        self.small.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.small.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn uvarint(&mut self, value: u32) {
        varint::put_u64(&mut self.small, value.into());
    }

    pub(crate) fn string(&mut self, value: &Str, flex: bool, field: &'static str) -> Result<(), EncodeError> {
        self.opt_string(Some(value), flex, field)
    }

    pub(crate) fn opt_string(
        &mut self,
        value: Option<&Str>,
        flex: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let length = value.map(|text| text.len());
        if flex {
            self.compact_length(length, STRING_LIMIT, field)?;
        } else {
            let too_long = |length| EncodeError::TooLong { field, length, limit: STRING_LIMIT };
            let prefix = length.map_or(Ok(-1), |n| i16::try_from(n).map_err(|_| too_long(n)))?;
            self.i16(prefix);
        }
        if let Some(text) = value {
            self.small.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    pub(crate) fn bytes(
        &mut self,
        value: &Bytes,
        flex: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.opt_bytes(Some(value), flex, field)
    }

    pub(crate) fn opt_bytes(
        &mut self,
        value: Option<&Bytes>,
        flex: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.wide_length(value.map(Bytes::len), flex, field)?;
        if let Some(bytes) = value {
            self.raw(bytes);
        }
        Ok(())
    }

    pub(crate) fn array<T>(
        &mut self,
        values: &[T],
        flex: bool,
        field: &'static str,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.opt_array(Some(values), flex, field, element)
    }

    /// As [`Self::array`], with null.
    pub(crate) fn opt_array<T>(
        &mut self,
        values: Option<&[T]>,
        flex: bool,
        field: &'static str,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.wide_length(values.map(<[T]>::len), flex, field)?;
        for value in values.unwrap_or_default() {
            element(self, value)?;
        }
        Ok(())
    }

    /// A struct that may be null: -1 for null, 1 and the struct otherwise.
    pub(crate) fn opt_struct<T>(
        &mut self,
        value: Option<&T>,
        encode: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.i8(1);
                encode(self, value)
            }
            None => {
                self.i8(-1);
                Ok(())
            }
        }
    }

    /// The tagged fields that end a struct of a flexible version: the schema's own, and those that were kept unknown,
    /// together in the order of their tags.
    pub(crate) fn tags(
        &mut self,
        mut known: Vec<(u32, Bytes)>,
        unknown: &[(u32, Bytes)],
        field: &'static str,
    ) -> Result<(), EncodeError> {
        known.extend_from_slice(unknown);
        known.sort_by_key(|(tag, _)| *tag);
        let tags = known.iter().map(|(tag, _)| *tag);
        if let Some((tag, _)) = tags.clone().zip(tags.skip(1)).find(|(a, b)| a == b) {
            return Err(EncodeError::DuplicateTag { field, tag });
        }
        self.uvarint(length_u32(known.len(), LENGTH_LIMIT, field)?);
        for (tag, value) in &known {
            self.uvarint(*tag);
            self.uvarint(length_u32(value.len(), LENGTH_LIMIT, field)?);
            self.raw(value);
        }
        Ok(())
    }

    fn raw(&mut self, bytes: &Bytes) {
        if bytes.len() < SEGMENT_BYTES {
            self.small.extend_from_slice(bytes);
        } else {
            self.large.push((self.small.len(), bytes.clone()));
            self.large_bytes = self.large_bytes.saturating_add(bytes.len());
        }
    }

    fn wide_length(
        &mut self,
        length: Option<usize>,
        flex: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if flex {
            return self.compact_length(length, LENGTH_LIMIT, field);
        }
        let too_long = |length| EncodeError::TooLong { field, length, limit: LENGTH_LIMIT };
        let prefix = length.map_or(Ok(-1), |n| i32::try_from(n).map_err(|_| too_long(n)))?;
        self.i32(prefix);
        Ok(())
    }

    fn compact_length(
        &mut self,
        length: Option<usize>,
        limit: usize,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        // At most LENGTH_LIMIT + 1, so it cannot wrap.
        let prefix = length.map_or(Ok(0), |n| length_u32(n, limit, field).map(|n| n.wrapping_add(1)))?;
        self.uvarint(prefix);
        Ok(())
    }
}

/// The value of a tagged field, for [`Writer::tags`].
pub(crate) fn tagged(
    encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    encode(&mut w)?;
    Ok(w.finish().into_bytes())
}

/// An error unless the schema called `message` has the version.
pub(crate) fn check_encode_version(
    message: &'static str,
    version: i16,
    min: i16,
    max: i16,
) -> Result<(), EncodeError> {
    if (min..=max).contains(&version) {
        Ok(())
    } else {
        Err(EncodeError::Version { message, version, min, max })
    }
}

/// An error if a field that `version` cannot carry is set.
pub(crate) fn unsupported(set: bool, field: &'static str, version: i16) -> Result<(), EncodeError> {
    if set { Err(EncodeError::UnsupportedField { field, version }) } else { Ok(()) }
}

/// The value of a field that must not be null in `version`.
pub(crate) fn present<'a, T>(
    value: Option<&'a T>,
    field: &'static str,
    version: i16,
) -> Result<&'a T, EncodeError> {
    value.ok_or(EncodeError::Null { field, version })
}

fn length_u32(length: usize, limit: usize, field: &'static str) -> Result<u32, EncodeError> {
    let too_long = EncodeError::TooLong { field, length, limit };
    if length > limit {
        return Err(too_long);
    }
    u32::try_from(length).map_err(|_| too_long)
}

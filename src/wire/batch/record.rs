//! One record within the decompressed records of a batch.

use super::error::{Field, RecordFault};
use crate::record::Header;
use crate::wire::varint;

/// A stretch of the buffer that holds a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes in `buf`, the buffer that the span was made for.
    #[inline]
    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.range()).unwrap_or_default()
    }

    /// The stretch in a buffer that begins `by` bytes later.
    const fn rebased(self, by: u32) -> Self {
        Self { start: self.start.saturating_sub(by), end: self.end.saturating_sub(by) }
    }
}

/// A record as stretches of the buffer that holds it: it borrows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) offset: i64,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Span>,
    pub(crate) value: Option<Span>,
    pub(crate) header_count: u32,
    /// The headers in their wire form, for [`HeadersIter::new`].
    pub(crate) headers: Span,
}

impl RawRecord {
    /// The record's bytes in `buf`, the buffer that it was read from.
    #[inline]
    pub(crate) fn resolve<'a>(&self, buf: &'a [u8]) -> RecordRef<'a> {
        RecordRef {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(|span| span.of(buf)),
            value: self.value.map(|span| span.of(buf)),
            headers: HeadersIter::new(self.headers.of(buf), self.header_count),
        }
    }

    /// The stretch that holds the key, the value and the headers, and the record as it stands in a buffer of those
    /// bytes alone.
    pub(crate) fn detached(&self) -> (Span, Self) {
        let start = self.key.or(self.value).unwrap_or(self.headers).start;
        let rebased = Self {
            key: self.key.map(|span| span.rebased(start)),
            value: self.value.map(|span| span.rebased(start)),
            headers: self.headers.rebased(start),
            ..*self
        };
        (Span { start, end: self.headers.end }, rebased)
    }
}

/// A record that borrows from the buffer that holds it.
#[derive(Clone, Debug)]
pub(crate) struct RecordRef<'a> {
    pub(crate) offset: i64,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// All well-formed: they were checked when the record was read.
    pub(crate) headers: HeadersIter<'a>,
}

/// Reads headers from their wire form, in their order, duplicates included; ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct HeadersIter<'a> {
    buf: &'a [u8],
    pos: usize,
    left: u32,
}

impl<'a> HeadersIter<'a> {
    pub(crate) const fn new(buf: &'a [u8], count: u32) -> Self {
        Self { buf, pos: 0, left: count }
    }

    fn read(&mut self) -> Result<Header<'a>, HeaderFault> {
        let name = read_span(self.buf, &mut self.pos, Field::HeaderName)?.ok_or_else(|| {
            let left = self.buf.len().saturating_sub(self.pos);
            RecordFault::Length { field: Field::HeaderName, length: -1, left }
        })?;
        let name = std::str::from_utf8(name.of(self.buf)).map_err(|_| HeaderFault::Name)?;
        let value = read_span(self.buf, &mut self.pos, Field::HeaderValue)?;
        Ok((name, value.map(|span| span.of(self.buf))))
    }
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = Result<Header<'a>, HeaderFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let header = self.read();
        if header.is_err() {
            self.left = 0;
        }
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The name is not UTF-8.
    Name,
    Record(RecordFault),
}

impl From<RecordFault> for HeaderFault {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

/// What a record's fields are relative to, and what they may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    /// The timestamp of every record, if the broker set it.
    pub(super) append_time: Option<i64>,
    /// The smallest offset delta that the next record may have.
    pub(super) min_delta: i32,
    pub(super) max_delta: i32,
}

/// Reads the record at `*pos` and moves `*pos` behind it; also gives its offset delta.
#[inline]
pub(super) fn read_record(buf: &[u8], pos: &mut usize, base: &Base) -> Result<(RawRecord, i32), RecordFault> {
    let length = read_number(buf, pos, Field::Record)?;
    let left = buf.len().saturating_sub(*pos);
    let end = usize::try_from(length).ok().filter(|length| *length <= left).ok_or(RecordFault::Length {
        field: Field::Record,
        length,
        left,
    })? + *pos;
    // No field can reach beyond the record.
    let buf = buf.get(..end).unwrap_or_default();
    // The record's attributes: a byte with no meaning yet.
    *pos += 1;
    let timestamp_delta = varint::read_i64(buf, pos)
        .map_err(|error| RecordFault::Varint { field: Field::TimestampDelta, error })?;
    let delta = read_number(buf, pos, Field::OffsetDelta)?;
    if delta < base.min_delta || delta > base.max_delta {
        return Err(RecordFault::OffsetDelta { delta, min: base.min_delta, max: base.max_delta });
    }
    let offset = base.offset.saturating_add(i64::from(delta));
    let timestamp = match base.append_time {
        Some(time) => time,
        None => base
            .timestamp
            .checked_add(timestamp_delta)
            .ok_or(RecordFault::Timestamp { base: base.timestamp, delta: timestamp_delta })?,
    };
    let key = read_span(buf, pos, Field::Key)?;
    let value = read_span(buf, pos, Field::Value)?;
    let (header_count, headers) = read_headers(buf, pos, offset)?;
    if *pos != end {
        return Err(RecordFault::Unfilled { left: end.saturating_sub(*pos) });
    }
    Ok((RawRecord { offset, timestamp, key, value, header_count, headers }, delta))
}

/// Reads the headers, checking each.
#[inline]
fn read_headers(buf: &[u8], pos: &mut usize, offset: i64) -> Result<(u32, Span), RecordFault> {
    let announced = read_number(buf, pos, Field::HeaderCount)?;
    let start = *pos;
    let count = u32::try_from(announced).map_err(|_| RecordFault::Length {
        field: Field::HeaderCount,
        length: announced,
        left: buf.len().saturating_sub(start),
    })?;
    if count > 0 {
        let mut headers = HeadersIter::new(buf.get(start..).unwrap_or_default(), count);
        for header in &mut headers {
            header.map_err(|fault| match fault {
                HeaderFault::Name => RecordFault::HeaderName { offset },
                HeaderFault::Record(fault) => fault,
            })?;
        }
        *pos += headers.pos;
    }
    Ok((count, span(start, *pos)))
}

/// Reads a length and steps over as many bytes; -1 stands for null.
#[inline]
fn read_span(buf: &[u8], pos: &mut usize, field: Field) -> Result<Option<Span>, RecordFault> {
    let length = read_number(buf, pos, field)?;
    if length == -1 {
        return Ok(None);
    }
    let start = *pos;
    let left = buf.len().saturating_sub(start);
    match usize::try_from(length) {
        Ok(length) if length <= left => {
            *pos += length;
            Ok(Some(span(start, *pos)))
        }
        _ => Err(RecordFault::Length { field, length, left }),
    }
}

#[inline]
fn read_number(buf: &[u8], pos: &mut usize, field: Field) -> Result<i32, RecordFault> {
    varint::read_i32(buf, pos).map_err(|error| RecordFault::Varint { field, error })
}

#[inline]
pub(super) const fn span(start: usize, end: usize) -> Span {
    // Buffers of records stay below 2 GiB (`decode::MAX_BODY`), so the casts are exact.
    Span { start: start as u32, end: end as u32 }
}

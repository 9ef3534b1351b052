//! Compaction: of every key the newest record stays, and what stays keeps its offset.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ATTRIBUTES, CRC, Log, Stored};
use crate::wire::batch::{BatchHeader, Batches, HEADER_LEN};
use crate::wire::compress::{Compression, compress};
use crate::wire::varint;

/// Where the fields lie that change with a batch's records.
const LENGTH: usize = 8;
const COUNT: usize = 57;
/// What the length counts from.
const PREFIX: usize = 12;

impl Log {
    /// Compacts the log up to its last stable offset. Records of aborted transactions go; markers stay, as they do in
    /// Kafka for `delete.retention.ms`. A batch of which nothing stays goes, unless it is the newest of its producer: that
    /// one stays without records, because its sequence is needed. What does not decompress within `limit` bytes stays.
    pub(in crate::testing::broker) fn compact(&mut self, limit: usize) {
        let mut newest: BTreeMap<Bytes, i64> = BTreeMap::new();
        let mut newest_batches: BTreeMap<i64, i64> = BTreeMap::new();
        let stable = self.stable_end();
        let transactions = &self.transactions;
        let is_aborted = |batch: &Stored| {
            let of_batch =
                |header: BatchHeader| transactions.is_aborted(header.producer_id, header.base_offset);
            batch.header().filter(|header| header.attributes.is_transactional()).is_some_and(of_batch)
        };
        for batch in self.batches.iter().filter(|batch| !batch.is_control()) {
            newest_batches.insert(batch.producer_id(), batch.base);
            if batch.base < stable && !is_aborted(batch) {
                batch.each(limit, |key, offset, _| {
                    newest.insert(Bytes::copy_from_slice(key), offset);
                });
            }
        }
        for batch in self.batches.iter_mut().filter(|batch| batch.base < stable && !batch.is_control()) {
            let aborted = is_aborted(batch);
            batch.keep(limit, |key, offset| !aborted && newest.get(key) == Some(&offset));
        }
        self.batches.retain(|batch| {
            let producer = batch.producer_id();
            batch.count() > 0 || (producer >= 0 && newest_batches.get(&producer) == Some(&batch.base))
        });
        self.bytes = self.batches.iter().map(|batch| batch.bytes.len()).sum();
    }
}

impl Stored {
    fn producer_id(&self) -> i64 {
        self.header().map_or(-1, |header| header.producer_id)
    }

    fn is_control(&self) -> bool {
        self.header().is_some_and(|header| header.attributes.is_control())
    }

    fn count(&self) -> u32 {
        self.header().map_or(0, |header| header.count)
    }

    fn header(&self) -> Option<BatchHeader> {
        Some(*Batches::new(self.bytes.clone()).next()?.ok()?.header())
    }

    /// Shows each record with a key: the key, the offset, the whole record's bytes. Whether all could be read.
    fn each(&self, limit: usize, mut show: impl FnMut(&[u8], i64, &[u8])) -> bool {
        let read = || {
            let batch = Batches::new(self.bytes.clone()).next()?.ok()?;
            batch.cursor(limit).ok()
        };
        let Some(mut cursor) = read() else { return false };
        let buffer = cursor.buffer().clone();
        let mut end = 0;
        for record in cursor.records() {
            let start = end;
            let Ok(record) = record else { return false };
            let Ok(length) = varint::read_i32(&buffer, &mut end) else { return false };
            end += usize::try_from(length).unwrap_or_default();
            if let Some(key) = record.key {
                show(key, record.offset, buffer.get(start..end).unwrap_or_default());
            }
        }
        true
    }

    /// Drops the records that are not wanted, and those without a key. The codec stays; a batch that is left without
    /// records holds no stream of it.
    fn keep(&mut self, limit: usize, wanted: impl Fn(&[u8], i64) -> bool) {
        let (mut kept, mut count) = (Vec::new(), 0_u32);
        let all_read = self.each(limit, |key, offset, record| {
            if wanted(key, offset) {
                kept.extend(record);
                count += 1;
            }
        });
        let Some(header) = self.header().filter(|header| all_read && header.count > count) else { return };
        let mut bytes = self.bytes[..HEADER_LEN].to_vec();
        let codec = header.attributes.codec().map(Compression::new);
        let written = codec.map(|codec| count == 0 || compress(codec, &kept, &mut bytes).is_ok());
        if written != Ok(true) {
            return;
        }
        let length = u32::try_from(bytes.len() - PREFIX).unwrap_or(u32::MAX);
        bytes[LENGTH..LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        bytes[COUNT..COUNT + 4].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
        self.bytes = bytes.into();
    }
}

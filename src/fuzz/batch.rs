//! Record batches.

use bytes::Bytes;

use crate::wire::batch::{Batches, ControlType};

/// How much a batch may decompress to.
const LIMIT: usize = 1 << 20;

/// Reads arbitrary bytes as a fetch response's records, every record of every batch.
///
/// Input: the records.
pub fn batch(input: &[u8]) {
    let records = Bytes::copy_from_slice(input);
    let mut batches = Batches::new(records);
    for batch in &mut batches {
        let Ok(batch) = batch else { continue };
        let _ = batch.verify_crc();
        let Ok(mut cursor) = batch.cursor(LIMIT) else { continue };
        assert!(cursor.buffer().len() <= LIMIT.max(input.len()), "decompressed past the limit");
        let (count, mut found) = (cursor.left(), 0);
        let mut last = None;
        for record in cursor.records() {
            let Ok(record) = record else { break };
            found += 1;
            assert!(Some(record.offset) > last, "offsets must rise");
            assert!(record.offset <= batch.header().last_offset(), "an offset beyond the batch");
            assert!(record.headers.clone().all(|header| header.is_ok()), "headers are checked when read");
            let _ = ControlType::parse(record.key);
            last = Some(record.offset);
        }
        assert!(found <= count, "more records than announced");
    }
    assert!(batches.remaining() <= input.len(), "bytes out of nowhere");
}

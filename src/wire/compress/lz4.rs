//! The LZ4 frame format over lz4_flex's blocks.
//!
//! The framing is written here because each block can then be decompressed straight into the result, with the cap and
//! the end of the frame checked exactly. Written as Kafka's `Lz4BlockOutputStream` does: independent blocks of 64 KiB,
//! no checksums but the header's. Read: any legal frame without a dictionary. As in Java, one frame is the whole
//! stream: bytes behind it are ignored.

use std::cell::RefCell;

use lz4_flex::block::{
    self, CompressTable, DecompressError, compress_into_with_table, get_maximum_output_size,
};

use super::types::{Codec, CompressError};
use super::xxh32::xxh32;

const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const FLAG_RESERVED: u8 = 0b0000_0010;
const DICTIONARY: u8 = 0b0000_0001;
const SIZE_RESERVED: u8 = 0b1000_1111;
/// The id of blocks of 64 KiB, in its place in the second descriptor byte.
const SIZE_64_KIB: u8 = 4 << 4;
/// The block size that [`SIZE_64_KIB`] stands for.
const BLOCK: usize = 64 * 1024;
/// Set in the length of a block that is stored as it is.
const STORED: u32 = 1 << 31;
/// How far back a match may reach.
const WINDOW: usize = 64 * 1024;
/// No byte of a compressed block makes more than 255.
const MAX_RATIO: usize = 255;

thread_local! {
    static TABLE: RefCell<CompressTable> = RefCell::new(CompressTable::large());
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    let descriptor = [VERSION | INDEPENDENT, SIZE_64_KIB];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&descriptor);
    out.push(header_checksum(&descriptor));
    TABLE.with_borrow_mut(|table| {
        for chunk in input.chunks(BLOCK) {
            compress_block(table, chunk, out);
        }
    });
    out.extend_from_slice(&[0; 4]);
}

fn compress_block(table: &mut CompressTable, chunk: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let data = start + 4;
    out.resize(data + get_maximum_output_size(chunk.len()), 0);
    let len = out.get_mut(data..).and_then(|room| compress_into_with_table(chunk, room, table).ok());
    // Lengths here stay near 64 KiB, so the casts are exact.
    let prefix = match len {
        Some(len) if len < chunk.len() => {
            out.truncate(data + len);
            len as u32
        }
        // Incompressible.
        _ => {
            out.truncate(data);
            out.extend_from_slice(chunk);
            chunk.len() as u32 | STORED
        }
    };
    if let Some(slot) = out.get_mut(start..data) {
        slot.copy_from_slice(&prefix.to_le_bytes());
    }
}

pub(super) fn decompress(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
    decompress_frame(input, true, limit, out)
}

/// As [`decompress`], whatever the checksum of the frame's header.
pub(super) fn decompress_unchecked(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    decompress_frame(input, false, limit, out)
}

fn decompress_frame(
    input: &[u8],
    checks_header: bool,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    let mut rest = input;
    let frame = Frame::read(&mut rest, checks_header)?;
    let start = out.len();
    loop {
        let prefix = take_u32(&mut rest)?;
        if prefix == 0 {
            break;
        }
        // 31 bits fit usize wherever tokio runs.
        let data = take(&mut rest, (prefix & !STORED) as usize)?;
        if frame.block_checksum && take_u32(&mut rest)? != xxh32(data) {
            return Err(corrupt("checksum of a block"));
        }
        let room = limit - (out.len() - start);
        if prefix & STORED == 0 {
            frame.decompress_block(data, start, Room { left: room, limit }, out)?;
        } else if data.len() > frame.block_size {
            return Err(corrupt("a block is larger than the frame allows"));
        } else if data.len() > room {
            return Err(CompressError::TooLarge { codec: Codec::Lz4, limit });
        } else {
            out.extend_from_slice(data);
        }
    }
    let content = out.get(start..).unwrap_or_default();
    if frame.content_checksum && take_u32(&mut rest)? != xxh32(content) {
        return Err(corrupt("checksum of the content"));
    }
    if frame.content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(corrupt("size of the content"));
    }
    Ok(())
}

/// What is left of the limit, and the limit to name when it is passed.
#[derive(Clone, Copy)]
struct Room {
    left: usize,
    limit: usize,
}

/// A frame's descriptor.
struct Frame {
    block_size: usize,
    independent: bool,
    block_checksum: bool,
    content_checksum: bool,
    content_size: Option<u64>,
}

impl Frame {
    /// Takes the magic number and the descriptor off the front of `input`. `checks`: whether their checksum must be right.
    fn read(input: &mut &[u8], checks: bool) -> Result<Self, CompressError> {
        if take(input, MAGIC.len())? != MAGIC {
            return Err(corrupt("no LZ4 frame"));
        }
        let descriptor = *input;
        let [flags, sizes] = *take_array::<2>(input)?;
        if flags & VERSION_MASK != VERSION {
            return Err(corrupt("version of the frame"));
        }
        if flags & FLAG_RESERVED != 0 || sizes & SIZE_RESERVED != 0 {
            return Err(corrupt("a reserved bit of the frame is set"));
        }
        if flags & DICTIONARY != 0 {
            return Err(corrupt("the frame needs a dictionary"));
        }
        let block_size = match sizes >> 4 {
            id @ 4..=7 => BLOCK << (2 * (id - 4)),
            _ => return Err(corrupt("block size of the frame")),
        };
        let content_size =
            if flags & CONTENT_SIZE == 0 { None } else { Some(u64::from_le_bytes(*take_array::<8>(input)?)) };
        let covered = descriptor.get(..descriptor.len() - input.len()).unwrap_or_default();
        let [checksum] = *take_array::<1>(input)?;
        if checks && checksum != header_checksum(covered) {
            return Err(corrupt("checksum of the frame's header"));
        }
        Ok(Self {
            block_size,
            independent: flags & INDEPENDENT != 0,
            block_checksum: flags & BLOCK_CHECKSUM != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
            content_size,
        })
    }

    /// Appends a compressed block, which may refer to the bytes from `start` on unless blocks are independent.
    fn decompress_block(
        &self,
        data: &[u8],
        start: usize,
        room: Room,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let end = out.len();
        let legal = self.block_size.min(data.len().saturating_mul(MAX_RATIO));
        let size = legal.min(room.left);
        out.resize(end + size, 0);
        let window = if self.independent { end } else { start.max(end.saturating_sub(WINDOW)) };
        let (done, target) = out.split_at_mut(end);
        let dictionary = done.get(window..).unwrap_or_default();
        let result = if dictionary.is_empty() {
            block::decompress_into(data, target)
        } else {
            block::decompress_into_with_dict(data, target, dictionary)
        };
        match result {
            Ok(len) => {
                out.truncate(end + len);
                Ok(())
            }
            Err(DecompressError::OutputTooSmall { .. }) if size < legal => {
                Err(CompressError::TooLarge { codec: Codec::Lz4, limit: room.limit })
            }
            Err(_) => Err(corrupt("no legal block")),
        }
    }
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    let [_, second, ..] = xxh32(descriptor).to_le_bytes();
    second
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], CompressError> {
    let (head, rest) = input.split_at_checked(len).ok_or(TRUNCATED)?;
    *input = rest;
    Ok(head)
}

fn take_array<'a, const N: usize>(input: &mut &'a [u8]) -> Result<&'a [u8; N], CompressError> {
    let (head, rest) = input.split_first_chunk().ok_or(TRUNCATED)?;
    *input = rest;
    Ok(head)
}

fn take_u32(input: &mut &[u8]) -> Result<u32, CompressError> {
    take_array(input).map(|bytes| u32::from_le_bytes(*bytes))
}

const TRUNCATED: CompressError = CompressError::Truncated { codec: Codec::Lz4 };

const fn corrupt(reason: &'static str) -> CompressError {
    CompressError::Corrupt { codec: Codec::Lz4, reason }
}

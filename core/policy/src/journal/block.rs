//! Blocks: what is written at once, with a checksum.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `LSJ1` |
//! | 4 | length of the records, little-endian |
//! | 4 | CRC-32 (IEEE) of the length's bytes and the records |
//! | 4 | zero |
//! | length | the records |

use std::io::{self, Read};

/// What a block begins with.
pub const MAGIC: [u8; 4] = *b"LSJ1";

/// The bytes before a block's records.
pub const HEAD: usize = 16;

/// The most bytes of a block's records.
pub const MAX: usize = 16 << 20;

/// Makes room for a block's head at the end of `out`; [`seal`] fills it in.
pub fn begin(out: &mut Vec<u8>) {
    out.resize(out.len() + HEAD, 0);
}

/// Fills in the head of the block that begins at `start` and ends with `out`. A block has at most [`MAX`] bytes.
pub fn seal(out: &mut [u8], start: usize) {
    debug_assert!(out.len() - start - HEAD <= MAX, "a block is bounded");
    let length = u32::try_from(out.len() - start - HEAD).unwrap_or(u32::MAX).to_le_bytes();
    let sum = checksum(length, &out[start + HEAD..]).to_le_bytes();
    let zero = [0; 4];
    out[start..start + HEAD].copy_from_slice([MAGIC, length, sum, zero].as_flattened());
}

fn checksum(length: [u8; 4], records: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length);
    sum.update(records);
    sum.finalize()
}

/// Why there are no further blocks.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file ends within a block: the write that was under way when the power failed.
    #[error("the last block is cut off")]
    CutOff,
    /// The bytes are no block, or not as they were written.
    #[error("{0}")]
    Damaged(&'static str),
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
}

/// Reads the next block's records into `records`; false at the end.
pub fn next(file: &mut impl Read, records: &mut Vec<u8>) -> Result<bool, BlockError> {
    let mut head = [0; HEAD];
    match fill(file, &mut head)? {
        0 => return Ok(false),
        HEAD => {}
        // Even a part of a head must be one of ours: a file of another kind is not called cut off.
        there if head[..there.min(4)] == MAGIC[..there.min(4)] => return Err(BlockError::CutOff),
        _ => return Err(BlockError::Damaged("no block begins here")),
    }
    let [magic, length, sum, zero] = [&head[..4], &head[4..8], &head[8..12], &head[12..]];
    if magic != MAGIC {
        return Err(BlockError::Damaged("no block begins here"));
    }
    let length: [u8; 4] = length.try_into().unwrap_or_default();
    let size = u32::from_le_bytes(length) as usize;
    if size > MAX || zero != [0; 4] {
        return Err(BlockError::Damaged("a block's head is damaged"));
    }
    // A damaged length must not have memory taken for it: it is taken as the bytes come.
    records.clear();
    if file.by_ref().take(size as u64).read_to_end(records)? < size {
        return Err(BlockError::CutOff);
    }
    if checksum(length, records).to_le_bytes() != *sum {
        return Err(BlockError::Damaged("a block's checksum is wrong"));
    }
    Ok(true)
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut there = 0;
    while there < buffer.len() {
        match file.read(&mut buffer[there..]) {
            Ok(0) => break,
            Ok(more) => there += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

//! Blocks: what a file of a checkpoint is made of.
//!
//! ```text
//! header    magic `LVDABLK\n` │ version u16 │ codec u16 │ attempt u32 │ number u64 │ checksum u32
//! block     kind u8 │ name length u16 │ from u32 │ to u32 │ payload length u32 │ checksum u32 │ name │ payload
//! ...
//! trailer   kind u8 │ blocks u64 │ bytes u64 │ content u32 │ checksum u32
//! ```
//!
//! Integers are little endian. A checksum is the CRC-32 (IEEE) of what precedes it in its header, block or trailer; a
//! block's covers its name and payload too. `content` is the CRC-32 of all bytes before the trailer, and `bytes` the
//! length of the file with the trailer, behind which nothing may follow. No kind is zero: zeros are no block.

use std::fmt;

use crc32fast::Hasher;
use levada_core::codec::CODEC;
use serde::Serialize;

/// The version of files of blocks that is written here, and the newest that is read.
pub const BLOCKS_VERSION: u16 = 1;

/// The longest name of a block, in bytes.
pub const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// The longest payload of a block, in bytes. Slices of state are some hundred kilobytes; a single value can be large.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

pub(crate) const MAGIC: [u8; 8] = *b"LVDABLK\n";
pub(crate) const HEADER_BYTES: usize = 28;
pub(crate) const BLOCK_BYTES: usize = 19;
pub(crate) const TRAILER_BYTES: usize = 25;
pub(crate) const TRAILER: u8 = 0xBF;

/// What a block holds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum BlockKind {
    /// Rows of keyed state of an operator, written by one of its subtasks.
    Keyed = 0xB1,
    /// Rows of an operator's state that is not kept by key.
    Operator = 0xB2,
    /// What was in flight on a channel of an edge.
    Channel = 0xB3,
    /// What the input of a subtask knows besides: watermarks, idle channels.
    Input = 0xB4,
    /// What a subtask of a source knows: its splits and their positions.
    Source = 0xB5,
    /// What the subtasks of a source share: splits that nobody reads yet.
    Splits = 0xB6,
    /// What a subtask of a sink has prepared.
    Sink = 0xB7,
    /// A subtask had come to its end.
    Finished = 0xB8,
}

impl BlockKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Keyed,
        Self::Operator,
        Self::Channel,
        Self::Input,
        Self::Source,
        Self::Splits,
        Self::Sink,
        Self::Finished,
    ];

    pub(crate) fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyed => "keyed state",
            Self::Operator => "operator state",
            Self::Channel => "in-flight records",
            Self::Input => "input",
            Self::Source => "source",
            Self::Splits => "splits",
            Self::Sink => "sink",
            Self::Finished => "finished",
        })
    }
}

/// A piece of a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Block<'a> {
    /// What it holds.
    pub kind: BlockKind,
    /// The name of the operator, or of the edge.
    pub name: &'a str,
    /// The subtask, or the producer of a channel.
    pub from: u32,
    /// The parallelism of the operator, or the consumer of a channel.
    pub to: u32,
    /// Only who wrote it knows what this means.
    pub payload: &'a [u8],
}

impl Block<'_> {
    /// What comes before the payload. None if name or payload are too long.
    pub(crate) fn head(&self) -> Option<Vec<u8>> {
        let name_length = u16::try_from(self.name.len()).ok()?;
        let length = u32::try_from(self.payload.len()).ok();
        let length = length.filter(|length| *length as usize <= PAYLOAD_BYTES_MAX)?;
        let mut bytes = Vec::with_capacity(BLOCK_BYTES + self.name.len());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&name_length.to_le_bytes());
        bytes.extend_from_slice(&self.from.to_le_bytes());
        bytes.extend_from_slice(&self.to.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        let checksum = block_checksum(&bytes, self.name.as_bytes(), self.payload);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        Some(bytes)
    }
}

impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            from,
            to,
            ..
        } = self;
        match kind {
            BlockKind::Channel => write!(f, "{kind} of `{name}` from {from} to {to}"),
            _ => write!(f, "{kind} of `{name}`, subtask {from} of {to}"),
        }
    }
}

/// The payload in the bytes of a whole block; none if they are no such block.
pub(crate) fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(BLOCK_BYTES)?;
    let mut fields = Fields(&head[1..]);
    let name_length = usize::from(fields.u16());
    let _ = (fields.u32(), fields.u32());
    let length = fields.u32();
    let checksum = fields.u32();
    let (name, payload) = rest.split_at_checked(name_length)?;
    let is_whole = payload.len() == length as usize;
    let computed = block_checksum(&head[..BLOCK_BYTES - 4], name, payload);
    (is_whole && computed == checksum).then_some(payload)
}

pub(crate) fn block_checksum(fields: &[u8], name: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(fields);
    hasher.update(name);
    hasher.update(payload);
    hasher.finalize()
}

pub(crate) fn header(number: u64, attempt: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&BLOCKS_VERSION.to_le_bytes());
    bytes.extend_from_slice(&CODEC.to_le_bytes());
    bytes.extend_from_slice(&attempt.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

pub(crate) fn trailer(blocks: u64, bytes_before: u64, content: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TRAILER_BYTES);
    bytes.push(TRAILER);
    bytes.extend_from_slice(&blocks.to_le_bytes());
    bytes.extend_from_slice(&(bytes_before + TRAILER_BYTES as u64).to_le_bytes());
    bytes.extend_from_slice(&content.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Integers in bytes, from left to right. Whoever calls has looked at the length.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.next())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.next())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.next())
    }

    fn next<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .expect("the fields were counted before they were read");
        self.0 = rest;
        *field
    }
}

//! Segments: their names, their bytes, and how they are read. The format is in the documentation of the module above.

use std::io;
use std::path::{Path, PathBuf};

use levada_core::Timestamp;
use levada_core::codec::{self, CODEC, CodecError};
use levada_core::disk::{Disk, ReadAt};
use serde::Serialize;

use crate::log::error::LogError;

const MAGIC: [u8; 8] = *b"LVDALOG\n";
const VERSION: u16 = 1;

/// Bytes of the header of a segment.
pub(super) const HEADER_BYTES: u64 = 36;
const CHECKED_BYTES: usize = 32;
const _: () = assert!(CHECKED_BYTES as u64 + 4 == HEADER_BYTES);

/// Bytes of a frame before its payload.
pub(super) const FRAME_BYTES: usize = 16;

/// The most bytes of a payload: the codec reads no more.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
const _: () = assert!(PAYLOAD_BYTES_MAX as u64 <= codec::DECODE_BYTES_MAX);

/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What is known of a segment besides its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) partition: u32,
    /// The offset of the first record.
    pub(super) base: u64,
    /// When it was begun.
    pub(super) created: Timestamp,
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&CODEC.to_le_bytes());
        bytes.extend_from_slice(&self.partition.to_le_bytes());
        bytes.extend_from_slice(&self.base.to_le_bytes());
        bytes.extend_from_slice(&self.created.0.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

/// Appends the frame of a record.
pub(super) fn encode<T: Serialize>(
    record: &T,
    timestamp: Timestamp,
    bytes: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    let begin = bytes.len();
    bytes.extend_from_slice(&[0; FRAME_BYTES]);
    codec::encode(record, bytes)?;
    let (head, payload) = bytes[begin..].split_at_mut(FRAME_BYTES);
    let Some(length) = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= PAYLOAD_BYTES_MAX)
    else {
        return Ok(Encoded::TooLarge(payload.len()));
    };
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[8..].copy_from_slice(&timestamp.0.to_le_bytes());
    let checksum = checksum(head, payload);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(Encoded::Frame(payload.len()))
}

/// What became of a record that was to be encoded.
pub(super) enum Encoded {
    /// A frame with a payload of so many bytes.
    Frame(usize),
    /// It has so many bytes, more than any frame can have.
    TooLarge(usize),
}

/// Of everything in a frame but the checksum itself.
fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..4]);
    hasher.update(&head[8..FRAME_BYTES]);
    hasher.update(payload);
    hasher.finalize()
}

/// The name of the segment that begins with an offset.
pub(super) fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.log"))
}

/// The bases of the segments in the directory of a partition, sorted.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, LogError> {
    let paths = disk.list(dir).map_err(LogError::file("list", dir))?;
    let bases = paths.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_suffix(".log")?;
        let is_base = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_base)
    });
    // Twenty digits sort like numbers.
    Ok(bases.collect())
}

/// Reads a segment, frame by frame.
pub(super) struct SegmentReader {
    file: Box<dyn ReadAt>,
    pub(super) path: PathBuf,
    pub(super) created: Timestamp,
    /// The offset of the first record.
    pub(super) base: u64,
    /// The offset of the next record.
    offset: u64,
    /// The byte at which its frame begins.
    at: u64,
    /// Bytes of the file; those from `read` on begin at `at`.
    buffer: Vec<u8>,
    read: usize,
}

/// What comes next in a segment.
pub(super) enum Next<'a> {
    Frame {
        timestamp: Timestamp,
        payload: &'a [u8],
    },
    /// The file ends behind a whole frame.
    End,
    /// What follows is no frame, for this reason.
    Broken(&'static str),
}

/// A segment that is open.
pub(super) enum Opened {
    Segment(SegmentReader),
    /// It has no valid header, for this reason.
    Broken(&'static str),
}

impl SegmentReader {
    /// Opens the segment of a partition that begins with an offset; none if there is no such file.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        partition: u32,
        base: u64,
    ) -> Result<Option<Opened>, LogError> {
        let path = path_of(dir, base);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::file("read", &path)(error)),
        };
        let mut reader = Self {
            file,
            path,
            created: Timestamp::MIN,
            base,
            offset: base,
            at: 0,
            buffer: Vec::new(),
            read: 0,
        };
        let broken = reader.read_header(partition, base)?;
        Ok(Some(match broken {
            Some(why) => Opened::Broken(why),
            None => Opened::Segment(reader),
        }))
    }

    fn read_header(&mut self, partition: u32, base: u64) -> Result<Option<&'static str>, LogError> {
        if !self.fill(HEADER_BYTES as usize)? {
            return Ok(Some("it is shorter than a header"));
        }
        let bytes = &self.buffer[..HEADER_BYTES as usize];
        let (checked, checksum) = bytes.split_at(CHECKED_BYTES);
        if checked[..8] != MAGIC {
            return Ok(Some("it does not begin like a segment"));
        }
        if crc32fast::hash(checked).to_le_bytes() != *checksum {
            return Ok(Some("the checksum of the header is wrong"));
        }
        for (what, at, expected) in [("version", 8, VERSION), ("codec", 10, CODEC)] {
            let found = u16::from_le_bytes([checked[at], checked[at + 1]]);
            if found != expected {
                return Err(LogError::Version {
                    path: self.path.clone(),
                    what,
                    found,
                    expected,
                });
            }
        }
        if checked[12..16] != partition.to_le_bytes() {
            return Ok(Some("it belongs to another partition"));
        }
        if checked[16..24] != base.to_le_bytes() {
            return Ok(Some("it begins with another offset than its name says"));
        }
        self.created = Timestamp(i64::from_le_bytes(eight(&checked[24..32])));
        self.read = HEADER_BYTES as usize;
        self.at = HEADER_BYTES;
        Ok(None)
    }

    /// The offset of the next record.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The byte at which its frame begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Reads what comes next. A frame has been read then, and what is broken has not: it is found again.
    pub(super) fn next(&mut self) -> Result<Next<'_>, LogError> {
        if !self.fill(FRAME_BYTES)? {
            return Ok(match self.buffer.len() - self.read {
                0 => Next::End,
                _ => Next::Broken("it ends within a frame"),
            });
        }
        let head = &self.buffer[self.read..self.read + FRAME_BYTES];
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Ok(Next::Broken("the length of a frame is beyond all limits"));
        }
        if !self.fill(FRAME_BYTES + length)? {
            return Ok(Next::Broken("it ends within a frame"));
        }
        let frame = &self.buffer[self.read..self.read + FRAME_BYTES + length];
        let (head, payload) = frame.split_at(FRAME_BYTES);
        if checksum(head, payload).to_le_bytes() != head[4..8] {
            return Ok(Next::Broken("the checksum of a frame is wrong"));
        }
        let timestamp = Timestamp(i64::from_le_bytes(eight(&head[8..])));
        self.read += frame.len();
        self.at += frame.len() as u64;
        self.offset += 1;
        Ok(Next::Frame { timestamp, payload })
    }

    /// Forgets what has been read from the file ahead of the next frame: it may have been cut off and written anew since.
    pub(super) fn look_again(&mut self) {
        self.buffer.clear();
        self.read = 0;
    }

    /// Makes at least so many bytes from the next frame on available; false if the file ends before. The buffer grows with
    /// what the file has, and not by what a length says.
    fn fill(&mut self, bytes: usize) -> Result<bool, LogError> {
        loop {
            let ready = self.buffer.len() - self.read;
            if ready >= bytes {
                return Ok(true);
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            self.buffer.resize(ready + CHUNK_BYTES, 0);
            let read = self
                .file
                .read_at(self.at + ready as u64, &mut self.buffer[ready..])
                .map_err(LogError::file("read", &self.path));
            self.buffer.truncate(ready + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(false);
            }
        }
    }
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().expect("the caller takes eight bytes")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use levada_testing::MemoryDisk;

    use super::*;

    fn segment(records: &[&str]) -> Vec<u8> {
        let header = Header {
            partition: 3,
            base: 7,
            created: Timestamp(5),
        };
        let mut bytes = header.to_bytes();
        for (n, record) in records.iter().enumerate() {
            encode(record, Timestamp(n as i64), &mut bytes).unwrap();
        }
        bytes
    }

    /// The records of a segment, and how it ends.
    fn read(bytes: &[u8]) -> (Vec<(String, i64)>, String) {
        let disk = MemoryDisk::default();
        disk.put("p/00000000000000000007.log", bytes);
        let disk = Arc::new(disk);
        let opened = SegmentReader::open(&*disk, Path::new("p"), 3, 7).unwrap();
        let mut reader = match opened.unwrap() {
            Opened::Segment(reader) => reader,
            Opened::Broken(why) => return (Vec::new(), why.to_owned()),
        };
        assert_eq!(reader.created, Timestamp(5));
        let mut records = Vec::new();
        loop {
            match reader.next().unwrap() {
                Next::Frame { timestamp, payload } => {
                    records.push((codec::decode(payload).unwrap(), timestamp.0));
                }
                Next::End => return (records, "end".to_owned()),
                Next::Broken(why) => return (records, why.to_owned()),
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let (records, end) = read(&segment(&["one", "", "three"]));
        assert_eq!(end, "end");
        let expected = [("one", 0), ("", 1), ("three", 2)];
        assert_eq!(records, expected.map(|(text, at)| (text.to_owned(), at)));
    }

    #[test]
    fn a_segment_that_is_cut_anywhere_gives_its_whole_frames() {
        let whole = segment(&["one", "", "three"]);
        let ends: Vec<_> = (0..=3)
            .map(|n| segment(&["one", "", "three"][..n]).len())
            .collect();
        for cut in 0..whole.len() {
            let (records, end) = read(&whole[..cut]);
            let frames = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(records.len(), frames.saturating_sub(1), "cut at {cut}");
            assert_eq!(end == "end", ends.contains(&cut), "cut at {cut}: {end}");
        }
    }

    #[test]
    fn a_bit_that_is_flipped_anywhere_is_found() {
        let whole = segment(&["one", "", "three"]);
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[byte] ^= 1 << bit;
                if (8..12).contains(&byte) {
                    continue; // version and codec, with a wrong checksum all the same
                }
                let (records, end) = read(&damaged);
                assert_ne!(end, "end", "bit {bit} of byte {byte}");
                assert!(records.len() < 3);
            }
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        let mut bytes = segment(&["one"]);
        bytes.resize(bytes.len() + 100, 0);
        let (records, end) = read(&bytes);
        assert_eq!(records.len(), 1);
        assert_eq!(end, "the checksum of a frame is wrong");
    }
}

//! Reading blocks, and looking at every byte of them.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crc32fast::Hasher;
use levada_core::codec::CODEC;
use levada_core::disk::{Disk, ReadAt};

use crate::block::{
    self, BLOCK_BYTES, BLOCKS_VERSION, Block, BlockKind, Fields, HEADER_BYTES, PAYLOAD_BYTES_MAX,
    TRAILER, TRAILER_BYTES,
};
use crate::error::CheckpointError;
use crate::manifest::FileEntry;
use crate::name::Name;

/// How much is read at once, unless a block is larger.
const CHUNK_BYTES: usize = 256 << 10;

/// Where a block is in its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    offset: u64,
    bytes: usize,
}

/// A file of blocks of which single ones are read again.
pub struct BlockFile {
    path: PathBuf,
    file: Box<dyn ReadAt>,
}

impl Place {
    /// The first of its bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl BlockFile {
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf) -> Result<Self, CheckpointError> {
        let file = disk
            .open(&path)
            .map_err(CheckpointError::file("read", &path))?;
        Ok(Self { path, file })
    }

    /// Appends the block that was in this place to `bytes`, and returns where in them its payload is.
    ///
    /// # Errors
    /// If it is not there any more.
    pub fn read(
        &mut self,
        place: Place,
        bytes: &mut Vec<u8>,
    ) -> Result<Range<usize>, CheckpointError> {
        let begin = bytes.len();
        bytes.resize(begin + place.bytes, 0);
        let bytes = &mut bytes[begin..];
        let mut end = 0;
        while end < bytes.len() {
            let read = self
                .file
                .read_at(place.offset + end as u64, &mut bytes[end..])
                .map_err(CheckpointError::file("read", &self.path))?;
            if read == 0 {
                break;
            }
            end += read;
        }
        let payload = block::payload(&bytes[..end]);
        let payload = payload.map(|payload| begin + end - payload.len()..begin + end);
        payload.ok_or_else(|| CheckpointError::Damaged {
            path: self.path.clone(),
            offset: place.offset,
            expected: "the block that was there when the file was looked at".to_owned(),
            found: "something else".to_owned(),
        })
    }
}

/// A file of blocks that is being read.
pub(crate) struct BlockReader<'a> {
    path: PathBuf,
    entry: &'a FileEntry,
    file: Box<dyn ReadAt>,
    buffer: Vec<u8>,
    /// Where in the buffer that begins which has not been looked at.
    begin: usize,
    /// Where in the file that is.
    offset: u64,
    blocks: u64,
    /// The checksum of what has been looked at.
    content: Hasher,
}

impl<'a> BlockReader<'a> {
    /// Opens a file that a manifest names, and looks at its header.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        entry: &'a FileEntry,
        manifest: impl FnOnce() -> PathBuf,
    ) -> Result<Self, CheckpointError> {
        check_length(disk, path.clone(), entry, manifest)?;
        let file = disk
            .open(&path)
            .map_err(CheckpointError::file("read", &path))?;
        let mut reader = Self {
            path,
            entry,
            file,
            buffer: Vec::new(),
            begin: 0,
            offset: 0,
            blocks: 0,
            content: Hasher::new(),
        };
        reader.header()?;
        Ok(reader)
    }

    /// The next block and its place; none when the trailer has been read and all is as it was written.
    pub(crate) fn next(&mut self) -> Result<Option<(Place, Block<'_>)>, CheckpointError> {
        let left = self.entry.bytes - self.offset;
        let Some(room) = left.checked_sub(TRAILER_BYTES as u64) else {
            let found = format!("{left} bytes up to the end of the file");
            return Err(self.damaged(0, "a block or the trailer", found));
        };
        self.fill(TRAILER_BYTES)?;
        let number = self.buffer[self.begin];
        if number == TRAILER {
            return self.trailer(left).map(|()| None);
        }
        let Some(kind) = BlockKind::of(number) else {
            let found = format!("the byte 0x{number:02x}");
            return Err(self.damaged(0, "a block or the trailer", found));
        };
        let mut fields = Fields(&self.buffer[self.begin + 1..self.begin + BLOCK_BYTES]);
        let name_length = usize::from(fields.u16());
        let (from, to) = (fields.u32(), fields.u32());
        let length = fields.u32();
        let checksum = fields.u32();
        let bytes = (BLOCK_BYTES + name_length) as u64 + u64::from(length);
        if length as usize > PAYLOAD_BYTES_MAX || bytes > room {
            let expected = format!("a block of at most {room} bytes");
            return Err(self.damaged(0, expected, format!("a length of {bytes}")));
        }
        let total = BLOCK_BYTES + name_length + length as usize;
        self.fill(total)?;

        let bytes = &self.buffer[self.begin..self.begin + total];
        let (head, rest) = bytes.split_at(BLOCK_BYTES);
        let (name, payload) = rest.split_at(name_length);
        let computed = block::block_checksum(&head[..BLOCK_BYTES - 4], name, payload);
        if computed != checksum {
            return Err(self.wrong_checksum(0, checksum, computed));
        }
        if let Err(error) = std::str::from_utf8(name) {
            return Err(self.damaged(BLOCK_BYTES, "a name in UTF-8", error.to_string()));
        }
        let place = Place {
            offset: self.offset,
            bytes: total,
        };
        self.pass(total);
        self.blocks += 1;
        let rest = &self.buffer[self.begin - total + BLOCK_BYTES..self.begin];
        let (name, payload) = rest.split_at(name_length);
        let block = Block {
            kind,
            name: std::str::from_utf8(name).expect("the name has been looked at"),
            from,
            to,
            payload,
        };
        Ok(Some((place, block)))
    }

    fn header(&mut self) -> Result<(), CheckpointError> {
        self.fill(HEADER_BYTES)?;
        let bytes = &self.buffer[..HEADER_BYTES];
        let (magic, rest) = bytes.split_at(block::MAGIC.len());
        if magic != block::MAGIC {
            let expected = "the magic of a file of blocks";
            return Err(self.damaged(
                0,
                expected,
                format!("{:?}", magic.escape_ascii().to_string()),
            ));
        }
        let mut fields = Fields(rest);
        let (version, codec) = (fields.u16(), fields.u16());
        let (attempt, number) = (fields.u32(), fields.u64());
        let checksum = fields.u32();
        let computed = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        if computed != checksum {
            return Err(self.wrong_checksum(0, checksum, computed));
        }
        check_version(&self.path, "version", version, BLOCKS_VERSION)?;
        check_version(&self.path, "codec", codec, CODEC)?;
        let found = Name::Data { number, attempt };
        let expected = Name::parse(&self.entry.name);
        if expected != Some(found) {
            let expected = "the checkpoint and attempt of its name";
            let found = format!("checkpoint {number}, attempt {attempt}");
            return Err(self.damaged(12, expected, found));
        }
        self.pass(HEADER_BYTES);
        Ok(())
    }

    fn trailer(&mut self, left: u64) -> Result<(), CheckpointError> {
        let bytes = &self.buffer[self.begin..self.begin + TRAILER_BYTES];
        let mut fields = Fields(&bytes[1..]);
        let (blocks, length, content) = (fields.u64(), fields.u64(), fields.u32());
        let checksum = fields.u32();
        let computed = crc32fast::hash(&bytes[..TRAILER_BYTES - 4]);
        if computed != checksum {
            return Err(self.wrong_checksum(0, checksum, computed));
        }
        if left != TRAILER_BYTES as u64 || length != self.entry.bytes {
            let expected = format!("the end of the file at byte {}", self.entry.bytes);
            return Err(self.damaged(
                0,
                expected,
                format!(
                    "its trailer, after which {} bytes follow",
                    left - TRAILER_BYTES as u64
                ),
            ));
        }
        if blocks != self.blocks || blocks != self.entry.blocks {
            let expected = format!("{} blocks, as the manifest says", self.entry.blocks);
            let found = format!("{} of {blocks}", self.blocks);
            return Err(self.damaged(0, expected, found));
        }
        let computed = self.content.clone().finalize();
        if computed != content {
            return Err(self.wrong_checksum(0, content, computed));
        }
        if content != self.entry.checksum {
            return Err(self.wrong_checksum(0, self.entry.checksum, content));
        }
        Ok(())
    }

    /// Sees to it that so many bytes are in the buffer.
    fn fill(&mut self, wanted: usize) -> Result<(), CheckpointError> {
        let held = self.buffer.len() - self.begin;
        if held >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let left = self.entry.bytes - self.offset;
        let room = usize::try_from(left).unwrap_or(usize::MAX);
        if wanted > room {
            let found = format!("{left} bytes up to the end of the file");
            return Err(self.damaged(0, format!("{wanted} bytes"), found));
        }
        let target = wanted.max(CHUNK_BYTES).min(room);
        let mut end = held;
        self.buffer.resize(target, 0);
        while end < target {
            let at = self.offset + end as u64;
            let read = self
                .file
                .read_at(at, &mut self.buffer[end..])
                .map_err(CheckpointError::file("read", &self.path))?;
            if read == 0 {
                return Err(CheckpointError::Length {
                    path: self.path.clone(),
                    expected: self.entry.bytes,
                    found: at,
                });
            }
            end += read;
        }
        Ok(())
    }

    fn pass(&mut self, bytes: usize) {
        let end = self.begin + bytes;
        self.content.update(&self.buffer[self.begin..end]);
        self.begin = end;
        self.offset += bytes as u64;
    }

    /// Damage, so many bytes behind those that have been looked at.
    fn damaged(
        &self,
        behind: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> CheckpointError {
        CheckpointError::Damaged {
            path: self.path.clone(),
            offset: self.offset + behind as u64,
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn wrong_checksum(&self, behind: usize, expected: u32, found: u32) -> CheckpointError {
        let text = |checksum| format!("the checksum {checksum:08x}");
        self.damaged(behind, text(expected), text(found))
    }
}

/// Looks whether a file that a manifest names is there and as long as it was.
pub(crate) fn check_length(
    disk: &dyn Disk,
    path: PathBuf,
    entry: &FileEntry,
    manifest: impl FnOnce() -> PathBuf,
) -> Result<(), CheckpointError> {
    match disk.metadata(&path) {
        Ok(found) if found.len == entry.bytes && !found.is_dir => Ok(()),
        Ok(found) => Err(CheckpointError::Length {
            path,
            expected: entry.bytes,
            found: found.len,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CheckpointError::Missing {
            path,
            manifest: manifest(),
        }),
        Err(error) => Err(CheckpointError::file("read", &path)(error)),
    }
}

/// Refuses what a newer version of Levada has written.
pub(crate) fn check_version(
    path: &std::path::Path,
    what: &'static str,
    found: u16,
    expected: u16,
) -> Result<(), CheckpointError> {
    // There is no older one yet.
    if found == expected {
        return Ok(());
    }
    Err(CheckpointError::Version {
        path: path.to_owned(),
        what,
        found,
        expected,
    })
}

//! Writing blocks.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crc32fast::Hasher;
use levada_core::disk::{Append, Disk};
use levada_core::fault;

use crate::block::{self, Block};
use crate::error::CheckpointError;
use crate::manifest::FileEntry;

/// Small blocks are gathered until they are so many bytes: a write costs more than a copy.
const GATHERED_BYTES: usize = 256 << 10;

/// A file of blocks that is being written.
///
/// After an error it takes nothing more and is removed, as it is when it is dropped unfinished: what a failed write or
/// sync has left is never trusted.
pub struct DataFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    name: String,
    /// None once it is finished or has failed.
    file: Option<Box<dyn Append>>,
    gathered: Vec<u8>,
    blocks: u64,
    /// Bytes so far, with those that are gathered.
    bytes: u64,
    /// The checksum of them.
    content: Hasher,
}

impl DataFile {
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        name: String,
        number: u64,
        attempt: u32,
    ) -> Result<Self, CheckpointError> {
        let file = disk
            .create_new(&path)
            .map_err(CheckpointError::file("create", &path))?;
        let mut created = Self {
            disk,
            path,
            name,
            file: Some(file),
            gathered: Vec::new(),
            blocks: 0,
            bytes: 0,
            content: Hasher::new(),
        };
        created.gather(&block::header(number, attempt));
        Ok(created)
    }

    /// Appends a block; returns how many bytes it takes.
    ///
    /// # Errors
    /// If it cannot be written; then the file is removed. If the block is too large; then the file is as it was.
    pub fn append(&mut self, block: &Block<'_>) -> Result<u64, CheckpointError> {
        if self.file.is_none() {
            return Err(self.failed());
        }
        let head = block.head().ok_or_else(|| CheckpointError::TooLarge {
            block: format!("{} of an operator or edge", block.kind),
            name: block.name.len(),
            payload: block.payload.len(),
        })?;
        self.gather(&head);
        if block.payload.len() < GATHERED_BYTES {
            self.gather(block.payload);
        } else {
            self.write()?;
            self.count(block.payload);
            self.act("write", |file| file.append(block.payload))?;
        }
        if self.gathered.len() >= GATHERED_BYTES {
            self.write()?;
        }
        self.blocks += 1;
        Ok((head.len() + block.payload.len()) as u64)
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file and makes its content durable, in one sync. Its name is made durable with the manifest.
    ///
    /// # Errors
    /// If it cannot be written or synced; then it is removed.
    pub fn finish(mut self) -> Result<FileEntry, CheckpointError> {
        let content = self.content.clone().finalize();
        self.gather(&block::trailer(self.blocks, self.bytes, content));
        self.write()?;
        if !fault!("data-unsynced") {
            self.act("sync", |file| file.sync())?;
        }
        self.file = None;
        Ok(FileEntry {
            name: std::mem::take(&mut self.name),
            bytes: self.bytes,
            blocks: self.blocks,
            checksum: content,
        })
    }

    fn gather(&mut self, bytes: &[u8]) {
        self.count(bytes);
        self.gathered.extend_from_slice(bytes);
    }

    fn count(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.content.update(bytes);
    }

    /// Writes what is gathered.
    fn write(&mut self) -> Result<(), CheckpointError> {
        let gathered = std::mem::take(&mut self.gathered);
        if gathered.is_empty() {
            return Ok(());
        }
        self.act("write", |file| file.append(&gathered))?;
        self.gathered = gathered;
        self.gathered.clear();
        Ok(())
    }

    /// Does something to the file, and gives it up if that fails.
    fn act(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut dyn Append) -> io::Result<()>,
    ) -> Result<(), CheckpointError> {
        let Some(file) = &mut self.file else {
            return Err(self.failed());
        };
        act(&mut **file).map_err(|error| {
            self.give_up();
            CheckpointError::file(what, &self.path)(error)
        })
    }

    fn failed(&self) -> CheckpointError {
        CheckpointError::Failed {
            path: self.path.clone(),
        }
    }

    fn give_up(&mut self) {
        self.file = None;
        // If it cannot be removed it stays until a job opens the directory: no manifest will refer to it.
        let _ = self.disk.remove(&self.path);
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.give_up();
        }
    }
}

//! Epochs of a subtask that wait beside the log until they are committed.
//!
//! The first epoch of a job is appended to the partitions at once, behind their committed ends. A later one cannot be: a
//! subtask may write for it while another one still writes for the epoch before, to the same partition, and a committed end
//! is one place. So it goes into a file of its own, `staged/RUN-SUBTASK-EPOCH`, and is copied when it is committed. The file
//! is a sequence of chunks:
//!
//! | bytes | chunk | |
//! |---|---|---|
//! | 4 | partition: u32 | |
//! | 8 | records: u64 | |
//! | 8 | length: u64 | of the frames |
//! | length | frames | as in a segment |
//!
//! What a checkpoint keeps has the length of the file and the CRC-32 of all its bytes. `ends.json` says which epochs have been
//! copied, so that a commit that is repeated copies none twice.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use levada_core::disk::{Append, ReadAt};
use serde::{Deserialize, Serialize};

use crate::directory;
use crate::log::error::LogError;
use crate::log::home::Home;

const CHUNK_HEADER_BYTES: usize = 20;

/// An epoch of a subtask.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Epoch {
    pub(super) run: String,
    pub(super) subtask: usize,
    pub(super) number: u64,
}

impl Epoch {
    fn name(&self) -> String {
        format!("{}-{:05}-{:06}", self.run, self.subtask, self.number)
    }

    pub(super) fn path(&self, home: &Home) -> PathBuf {
        home.staged().join(self.name())
    }
}

/// An epoch that is safe in its file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Staged {
    pub(super) epoch: Epoch,
    bytes: u64,
    checksum: u32,
}

/// An epoch that is being written.
pub(super) struct Staging {
    epoch: Epoch,
    path: PathBuf,
    file: Box<dyn Append>,
    bytes: u64,
    hasher: crc32fast::Hasher,
}

impl Staging {
    pub(super) fn create(home: &Home, epoch: Epoch) -> Result<Self, LogError> {
        let dir = home.staged();
        let disk = &*home.disk;
        directory::create(disk, &dir).map_err(LogError::file("create", &dir))?;
        let path = epoch.path(home);
        let file = disk.create_new(&path);
        Ok(Self {
            file: file.map_err(LogError::file("create", &path))?,
            epoch,
            path,
            bytes: 0,
            hasher: crc32fast::Hasher::new(),
        })
    }

    pub(super) fn append(
        &mut self,
        partition: u32,
        frames: &[u8],
        records: u64,
    ) -> Result<(), LogError> {
        let mut header = [0; CHUNK_HEADER_BYTES];
        header[..4].copy_from_slice(&partition.to_le_bytes());
        header[4..12].copy_from_slice(&records.to_le_bytes());
        header[12..].copy_from_slice(&(frames.len() as u64).to_le_bytes());
        for bytes in [&header[..], frames] {
            let appended = self.file.append(bytes);
            appended.map_err(LogError::file("write", &self.path))?;
            self.hasher.update(bytes);
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Makes it safe, with its name.
    pub(super) fn seal(&mut self, home: &Home) -> Result<Staged, LogError> {
        let synced = self.file.sync();
        synced.map_err(LogError::file("sync", &self.path))?;
        let dir = home.staged();
        let synced = home.disk.sync_dir(&dir);
        synced.map_err(LogError::file("sync", &dir))?;
        Ok(Staged {
            epoch: self.epoch.clone(),
            bytes: self.bytes,
            checksum: self.hasher.clone().finalize(),
        })
    }

    pub(super) fn remove(self, home: &Home) -> Result<(), LogError> {
        drop(self.file);
        remove(home, &self.path)
    }
}

impl Staged {
    /// Gives its chunks to `append`, in their order. What was given is not to be trusted if this fails.
    pub(super) fn copy(
        &self,
        home: &Home,
        mut append: impl FnMut(u32, &[u8], u64) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let path = self.epoch.path(home);
        let mut file = match home.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(LogError::LostEpoch { path });
            }
            Err(error) => return Err(LogError::file("read", &path)(error)),
        };
        let unreadable = || LogError::Unreadable {
            path: path.clone(),
            why: "it is not what the checkpoint has prepared".to_owned(),
        };
        let mut hasher = crc32fast::Hasher::new();
        let mut frames = Vec::new();
        let mut at = 0;
        while at < self.bytes {
            let mut header = [0; CHUNK_HEADER_BYTES];
            let mut read = |at: &mut u64, buffer: &mut [u8]| {
                read_all(&mut *file, *at, buffer).map_err(LogError::file("read", &path))?;
                *at += buffer.len() as u64;
                hasher.update(buffer);
                Ok(())
            };
            read(&mut at, &mut header)?;
            let (partition, numbers) = header.split_at(4);
            let partition = u32::from_le_bytes(partition.try_into().expect("it has 4 bytes"));
            let (records, length) = numbers.split_at(8);
            let [records, length] = [records, length]
                .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("it has 8 bytes")));
            if length > self.bytes - at.min(self.bytes) {
                return Err(unreadable());
            }
            frames.resize(usize::try_from(length).map_err(|_| unreadable())?, 0);
            read(&mut at, &mut frames)?;
            append(partition, &frames, records)?;
        }
        if at != self.bytes || hasher.finalize() != self.checksum {
            return Err(unreadable());
        }
        Ok(())
    }
}

fn read_all(file: &mut dyn ReadAt, mut at: u64, mut buffer: &mut [u8]) -> std::io::Result<()> {
    while !buffer.is_empty() {
        let read = file.read_at(at, buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        at += read as u64;
        buffer = &mut buffer[read..];
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(super) fn remove(home: &Home, path: &std::path::Path) -> Result<(), LogError> {
    match home.disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(LogError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes the epochs of dead jobs: all but these. Only for whoever holds the lock of the log.
pub(super) fn remove_leftovers(home: &Home, kept: &[Epoch]) -> Result<(), LogError> {
    let dir = home.staged();
    let found = match home.disk.list(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(LogError::file("list", &dir))?,
    };
    let kept: BTreeSet<_> = kept.iter().map(Epoch::name).collect();
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        kept.contains(&*name)
    };
    let mut leftovers = found.iter().filter(|path| !is_kept(path));
    leftovers.try_for_each(|path| remove(home, path))
}

//! A file with an offset for each partition: the ends of a log, or how far a consumer has read.

use std::path::Path;

use levada_core::disk::Disk;
use serde::{Deserialize, Serialize};

use crate::log::error::LogError;
use crate::log::publish;
use crate::log::staged::Epoch;

/// What the offsets of a file are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The committed ends of the partitions.
    Ends,
    /// The offsets of the next records that a consumer reads.
    Consumer,
}

impl Kind {
    fn magic(self) -> &'static str {
        match self {
            Self::Ends => "levada log ends",
            Self::Consumer => "levada log consumer",
        }
    }
}

/// The version of these files.
const VERSION: u16 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    magic: String,
    version: u16,
    offsets: Vec<u64>,
    /// The last epoch of each subtask of a run that lies before the ends, if it was copied there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    copied: Vec<Epoch>,
    /// CRC-32 of the offsets, each as eight bytes, little endian; then of what was copied, as JSON, if anything was.
    checksum: u32,
}

/// The committed ends of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Committed {
    pub(super) ends: Vec<u64>,
    pub(super) copied: Vec<Epoch>,
}

impl Committed {
    pub(super) fn read(
        disk: &dyn Disk,
        path: &Path,
        partitions: usize,
    ) -> Result<Option<Self>, LogError> {
        let content = read_content(disk, path, Kind::Ends, partitions)?;
        Ok(content.map(|content| Self {
            ends: content.offsets,
            copied: content.copied,
        }))
    }

    /// Replaces the file; see [`publish::publish`].
    pub(super) fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
        write_content(disk, path, Kind::Ends, &self.ends, &self.copied)
    }

    /// Whether an epoch has been copied.
    pub(super) fn holds(&self, epoch: &Epoch) -> bool {
        let same = |copied: &&Epoch| copied.run == epoch.run && copied.subtask == epoch.subtask;
        let copied = self.copied.iter().find(same);
        copied.is_some_and(|copied| copied.number >= epoch.number)
    }
}

/// Reads such a file; none if it is not there.
pub(super) fn read(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    partitions: usize,
) -> Result<Option<Vec<u64>>, LogError> {
    let content = read_content(disk, path, kind, partitions)?;
    Ok(content.map(|content| content.offsets))
}

fn read_content(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    partitions: usize,
) -> Result<Option<Content>, LogError> {
    let Some(bytes) = publish::read(disk, path)? else {
        return Ok(None);
    };
    let unreadable = |why: String| LogError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let content: Content =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if content.magic != kind.magic() {
        return Err(unreadable(format!("its magic is `{}`", content.magic)));
    }
    if content.version != VERSION {
        return Err(LogError::Version {
            path: path.to_owned(),
            what: "version",
            found: content.version,
            expected: VERSION,
        });
    }
    if content.checksum != checksum(&content.offsets, &content.copied) {
        return Err(unreadable("its checksum is wrong".to_owned()));
    }
    if content.offsets.len() != partitions {
        return Err(LogError::Partitions {
            path: path.to_owned(),
            found: content.offsets.len(),
            expected: partitions,
        });
    }
    Ok(Some(content))
}

/// Replaces such a file; see [`publish::publish`].
pub(super) fn write(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    offsets: &[u64],
) -> Result<(), LogError> {
    write_content(disk, path, kind, offsets, &[])
}

fn write_content(
    disk: &dyn Disk,
    path: &Path,
    kind: Kind,
    offsets: &[u64],
    copied: &[Epoch],
) -> Result<(), LogError> {
    let content = Content {
        magic: kind.magic().to_owned(),
        version: VERSION,
        offsets: offsets.to_vec(),
        copied: copied.to_vec(),
        checksum: checksum(offsets, copied),
    };
    let mut bytes = serde_json::to_vec(&content).expect("numbers and text can be written as JSON");
    bytes.push(b'\n');
    publish::publish(disk, path, &bytes)
}

fn checksum(offsets: &[u64], copied: &[Epoch]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for offset in offsets {
        hasher.update(&offset.to_le_bytes());
    }
    if !copied.is_empty() {
        let bytes = serde_json::to_vec(copied).expect("numbers and text can be written as JSON");
        hasher.update(&bytes);
    }
    hasher.finalize()
}

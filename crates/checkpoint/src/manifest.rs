//! Manifests: what a checkpoint is of, and in which files it is.
//!
//! JSON, with the checksum in the last line but one: the CRC-32 of all bytes before this line. So the whole file is
//! covered, and still read by every program that reads JSON. Fields that are not known are skipped.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use levada_core::codec::CODEC;
use levada_core::disk::Disk;
use serde::{Deserialize, Serialize};

use crate::block_reader::check_version;
use crate::error::CheckpointError;
use crate::name::Name;

/// The version of manifests that is written here, and the newest that is read.
pub const MANIFEST_VERSION: u16 = 1;

const MAGIC: &str = "levada checkpoint";
const CHECKSUM: &[u8] = b"  \"checksum\": ";
const END: &[u8] = b"\n}\n";

/// The most that is read of a manifest: more is no manifest of ours.
const BYTES_MAX: usize = 64 << 20;

/// What a checkpoint is of, and in which files it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// The number of the checkpoint. They grow from one to the next, also over restarts.
    pub number: u64,
    /// Why it was made.
    pub kind: CheckpointKind,
    /// The run that made it.
    pub run: String,
    /// The attempt of the run that made it.
    pub attempt: u32,
    /// When it was begun, in milliseconds since the epoch.
    pub created: i64,
    /// Of what job.
    pub job: JobEntry,
    /// In how many key groups its state is.
    pub key_groups: u16,
    /// The seed of the hash of its tables, in hexadecimal. Rows lie in the order of tables, so that reading them into tables of
    /// the same seed is quicker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_seed: Option<String>,
    /// Its operators with state, its sources and sinks.
    pub operators: Vec<OperatorEntry>,
    /// Its edges between stages.
    pub edges: Vec<EdgeEntry>,
    /// The files, in the order in which they are to be read: those on which others are based come first.
    pub files: Vec<FileEntry>,
}

/// Why a checkpoint was made.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// To go on from after a failure; removed when there are enough newer ones.
    Checkpoint,
    /// Because somebody asked; it has a directory of its own, needs no other, and is never removed by a job.
    Savepoint,
    /// The last one of a job that has come to its end.
    Final,
}

/// A job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JobEntry {
    /// Its name.
    pub name: String,
    /// A digest of its graph.
    pub fingerprint: String,
}

/// An operator, as it was when the checkpoint was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OperatorEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: OperatorKind,
    /// How many subtasks it had.
    pub parallelism: u32,
    /// What its state looks like; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateEntry>,
    /// The subtasks that had come to their end.
    #[serde(default)]
    pub finished: Vec<u32>,
    /// The least watermark of its subtasks that have one, in milliseconds since the epoch, when the last task had saved its part:
    /// for people, and not what is restored. None if no subtask has one.
    #[serde(default)]
    pub watermark: Option<i64>,
    /// How many rows of its keyed state are in the checkpoint's own file, which is the last one: all, or what has changed since
    /// the checkpoint before.
    #[serde(default)]
    pub keyed_rows: u64,
    /// The bytes of them.
    #[serde(default)]
    pub keyed_bytes: u64,
}

/// What an operator is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorKind {
    /// It brings records into the job.
    Source,
    /// It keeps state.
    Operator,
    /// It takes records out of the job.
    Sink,
}

/// What the state of an operator looks like.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StateEntry {
    /// The version that the program gives it.
    pub version: u32,
    /// Its types by their roles, such as `key` and `value`.
    pub types: BTreeMap<String, TypeEntry>,
}

/// A type.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TypeEntry {
    /// The name that the compiler gives it, for people.
    pub name: String,
    /// What it looks like to serde.
    pub fields: String,
}

/// An edge between stages, as it was when the checkpoint was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EdgeEntry {
    /// Its name.
    pub name: String,
    /// How many subtasks sent.
    pub producers: u32,
    /// How many subtasks received.
    pub consumers: u32,
    /// Records that were in flight.
    #[serde(default)]
    pub records: u64,
    /// The bytes of them.
    #[serde(default)]
    pub bytes: u64,
    /// What each record is, with what it needs to find its way; none if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<TypeEntry>,
}

/// A file of blocks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileEntry {
    /// Its name, in the directory of the manifest.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How many blocks are in it.
    pub blocks: u64,
    /// The CRC-32 of its bytes before the trailer.
    pub checksum: u32,
}

impl FileEntry {
    /// The number of the checkpoint for which it was written; none if it is no name of ours.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        Some(Name::parse(&self.name)?.number())
    }
}

#[derive(Deserialize)]
struct Head {
    magic: String,
    version: u16,
    codec: u16,
}

#[derive(Serialize)]
struct Written<'a> {
    magic: &'static str,
    version: u16,
    codec: u16,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

impl Manifest {
    /// The bytes of the files that were written for this checkpoint.
    #[must_use]
    pub fn own_bytes(&self) -> u64 {
        let own = |file: &&FileEntry| file.number() == Some(self.number);
        self.files.iter().filter(own).map(|file| file.bytes).sum()
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The numbers of the checkpoints whose files are needed, in the order in which they are read. The last one is its
    /// own, unless nothing was written for it.
    #[must_use]
    pub fn chain(&self) -> Vec<u64> {
        let mut chain: Vec<_> = self.files.iter().filter_map(FileEntry::number).collect();
        chain.dedup();
        chain
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let written = Written {
            magic: MAGIC,
            version: MANIFEST_VERSION,
            codec: CODEC,
            manifest: self,
        };
        let mut bytes =
            serde_json::to_vec_pretty(&written).expect("text, numbers and lists can be JSON");
        // The end of the last field becomes the end of a field before the checksum.
        bytes.truncate(bytes.len() - b"\n}".len());
        bytes.extend_from_slice(b",\n");
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&ending(checksum));
        bytes
    }

    /// The manifest in the bytes of a file.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let unreadable = |why: String| CheckpointError::Unreadable {
            path: path.to_owned(),
            why,
        };
        let Some(at) = last(bytes, CHECKSUM) else {
            return Err(unreadable("it has no line with its checksum".to_owned()));
        };
        let (covered, end) = bytes.split_at(at);
        let checksum = crc32fast::hash(covered);
        if end != ending(checksum) {
            let found = String::from_utf8_lossy(&end[CHECKSUM.len()..]);
            let found = found.trim_end_matches(['\n', '}']);
            return Err(unreadable(format!(
                "it is damaged, its checksum is {checksum} and should be {found}"
            )));
        }
        let json = |error: serde_json::Error| unreadable(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(json)?;
        if head.magic != MAGIC {
            return Err(unreadable(format!("its magic is `{}`", head.magic)));
        }
        check_version(path, "version", head.version, MANIFEST_VERSION)?;
        check_version(path, "codec", head.codec, CODEC)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(json)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Reads a manifest. What is no file of ours is not read to its end.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Self, CheckpointError> {
        let read = |error: io::Error| CheckpointError::file("read", path)(error);
        let mut file = disk.open(path).map_err(read)?;
        let mut bytes = Vec::new();
        let mut chunk = [0; 4_096];
        loop {
            let count = file.read_at(bytes.len() as u64, &mut chunk).map_err(read)?;
            if count == 0 {
                return Self::from_bytes(path, &bytes);
            }
            bytes.extend_from_slice(&chunk[..count]);
            if bytes.len() > BYTES_MAX {
                return Err(CheckpointError::Unreadable {
                    path: path.to_owned(),
                    why: format!("it is longer than {BYTES_MAX} bytes"),
                });
            }
        }
    }

    /// Whether the manifest may have the name of its file, and names only files of ours.
    pub(crate) fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let unreadable = |why: String| CheckpointError::Unreadable {
            path: path.to_owned(),
            why,
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let number = self.number;
        if name.and_then(Name::parse) != Some(Name::Manifest { number }) {
            return Err(unreadable(format!("it is that of checkpoint {number}")));
        }
        for file in &self.files {
            match Name::parse(&file.name) {
                Some(Name::Data { number, .. }) if number <= self.number => {}
                _ => {
                    let name = &file.name;
                    let why = format!("it names `{name}`, which cannot be one of its files");
                    return Err(unreadable(why));
                }
            }
        }
        Ok(())
    }
}

/// The end of a manifest, whose bytes before have this checksum.
fn ending(checksum: u32) -> Vec<u8> {
    let mut bytes = CHECKSUM.to_vec();
    bytes.extend_from_slice(checksum.to_string().as_bytes());
    bytes.extend_from_slice(END);
    bytes
}

/// Where `wanted` occurs last.
fn last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .rposition(|window| window == wanted)
}

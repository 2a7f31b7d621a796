//! What can go wrong with the files of checkpoints, in sentences that name the file and the place in it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::block::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::name::RUN_BYTES_MAX;

/// Why a checkpoint cannot be written or read.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Something could not be done to a file or directory.
    File {
        /// What was tried: `read`, `sync`...
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another job writes its checkpoints to a directory.
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory for a savepoint holds something already.
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        found: PathBuf,
    },
    /// There is no checkpoint of a number in a directory.
    NoCheckpoint {
        /// The directory.
        dir: PathBuf,
        /// The number.
        number: u64,
    },
    /// A path is neither a directory nor the manifest of a checkpoint.
    NoManifest {
        /// The path.
        path: PathBuf,
    },
    /// A manifest does not say what it must.
    Unreadable {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file was written by another version of Levada.
    Version {
        /// The file.
        path: PathBuf,
        /// What has the version: the format, or the codec.
        what: &'static str,
        /// The one of the file.
        found: u16,
        /// The one that this program reads.
        expected: u16,
    },
    /// A file of blocks does not hold what it must.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place in it.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file that belongs to a checkpoint is not there.
    Missing {
        /// The file.
        path: PathBuf,
        /// The manifest that names it.
        manifest: PathBuf,
    },
    /// A file has not the length that the manifest gives.
    Length {
        /// The file.
        path: PathBuf,
        /// Its length when it was written.
        expected: u64,
        /// Its length now.
        found: u64,
    },
    /// A block was refused by whoever reads the checkpoint.
    Refused {
        /// The file.
        path: PathBuf,
        /// Where the block begins.
        offset: u64,
        /// What the block is of.
        block: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A checkpoint could not be published, and its manifest could not be taken back for certain: the next job that opens
    /// the directory may find it complete, or not at all. Until then nothing that belongs to it may be committed or given up.
    Undecided {
        /// The manifest.
        path: PathBuf,
        /// Why it could not be published.
        source: Box<Self>,
    },
    /// A file was to be written further after a failure.
    Failed {
        /// The file.
        path: PathBuf,
    },
    /// A block is too large.
    TooLarge {
        /// What it is of.
        block: String,
        /// Bytes of its name.
        name: usize,
        /// Bytes of its payload.
        payload: usize,
    },
    /// A run has a name that cannot be a part of a file's name.
    BadRun {
        /// The name.
        run: String,
    },
    /// A checkpoint was to be written with a number that is not larger than all before it.
    Stale {
        /// The directory.
        dir: PathBuf,
        /// The number.
        number: u64,
        /// The largest number that is there.
        newest: u64,
    },
}

impl CheckpointError {
    pub(crate) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }

    /// Whether the file of the error is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { act, path, .. } => write!(f, "cannot {act} {}", path.display()),
            Self::Locked { dir } => write!(
                f,
                "another job writes its checkpoints to {}: give each job a directory of its own",
                dir.display()
            ),
            Self::NotEmpty { dir, found } => write!(
                f,
                "{} holds {} already: give a directory for the savepoint that is empty or does not exist",
                dir.display(),
                found
                    .file_name()
                    .unwrap_or(found.as_os_str())
                    .to_string_lossy()
            ),
            Self::NoCheckpoint { dir, number } => {
                write!(f, "there is no checkpoint {number} in {}", dir.display())
            }
            Self::NoManifest { path } => write!(
                f,
                "{} is neither a directory nor a manifest, whose name is like checkpoint-00000012.json",
                path.display()
            ),
            Self::Unreadable { path, why } => {
                write!(
                    f,
                    "{} is no manifest that can be used: {why}",
                    path.display()
                )
            }
            Self::Version {
                path,
                what,
                found,
                expected,
            } => {
                let other = if found > expected {
                    "a newer"
                } else {
                    "another"
                };
                write!(
                    f,
                    "{} was written by {other} Levada: its {what} is {found}, and this program reads {expected}",
                    path.display()
                )
            }
            Self::Damaged {
                path,
                offset,
                expected,
                found,
            } => write!(
                f,
                "{} is damaged at byte {offset}: expected {expected}, found {found}",
                path.display()
            ),
            Self::Missing { path, manifest } => write!(
                f,
                "{} is not there, and {} needs it",
                path.display(),
                manifest.display()
            ),
            Self::Length {
                path,
                expected,
                found,
            } => write!(
                f,
                "{} had {expected} bytes when it was written and has {found} now",
                path.display()
            ),
            Self::Refused {
                path,
                offset,
                block,
                ..
            } => write!(
                f,
                "the block of {block} at byte {offset} of {} cannot be used",
                path.display()
            ),
            Self::Undecided { path, .. } => write!(
                f,
                "{} could not be published, and could not be taken back for certain: \
                 whether it counts is known when the directory is opened again",
                path.display()
            ),
            Self::Failed { path } => write!(
                f,
                "writing {} has failed before: what it holds is not trusted any more",
                path.display()
            ),
            Self::TooLarge {
                block,
                name,
                payload,
            } => write!(
                f,
                "a block of {block} has a name of {name} bytes and a payload of {payload}: \
                 at most {NAME_BYTES_MAX} and {PAYLOAD_BYTES_MAX} can be written"
            ),
            Self::BadRun { run } => write!(
                f,
                "`{run}` cannot be the name of a run: it must be 1 to {RUN_BYTES_MAX} letters, digits, `-` or `_` of ASCII"
            ),
            Self::Stale {
                dir,
                number,
                newest,
            } => write!(
                f,
                "checkpoint {number} cannot be written to {}: numbers only grow, and {newest} is there",
                dir.display()
            ),
        }
    }
}

impl Error for CheckpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Refused { source, .. } => Some(&**source),
            Self::Undecided { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

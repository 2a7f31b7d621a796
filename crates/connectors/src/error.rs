//! What can go wrong at the edges of a job, in sentences that name the file and the place in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a connector failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Something could not be done to a file.
    File {
        /// What was tried: `read`, `write`...
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something could not be done with an address of the network.
    Network {
        /// What was tried: `connect to`, `listen at`...
        act: &'static str,
        /// The address, as the program gave it.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A connection broke before its peer had closed it.
    Broken {
        /// The peer.
        peer: String,
        /// The line that was to come next, or was cut off.
        line: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// A URL cannot be used.
    BadUrl {
        /// The URL.
        url: String,
        /// Why.
        why: String,
    },
    /// A server has refused records for good.
    Refused {
        /// Where they were sent.
        url: String,
        /// Its answer.
        status: String,
        /// The first part of what it said.
        answer: String,
    },
    /// A server did not take records, however often it was asked.
    GaveUp {
        /// Where they were sent.
        url: String,
        /// How often.
        attempts: u32,
        /// For how long.
        elapsed: std::time::Duration,
        /// What came of the last attempt.
        last: String,
    },
    /// What worked for a source or sink has stopped before its end: it has panicked, perhaps in the user's code.
    Stopped {
        /// What has stopped.
        what: String,
    },
    /// A pattern matches no file.
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A pattern cannot be understood.
    BadPattern {
        /// The pattern.
        pattern: String,
        /// Why.
        source: glob::PatternError,
    },
    /// A directory stands where a file was expected.
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A watched directory is not there, or no longer.
    NotWatchable {
        /// The directory.
        path: PathBuf,
    },
    /// A watched directory has more files than can be remembered.
    TooManyFiles {
        /// How many can.
        files_max: usize,
    },
    /// A pattern leads into too many directories.
    TooManyDirectories {
        /// The pattern.
        pattern: String,
        /// How many are looked into.
        directories_max: usize,
    },
    /// A file is compressed, and this program was built without decompression.
    NoCompression {
        /// The file.
        path: PathBuf,
    },
    /// A compressed file ends in the middle.
    Truncated {
        /// The file.
        path: PathBuf,
        /// How many bytes could be decompressed.
        at: u64,
    },
    /// A compressed file cannot be decompressed.
    Damaged {
        /// The file.
        path: PathBuf,
        /// How many bytes could be decompressed.
        at: u64,
        /// What the decoder says.
        source: io::Error,
    },
    /// A file has become shorter while it was read.
    Shortened {
        /// The file.
        path: PathBuf,
        /// Its length when it was found.
        expected: u64,
        /// The offset at which it ends now.
        found: u64,
    },
    /// A directory to write into holds something.
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        found: PathBuf,
    },
    /// Another job writes into a directory.
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// What a checkpoint had prepared is not there any more.
    LostPart {
        /// The directory.
        path: PathBuf,
        /// The part, by the name that it was to get.
        part: String,
    },
    /// Whoever read standard output has gone.
    BrokenPipe,
    /// Standard output could not be written.
    Output(io::Error),
    /// A record could not be written as text.
    Format(serde_json::Error),
    /// A record has a shape that has no place in a line of fields.
    NoFields {
        /// The shape.
        shape: &'static str,
    },
}

impl Error {
    pub(crate) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }

    pub(crate) fn network(act: &'static str, address: &str) -> impl FnOnce(io::Error) -> Self {
        let address = address.to_owned();
        move |source| Self::Network {
            act,
            address,
            source,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { act, path, .. } => write!(f, "cannot {act} {}", path.display()),
            Self::Network { act, address, .. } => write!(f, "cannot {act} {address}"),
            Self::Broken { peer, line, .. } => {
                write!(f, "the connection with {peer} broke at line {line}")
            }
            Self::BadUrl { url, why } => write!(f, "{url} cannot be used: {why}"),
            Self::Refused {
                url,
                status,
                answer,
            } => write!(f, "{url} answered {status}: {answer}"),
            Self::GaveUp {
                url,
                attempts,
                elapsed,
                last,
            } => write!(
                f,
                "{url} has not taken the records in {attempts} attempts within {elapsed:.1?}: {last}"
            ),
            Self::Stopped { what } => write!(f, "{what} has stopped: it has panicked"),
            Self::NoMatch { pattern } => write!(f, "there is no file {pattern}"),
            Self::BadPattern { pattern, .. } => write!(f, "{pattern} is no pattern of files"),
            Self::IsDirectory { path } => write!(
                f,
                "{0} is a directory: to read the files in it, say {0}/*",
                path.display()
            ),
            Self::NotWatchable { path } => write!(
                f,
                "{} cannot be watched: there is no such directory (any more)",
                path.display()
            ),
            Self::TooManyFiles { files_max } => write!(
                f,
                "more than {files_max} files match what is watched: move those that have been read elsewhere"
            ),
            Self::TooManyDirectories {
                pattern,
                directories_max,
            } => write!(
                f,
                "{pattern} leads into more than {directories_max} directories: is there a link that leads back to one of them?"
            ),
            Self::NoCompression { path } => write!(
                f,
                "{} is compressed: build the program with the feature `compression` of `levada` to read it",
                path.display()
            ),
            Self::Truncated { path, at } => write!(
                f,
                "{} is truncated: it ends in the middle, after {at} decompressed bytes",
                path.display()
            ),
            Self::Damaged { path, at, .. } => write!(
                f,
                "{} is damaged or has something else behind its end, after {at} decompressed bytes",
                path.display()
            ),
            Self::Shortened {
                path,
                expected,
                found,
            } => write!(
                f,
                "{} had {expected} bytes when it was found and ends at byte {found} now",
                path.display()
            ),
            Self::NotEmpty { path, found } => write!(
                f,
                "{} holds {} already: give a directory that is empty or does not exist, or go on from a checkpoint of the \
                 job that wrote it (`--from`)",
                path.display(),
                found
                    .file_name()
                    .unwrap_or(found.as_os_str())
                    .to_string_lossy()
            ),
            Self::InUse { path } => write!(
                f,
                "another job writes into {}: wait until it has ended, or give another directory",
                path.display()
            ),
            Self::LostPart { path, part } => write!(
                f,
                "the part {part} of {} is lost: the checkpoint has prepared it, and it is there neither under this name nor \
                 as .{part}",
                path.display()
            ),
            Self::BrokenPipe => f.write_str("whoever read standard output has gone (broken pipe)"),
            Self::Output(_) => f.write_str("cannot write to standard output"),
            Self::Format(_) => f.write_str("a record cannot be written as JSON"),
            Self::NoFields { shape } => write!(
                f,
                "a record with {shape} cannot be written as a row of fields: use `.format(..)`"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. }
            | Self::Damaged { source, .. }
            | Self::Network { source, .. }
            | Self::Broken { source, .. }
            | Self::Output(source) => Some(source),
            Self::BadPattern { source, .. } => Some(source),
            Self::Format(source) => Some(source),
            _ => None,
        }
    }
}

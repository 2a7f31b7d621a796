//! What can go wrong with a log, in sentences that name the file and the place in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use levada_core::codec::CodecError;

/// Why a log cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogError {
    /// Something could not be done to a file.
    File {
        /// What was tried: `read`, `sync`...
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no log in a directory.
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory in which a log was to be made holds something else.
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        found: PathBuf,
    },
    /// A file of a log does not hold what it must.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file was written by another version.
    Version {
        /// The file.
        path: PathBuf,
        /// What has another number: `version` or `codec`.
        what: &'static str,
        /// The number.
        found: u16,
        /// The number that can be read.
        expected: u16,
    },
    /// A log has another number of partitions.
    Partitions {
        /// The log, or the file in it.
        path: PathBuf,
        /// How many it has.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
    /// No log can have this number of partitions.
    BadPartitions {
        /// The number.
        asked: u32,
        /// The most there can be.
        max: u32,
    },
    /// The log holds records with other fields.
    Fields {
        /// The log.
        dir: PathBuf,
        /// What it holds.
        found: String,
        /// The type of those who wrote it.
        written_as: String,
        /// What was asked for.
        expected: String,
        /// The type that was asked for.
        asked_as: &'static str,
    },
    /// Another process, or another job of this one, appends to the log.
    Locked {
        /// The log.
        dir: PathBuf,
    },
    /// Another job reads the log as the same consumer.
    ConsumerLocked {
        /// The log.
        dir: PathBuf,
        /// The consumer.
        consumer: String,
    },
    /// The name of a consumer cannot be the name of a file.
    BadConsumer {
        /// The name.
        consumer: String,
    },
    /// A segment is broken where it has been committed.
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The byte at which the damage begins.
        byte: u64,
        /// The offset of the record there.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A segment that must be there is not.
    Missing {
        /// The partition's directory.
        dir: PathBuf,
        /// The offset that it should hold.
        offset: u64,
    },
    /// A record cannot be written by the codec, or not read again.
    Unencodable {
        /// Its type.
        record_type: &'static str,
        /// What the codec said.
        source: CodecError,
    },
    /// A record is larger than is allowed.
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// The most a record may have.
        bytes_max: usize,
    },
    /// Records that a reader should begin with have been removed.
    Gap {
        /// The log.
        dir: PathBuf,
        /// The partition.
        partition: u32,
        /// The offset of the first record that was wanted.
        offset: u64,
        /// The offset of the first record that is left.
        earliest: u64,
    },
    /// A reader should begin behind the end of the log.
    BeyondEnd {
        /// The log.
        dir: PathBuf,
        /// The partition.
        partition: u32,
        /// The offset of the first record that was wanted.
        offset: u64,
        /// The end.
        end: u64,
    },
    /// Something could not be made safe before; nothing more is written.
    Distrusted {
        /// The log, or the partition.
        path: PathBuf,
    },
    /// What was prepared is not there to be committed.
    Lost {
        /// The partition's directory.
        dir: PathBuf,
        /// The end that was prepared.
        prepared: u64,
        /// The end that is there.
        found: u64,
    },
    /// An epoch that was prepared is neither in the log nor beside it.
    LostEpoch {
        /// Where it was.
        path: PathBuf,
    },
}

impl LogError {
    pub(super) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }
}

impl fmt::Display for LogError {
    #[expect(clippy::too_many_lines, reason = "a sentence for each variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { act, path, .. } => write!(f, "cannot {act} {}", path.display()),
            Self::NoLog { dir } => write!(
                f,
                "there is no log in {}: it is made by the first job that writes it, or by `Log::create`",
                dir.display()
            ),
            Self::Foreign { dir, found } => write!(
                f,
                "{} holds {} and is no log: give a directory that is empty or does not exist",
                dir.display(),
                found
                    .file_name()
                    .unwrap_or(found.as_os_str())
                    .to_string_lossy()
            ),
            Self::Unreadable { path, why } => {
                write!(f, "{} cannot be understood: {why}", path.display())
            }
            Self::Version {
                path,
                what,
                found,
                expected,
            } => write!(
                f,
                "{} has {what} {found}, and this program reads {what} {expected}",
                path.display()
            ),
            Self::Partitions {
                path,
                found,
                expected,
            } => write!(
                f,
                "{} has {found} partitions and not {expected}: their number is fixed when a log is made",
                path.display()
            ),
            Self::BadPartitions { asked, max } => {
                write!(f, "a log has 1 to {max} partitions, not {asked}")
            }
            Self::Fields {
                dir,
                found,
                written_as,
                expected,
                asked_as,
            } => write!(
                f,
                "{} holds {found} (`{written_as}`) and not {expected} (`{asked_as}`)",
                dir.display()
            ),
            Self::Locked { dir } => write!(
                f,
                "another job appends to {}: a log has one writing job at a time",
                dir.display()
            ),
            Self::ConsumerLocked { dir, consumer } => write!(
                f,
                "another job reads {} as the consumer `{consumer}`: give each job a name of its own",
                dir.display()
            ),
            Self::BadConsumer { consumer } => write!(
                f,
                "`{consumer}` cannot be the name of a consumer: use up to 100 letters, digits, `-`, `_` and `.`, not \
                 beginning with `.`"
            ),
            Self::Damaged {
                path,
                byte,
                offset,
                why,
            } => write!(
                f,
                "{} is damaged at byte {byte} (offset {offset}): {why}",
                path.display()
            ),
            Self::Missing { dir, offset } => write!(
                f,
                "no segment in {} holds offset {offset}, which has been committed",
                dir.display()
            ),
            Self::Unencodable { record_type, .. } => {
                write!(f, "records of type `{record_type}` cannot be kept in a log")
            }
            Self::TooLarge { bytes, bytes_max } => write!(
                f,
                "a record of {bytes} bytes is larger than {bytes_max}: raise the limit with `.record_bytes_max(..)` on \
                 the sink"
            ),
            Self::Gap {
                dir,
                partition,
                offset,
                earliest,
            } => write!(
                f,
                "offset {offset} of partition {partition} of {} has been removed; the earliest one left is {earliest}: to \
                 go on there, call `.on_gap(OnGap::Earliest)` on the source",
                dir.display()
            ),
            Self::BeyondEnd {
                dir,
                partition,
                offset,
                end,
            } => write!(
                f,
                "offset {offset} of partition {partition} lies behind the end of {}, which is {end}: has the log been \
                 made anew?",
                dir.display()
            ),
            Self::Distrusted { path } => write!(
                f,
                "{} could not be made safe before, and is not written any more by this job",
                path.display()
            ),
            Self::Lost {
                dir,
                prepared,
                found,
            } => write!(
                f,
                "{} was prepared up to offset {prepared} and ends at {found}",
                dir.display()
            ),
            Self::LostEpoch { path } => write!(
                f,
                "{} is lost: the checkpoint has prepared it, and the log does not hold it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Unencodable { source, .. } => Some(source),
            _ => None,
        }
    }
}

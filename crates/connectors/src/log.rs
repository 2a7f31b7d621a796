//! An append-only log on disk: what one job writes, others read, now and later.
//!
//! A log is a directory with a fixed number of *partitions*. A partition is a sequence of records, numbered from 0 by
//! their *offset*, in *segments*: files that are written once, from their beginning to their end, and removed as a whole.
//!
//! ```text
//! orders/
//! ├── log.json                          what it is, the number of partitions, what the records look like
//! ├── ends.json                         the committed end of each partition: readers go no further
//! ├── lock                              held by the one process that appends
//! ├── 0000/                             a partition
//! │   ├── 00000000000000000000.log      a segment, named by the offset of its first record
//! │   └── 00000000000000183204.log
//! ├── staged/                           epochs that wait until they are committed, while a job with checkpoints writes
//! └── consumers/
//!     ├── billing.json                  how far the consumer has read
//!     └── billing.lock                  held by the one job that reads as this consumer
//! ```
//!
//! # A segment
//!
//! Integers are little endian. A segment is valid if its header is, and each of its frames is.
//!
//! | bytes | header | |
//! |---|---|---|
//! | 8 | magic | `LVDALOG\n` |
//! | 2 | version: u16 | 1 |
//! | 2 | codec: u16 | [`levada_core::codec::CODEC`] |
//! | 4 | partition: u32 | |
//! | 8 | base: u64 | the offset of the first record |
//! | 8 | created: i64 | milliseconds since the epoch, on the clock of whoever wrote it |
//! | 4 | checksum: u32 | CRC-32 of the 32 bytes before it |
//!
//! | bytes | frame | |
//! |---|---|---|
//! | 4 | length: u32 | of the payload |
//! | 4 | checksum: u32 | CRC-32 of length, timestamp and payload; zeros are no frame |
//! | 8 | timestamp: i64 | event time in milliseconds, `i64::MIN` for none |
//! | length | payload | the record, by the codec |
//!
//! The offset of a record is that of its segment's base and its place in it.
//!
//! # What is durable when
//!
//! 1. Frames are appended behind the committed end, where no reader looks.
//! 2. *Prepare* syncs the segments, then the directories that name them.
//! 3. *Commit* writes all ends into a file with a temporary name, syncs it, renames it to `ends.json`, and syncs the
//!    directory. The rename makes the job's output visible, in all partitions at once.
//! 4. With checkpoints, the second epoch of a subtask and every later one is written into a file of its own, which is copied
//!    behind the end when it is committed. `ends.json` says which have been, so that no epoch is copied twice.
//! 5. A sync that fails is an error, and what it should have saved is not used again: the process appends no more, and the
//!    next one begins at the committed end.
//!
//! Whoever opens the log for appending checks each partition from the segment that holds its committed end. What is broken
//! before that end is an error with file and byte. A torn frame behind it is cut off, and so is what was whole but never
//! committed, once the first record is appended in its place; until then a commit that a crash has interrupted can be
//! repeated.

mod appender;
mod consumer;
mod error;
mod home;
mod manifest;
mod offsets;
mod partition;
mod partitioner;
mod publish;
mod reader;
mod segment;
mod shape;
mod sink;
mod source;
mod staged;
mod view;

pub use error::LogError;
pub use partitioner::{ByKey, Partitioner, RoundRobin};
pub use reader::LogReader;
pub use sink::{LogSink, LogWriter, log_sink};
pub use source::{LogRange, LogSource, LogSplit, OnGap, log_source};
pub use view::{Lag, Log, PartitionLag};

//! Levada's sources and sinks.
//!
//! | | reads or writes | after a restore |
//! |---|---|---|
//! | [`text_files`] | lines of files | goes on at the byte after the last line |
//! | [`jsonl`] | lines of JSON files | goes on at the byte after the last line |
//! | [`csv()`] | rows of CSV files | goes on at the row after the last one |
//! | [`iterator`] | an iterator that can be made again | skips what was read |
//! | [`generator`] | records computed from their number | goes on with the next number |
//! | [`log_source`] | the records of a log on disk | goes on with the next offset |
//! | [`source_channel`] | what other threads send | goes on with what is sent next |
//! | [`from_stream`] | a stream of the `futures` crates | goes on with what a new stream yields |
//! | [`tcp_lines`] | lines from a server | goes on with what is sent next |
//! | [`tcp_listen`] | lines from whoever connects | goes on with what is sent next |
//! | `http_source` | records that others POST (feature `http`) | goes on with what is sent next |
//! | [`files`] | parts of a directory, renamed when their checkpoint is complete | exactly once |
//! | [`log_sink`] | a log on disk, visible when the checkpoint is complete | exactly once |
//! | [`stdout`] | lines, at once | at least once |
//! | [`tcp_sink`] | lines to a server, at once | connects anew |
//! | `http_sink` | to a server, in batches (feature `http`) | at least once |
//! | [`sink_channel`] | to other threads, at once | at least once |
//! | [`for_each`] | to a closure, at once | at least once |
//! | `postgres` (feature) | rows of a table, at once | at least once, or exactly once if it is told so |
//! | [`into_sink`] | into a sink of the `futures` crates, at once | at least once |
//!
//! `docs/guarantees.md` has all of it: what can be read again, what a commit does, what happens in between.

mod bad_record;
mod channel;
mod dial;
mod directory;
mod error;
mod files;
mod for_each;
mod format;
mod futures;
mod generator;
#[cfg(feature = "http")]
mod http;
mod iterator;
mod log;
mod on_error;
#[cfg(feature = "postgres")]
pub mod postgres;
mod stdout;
mod tcp;

pub use bad_record::BadRecord;
pub use channel::{
    ChannelReceiver, ChannelSender, ChannelSink, ChannelSource, Closed, sink_channel,
    source_channel,
};
pub use error::Error;
pub use files::{
    CsvFiles, CsvPosition, CsvReader, Decode, Fault, Files, Json, JsonLines, LineFiles, Lines,
    Patterns, Range, Text, TextFiles, csv, files, jsonl, text_files,
};
pub use for_each::{ForEach, for_each};
pub use format::{AsText, Csv, Custom, Format, JsonLine, Tsv};
pub use futures::{FromStream, IntoSink, SinkWriter, StreamReader, from_stream, into_sink};
pub use generator::{Generator, generator};
#[cfg(feature = "http")]
pub use http::{HttpReader, HttpSink, HttpSource, HttpWriter, http_sink, http_source};
pub use iterator::{IteratorSource, iterator};
pub use log::{
    ByKey, Lag, Log, LogError, LogRange, LogReader, LogSink, LogSource, LogSplit, LogWriter, OnGap,
    PartitionLag, Partitioner, RoundRobin, log_sink, log_source,
};
pub use on_error::{ErrorPolicy, Plain, Results, Skipped};
#[cfg(feature = "postgres")]
pub use postgres::postgres;
pub use stdout::{Stdout, stdout};
pub use tcp::{
    TcpLines, TcpLinesReader, TcpListen, TcpListenReader, TcpSink, TcpWriter, tcp_lines,
    tcp_listen, tcp_sink,
};

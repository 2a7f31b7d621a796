//! Lines of files: as text, or as JSON.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levada_core::{BoxError, OnError};
use levada_runtime::{Discovery, ReaderContext, Source, SourceContext};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::compression::Compression;
use crate::files::decode::{Decode, Json, Text};
use crate::files::lines::{Lines, Rules};
use crate::files::pattern::Patterns;
use crate::files::selection::{Found, Selection};
use crate::on_error::{ErrorPolicy, Plain, Results};

/// The lines of text files, without their line breaks (`\n` or `\r\n`).
///
/// Large files are divided into ranges of bytes, so that all subtasks have something to read. A line belongs to the range
/// in which it begins. Files are read as they are when the job starts: one that grows meanwhile is read up to the length
/// it had. A file that ends in `.gz` or `.zst` is decompressed as it is read (feature `compression`), in one piece.
///
/// After a restore it goes on at the byte after the last line; a compressed file is decompressed again up to there.
///
/// ```
/// use levada_connectors::text_files;
///
/// let one = text_files("input.txt");
/// let many = text_files(["logs/*.log", "archive/**/*.txt"]);
/// ```
#[must_use]
pub fn text_files(patterns: impl Patterns) -> TextFiles {
    LineFiles::new(patterns, Text::default())
}

/// The source made by [`text_files`].
pub type TextFiles<P = Plain> = LineFiles<Text, P>;

/// The records of files with a JSON value on each line, as serde reads them into a `T`.
///
/// Files are divided, decompressed and restored as those of [`text_files`]. Blank lines are passed over, and so is a byte
/// order mark at the beginning of a file. What serde does with unknown fields, missing ones and numbers that do not fit
/// is decided by `T`; JSON has no `NaN`, values are nested at most 127 deep, and nothing may follow a value on its line.
///
/// A line that is no `T` fails the job with its file, line and column, unless [`on_error`](LineFiles::on_error) or
/// [`results`](LineFiles::results) say otherwise.
///
/// ```
/// use levada_connectors::jsonl;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Bid {
///     item: String,
///     price: u64,
/// }
///
/// let bids = jsonl::<Bid>("bids/*.jsonl");
/// ```
#[must_use]
pub fn jsonl<T: DeserializeOwned + Send + 'static>(patterns: impl Patterns) -> JsonLines<T> {
    LineFiles::new(patterns, Json::new())
}

/// The source made by [`jsonl`].
pub type JsonLines<T, P = Plain> = LineFiles<Json<T>, P>;

/// A source of what [`Decode`] makes of the lines of files.
#[derive(Clone, Debug)]
pub struct LineFiles<D, P = Plain> {
    selection: Selection,
    rules: Rules<D, P>,
}

/// The default for the longest line.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A range is not made smaller than this: opening it costs as much as reading some 100 KiB.
const RANGE_BYTES_MIN: u64 = 256 << 10;

/// Ranges for each subtask, so that one that is fast can take more of them.
const RANGES_PER_SUBTASK: u64 = 4;

impl<D> LineFiles<D> {
    /// The lines of these files, decoded by `decode`.
    #[must_use]
    pub fn new(patterns: impl Patterns, decode: D) -> Self {
        Self {
            selection: Selection::new(patterns),
            rules: Rules {
                decode,
                policy: Plain::default(),
                line_bytes_max: LINE_BYTES_MAX,
                index: Arc::default(),
            },
        }
    }

    /// What becomes of a line that cannot be decoded or is too long: it fails the job, or is skipped.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.rules.policy = Plain { on_error };
        self
    }

    /// Yields a `Result` for each line, so that bad ones can go their own way (`Flow::split_results`).
    #[must_use]
    pub fn results(self) -> LineFiles<D, Results> {
        LineFiles {
            selection: self.selection,
            rules: Rules {
                decode: self.rules.decode,
                policy: Results,
                line_bytes_max: self.rules.line_bytes_max,
                index: self.rules.index,
            },
        }
    }
}

impl<D, P> LineFiles<D, P> {
    /// The most bytes that a line may have, 64 MiB by default. A longer one is a bad record.
    #[must_use]
    pub fn line_bytes_max(mut self, line_bytes_max: usize) -> Self {
        self.rules.line_bytes_max = line_bytes_max;
        self
    }

    /// Looks for new files every so often, without end. Files that do not exist yet may be named, but their directory must
    /// exist; if it disappears, the job fails.
    ///
    /// A file is new if its path is, and it is read up to the length it has when it is found: write it under a hidden name
    /// (`.name`, which no `*` matches) and rename it when it is complete. A file that has been removed and put there again
    /// is read again.
    ///
    /// # Panics
    /// If it is to look without any pause.
    #[must_use]
    pub fn watch(mut self, every: Duration) -> Self {
        self.selection = self.selection.watch(every);
        self
    }
}

impl<D, P> LineFiles<D, P> {
    fn divide(&self, files: Vec<Found>, parallelism: usize) -> Vec<Range> {
        for (path, _) in &files {
            self.rules.index.forget(path);
        }
        Range::divide(files, parallelism)
    }
}

impl<P> TextFiles<P> {
    /// Puts U+FFFD in the place of bytes that are not UTF-8. Without this such a line is a bad record.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.rules.decode.lossy = true;
        self
    }
}

/// A range of bytes of a file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Range {
    /// The file.
    pub path: PathBuf,
    /// The first byte.
    pub begin: u64,
    /// The byte after the last.
    pub end: u64,
    /// The length of the file.
    pub len: u64,
}

impl Range {
    /// A file in one piece. How long a compressed one is, only its end tells.
    pub(super) fn whole((path, len): Found) -> Self {
        let end = match Compression::of(&path) {
            Some(_) => u64::MAX,
            None => len,
        };
        Self {
            path,
            begin: 0,
            end,
            len,
        }
    }

    /// Whether there is something to read in it.
    pub(super) fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// Files in pieces for so many subtasks.
    fn divide(files: Vec<Found>, parallelism: usize) -> Vec<Self> {
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        let ranges = parallelism as u64 * RANGES_PER_SUBTASK;
        let size = if parallelism == 1 {
            u64::MAX
        } else {
            (total / ranges).max(RANGE_BYTES_MIN)
        };
        let mut pieces = Vec::new();
        for file in files {
            let whole = Self::whole(file);
            if whole.end == u64::MAX {
                pieces.push(whole);
                continue;
            }
            let mut begin = 0;
            while begin < whole.end {
                let end = begin.saturating_add(size).min(whole.end);
                pieces.push(Self {
                    begin,
                    end,
                    ..whole.clone()
                });
                begin = end;
            }
        }
        pieces
    }
}

impl<D: Decode, P: ErrorPolicy<D::Record>> Source for LineFiles<D, P> {
    type Out = P::Out;
    type Split = Range;
    type Reader = Lines<D, P>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<Range>, BoxError> {
        let files = self.selection.find(&*context.environment.disk)?;
        Ok(self.divide(files, context.parallelism))
    }

    fn restore(&self, memory: &[u8], context: &SourceContext) -> Result<(), BoxError> {
        let disk = &*context.environment.disk;
        self.selection.restore(memory, disk)
    }

    fn memory(&self) -> Result<Vec<u8>, BoxError> {
        self.selection.memory()
    }

    fn discover(&self, context: &SourceContext) -> Result<Discovery<Range>, BoxError> {
        let Some(every) = self.selection.watched() else {
            return Ok(Discovery::Complete);
        };
        let files = self.selection.find_new(&*context.environment.disk)?;
        Ok(Discovery::Found {
            splits: self.divide(files, context.parallelism),
            again_after: every,
        })
    }

    fn open(
        &self,
        split: Range,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<Lines<D, P>, BoxError> {
        Ok(Lines::open(split, position, self.rules.clone(), context)?)
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

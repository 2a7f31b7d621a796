//! Lines of text files.

use std::path::PathBuf;

use levada_core::BoxError;
use levada_runtime::{ReaderContext, Source, SourceContext};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::lines::Lines;
use crate::files::pattern::{self, Patterns};

/// The lines of text files, without their line breaks (`\n` or `\r\n`).
///
/// Large files are divided into ranges of bytes, so that all subtasks have something to read. A line belongs to the range
/// in which it begins. Files are read as they are when the job starts: one that grows meanwhile is read up to the length
/// it had.
///
/// ```
/// use levada_connectors::text_files;
///
/// let one = text_files("input.txt");
/// let many = text_files(["logs/*.log", "archive/**/*.txt"]);
/// ```
#[must_use]
pub fn text_files(patterns: impl Patterns) -> TextFiles {
    TextFiles {
        patterns: patterns.patterns(),
        lossy: false,
        line_bytes_max: LINE_BYTES_MAX,
    }
}

/// The source made by [`text_files`].
#[derive(Clone, Debug)]
pub struct TextFiles {
    patterns: Vec<String>,
    lossy: bool,
    line_bytes_max: usize,
}

/// The default for the longest line.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A range is not made smaller than this: opening it costs as much as reading some 100 KiB.
const RANGE_BYTES_MIN: u64 = 256 << 10;

/// Ranges for each subtask, so that one that is fast can take more of them.
const RANGES_PER_SUBTASK: u64 = 4;

impl TextFiles {
    /// Puts U+FFFD in the place of bytes that are not UTF-8. Without this such a byte fails the job.
    #[must_use]
    pub fn lossy(self) -> Self {
        Self {
            lossy: true,
            ..self
        }
    }

    /// The most bytes that a line may have, 64 MiB by default. A longer one fails the job.
    #[must_use]
    pub fn line_bytes_max(self, line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            ..self
        }
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

impl Source for TextFiles {
    type Out = String;
    type Split = Range;
    type Reader = Lines;

    fn splits(&self, context: &SourceContext) -> Result<Vec<Range>, BoxError> {
        let disk = &*context.environment.disk;
        let mut files = Vec::new();
        for pattern in &self.patterns {
            for path in pattern::resolve(pattern, disk)? {
                // Opened once to see whether it can be read: better before the job starts than in the middle.
                disk.open(&path).map_err(Error::file("read", &path))?;
                let metadata = disk.metadata(&path).map_err(Error::file("read", &path))?;
                files.push((path, metadata.len));
            }
        }
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        let ranges = context.parallelism as u64 * RANGES_PER_SUBTASK;
        let size = if context.parallelism == 1 {
            u64::MAX
        } else {
            (total / ranges).max(RANGE_BYTES_MIN)
        };
        let mut splits = Vec::new();
        for (path, len) in files {
            let mut begin = 0;
            while begin < len {
                let end = begin.saturating_add(size).min(len);
                splits.push(Range {
                    path: path.clone(),
                    begin,
                    end,
                    len,
                });
                begin = end;
            }
        }
        Ok(splits)
    }

    fn open(
        &self,
        split: Range,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<Lines, BoxError> {
        let file = context
            .environment
            .disk
            .open(&split.path)
            .map_err(Error::file("read", &split.path))?;
        let lines = Lines::open(file, split, position, self.lossy, self.line_bytes_max)?;
        Ok(lines)
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

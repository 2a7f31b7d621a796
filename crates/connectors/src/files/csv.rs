//! Rows of CSV files.

mod reader;
mod row;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use levada_core::{BoxError, OnError};
use levada_runtime::{Discovery, ReaderContext, Source, SourceContext};
use serde::de::DeserializeOwned;

use crate::files::csv::reader::Rules;
use crate::files::csv::row::Dialect;
use crate::files::pattern::Patterns;
use crate::files::selection::{Found, Selection};
use crate::files::source::Range;
use crate::on_error::{ErrorPolicy, Plain, Results};

pub use reader::{CsvPosition, CsvReader};

/// The rows of CSV files (RFC 4180), as serde reads them into a `T`.
///
/// The first row of a file names its fields, and a struct gets them by name; a tuple gets them in their order. Rows end in
/// `\n` or `\r\n`, except within quotes. Every row must have as many fields as the header. Blank lines are passed over, and
/// so is a byte order mark at the beginning of a file. A file without any row has no records.
///
/// As a row may go over several lines, a file is read in one piece by one subtask. After a restore the reader goes on at the
/// row where it was, after reading the header again. Files that end in `.gz` or `.zst` are decompressed as they are read
/// (feature `compression`).
///
/// A row that is no `T` fails the job with its file, line, column and field, unless [`on_error`](CsvFiles::on_error) or
/// [`results`](CsvFiles::results) say otherwise; reading then goes on with the next row, and behind quotes that are wrong
/// with the next line. A header that cannot be read fails the job in any case.
///
/// ```
/// use levada_connectors::csv;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Bid {
///     item: String,
///     price: u64,
/// }
///
/// let bids = csv::<Bid>("bids/*.csv").delimiter(b';');
/// let pairs = csv::<(String, u64)>("pairs.csv").headers(false);
/// ```
#[must_use]
pub fn csv<T: DeserializeOwned + Send + 'static>(patterns: impl Patterns) -> CsvFiles<T> {
    CsvFiles {
        selection: Selection::new(patterns),
        rules: Rules {
            dialect: Dialect {
                delimiter: b',',
                quote: Some(b'"'),
                comment: None,
                trim: false,
            },
            headers: true,
            flexible: false,
            record_bytes_max: RECORD_BYTES_MAX,
            policy: Plain::default(),
        },
        records: PhantomData,
    }
}

/// The default for the longest row: one whose quote is not closed should not take the memory for the rest of the file.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// The source made by [`csv()`].
pub struct CsvFiles<T, P = Plain> {
    selection: Selection,
    rules: Rules<P>,
    records: PhantomData<fn() -> T>,
}

impl<T> CsvFiles<T> {
    /// What becomes of a row that is no record or is too long: it fails the job, or is skipped.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.rules.policy = Plain { on_error };
        self
    }

    /// Yields a `Result` for each row, so that bad ones can go their own way (`Flow::split_results`).
    #[must_use]
    pub fn results(self) -> CsvFiles<T, Results> {
        CsvFiles {
            selection: self.selection,
            rules: Rules {
                dialect: self.rules.dialect,
                headers: self.rules.headers,
                flexible: self.rules.flexible,
                record_bytes_max: self.rules.record_bytes_max,
                policy: Results,
            },
            records: PhantomData,
        }
    }
}

impl<T, P> CsvFiles<T, P> {
    /// Whether the first row of a file names the fields, as it does by default. Without names, rows are read into tuples,
    /// sequences, or structs whose fields are in the order of the columns.
    #[must_use]
    pub fn headers(mut self, headers: bool) -> Self {
        self.rules.headers = headers;
        self
    }

    /// What stands between two fields: a comma by default.
    ///
    /// # Panics
    /// If it is a line break.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        assert!(
            !matches!(delimiter, b'\n' | b'\r'),
            "fields of one row are not told apart by line breaks"
        );
        self.rules.dialect.delimiter = delimiter;
        self
    }

    /// What stands around fields with delimiters, line breaks or quotes (doubled) in them: `"` by default. With `None`, a
    /// quote is a character as any other.
    #[must_use]
    pub fn quote(mut self, quote: impl Into<Option<u8>>) -> Self {
        self.rules.dialect.quote = quote.into();
        self
    }

    /// Whether rows may have fewer or more fields than the header. What misses is then left to serde, and what is too much
    /// is ignored by structs.
    #[must_use]
    pub fn flexible(mut self, flexible: bool) -> Self {
        self.rules.flexible = flexible;
        self
    }

    /// What begins a line that is no row. By default there are no comments.
    #[must_use]
    pub fn comment(mut self, comment: u8) -> Self {
        self.rules.dialect.comment = Some(comment);
        self
    }

    /// Removes blanks around fields; within quotes they stay.
    #[must_use]
    pub fn trim(mut self) -> Self {
        self.rules.dialect.trim = true;
        self
    }

    /// The most bytes that a row may have, 16 MiB by default. A longer one is a bad record.
    #[must_use]
    pub fn record_bytes_max(mut self, record_bytes_max: usize) -> Self {
        self.rules.record_bytes_max = record_bytes_max;
        self
    }

    /// Looks for new files every so often, without end; see [`LineFiles::watch`](crate::LineFiles::watch).
    ///
    /// # Panics
    /// If it is to look without any pause.
    #[must_use]
    pub fn watch(mut self, every: Duration) -> Self {
        self.selection = self.selection.watch(every);
        self
    }
}

impl<T, P: Clone> Clone for CsvFiles<T, P> {
    fn clone(&self) -> Self {
        Self {
            selection: self.selection.clone(),
            rules: self.rules.clone(),
            records: PhantomData,
        }
    }
}

impl<T, P: fmt::Debug> fmt::Debug for CsvFiles<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvFiles")
            .field("selection", &self.selection)
            .field("rules", &self.rules)
            .finish()
    }
}

/// Each file in one piece.
fn whole(files: Vec<Found>) -> Vec<Range> {
    files
        .into_iter()
        .map(Range::whole)
        .filter(|file| !file.is_empty())
        .collect()
}

impl<T, P> Source for CsvFiles<T, P>
where
    T: DeserializeOwned + Send + 'static,
    P: ErrorPolicy<T>,
{
    type Out = P::Out;
    type Split = Range;
    type Reader = CsvReader<T, P>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<Range>, BoxError> {
        Ok(whole(self.selection.find(&*context.environment.disk)?))
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
            splits: whole(files),
            again_after: every,
        })
    }

    fn open(
        &self,
        split: Range,
        position: Option<CsvPosition>,
        context: &ReaderContext,
    ) -> Result<CsvReader<T, P>, BoxError> {
        CsvReader::open(&split, position, self.rules.clone(), context)
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

//! Reads the rows of a CSV file.

use std::marker::PhantomData;

use csv::StringRecord;
use levada_core::BoxError;
use levada_runtime::{Intake, Reader, ReaderContext, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bad_record::BadRecord;
use crate::error::Error;
use crate::files::csv::row::{Dialect, Row, Scanned};
use crate::files::decode::Fault;
use crate::files::source::Range;
use crate::files::window::{Passing, Window};
use crate::on_error::{ErrorPolicy, Skipped};

/// Rows that may be left out before the task is asked whether it shall go on.
const SKIPPED_MAX: u32 = 256;

/// How much of a field is shown in a message.
const SHOWN_CHARS: usize = 40;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a source reads CSV.
#[derive(Clone, Debug)]
pub(super) struct Rules<P> {
    pub(super) dialect: Dialect,
    pub(super) headers: bool,
    pub(super) flexible: bool,
    pub(super) record_bytes_max: usize,
    pub(super) policy: P,
}

/// Where a reader is in a CSV file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CsvPosition {
    /// The byte at which the next row begins.
    pub offset: u64,
    /// Its line, counted from 1.
    pub line: u64,
}

/// The reader of a CSV file.
pub struct CsvReader<T, P: ErrorPolicy<T>> {
    window: Window,
    /// The line that begins where the window is.
    line: u64,
    /// The names of the fields, if the file has them.
    header: Option<StringRecord>,
    /// How many fields a row has; zero if nobody knows.
    width: usize,
    rules: Rules<P>,
    row: Row,
    record: StringRecord,
    skipped: Skipped,
    passing: Option<Passing<P::Out, CsvPosition>>,
    records: PhantomData<fn() -> T>,
}

/// What stands where the window is.
enum Next {
    Row {
        bytes: usize,
        lines: u64,
    },
    Blank {
        bytes: usize,
    },
    /// Something that is no row.
    Broken(Broken),
    /// The end of a line that is passed over.
    Passed,
    End,
}

struct Broken {
    fault: Fault,
    /// Its bytes and line breaks, where it has an end.
    extent: Option<(usize, u64)>,
}

impl<T, P: ErrorPolicy<T>> CsvReader<T, P> {
    /// Reads a file, from behind its header or a position.
    pub(super) fn open(
        file: &Range,
        position: Option<CsvPosition>,
        rules: Rules<P>,
        context: &ReaderContext,
    ) -> Result<Self, BoxError> {
        let disk = &*context.environment.disk;
        let mut reader = Self {
            window: Window::open(disk, &file.path, file.len, 0)?,
            line: 1,
            header: None,
            width: 0,
            rules,
            row: Row::default(),
            record: StringRecord::new(),
            skipped: Skipped::by_reader(context),
            passing: None,
            records: PhantomData,
        };
        reader.begin()?;
        if let Some(position) = position {
            reader.window.seek(position.offset)?;
            reader.line = position.line;
        }
        Ok(reader)
    }

    /// Reads up to the first row: the header, if there is one.
    fn begin(&mut self) -> Result<(), BoxError> {
        while self.window.rest().len() < BYTE_ORDER_MARK.len() && self.window.fill()? {}
        if self.window.rest().starts_with(BYTE_ORDER_MARK) {
            self.window.advance(BYTE_ORDER_MARK.len());
        }
        loop {
            match self.next_row()? {
                Next::Blank { bytes } => {
                    self.window.advance(bytes);
                    self.line += 1;
                }
                Next::Row { bytes, lines } => {
                    self.width = self.row.len();
                    if self.rules.headers {
                        if let Err(fault) = self.take_fields() {
                            return Err(self.describe(bytes, fault).into());
                        }
                        self.header = Some(self.record.clone());
                        self.window.advance(bytes);
                        self.line += lines;
                    }
                    return Ok(());
                }
                // Without a header there are no records: whatever becomes of bad ones, there is nothing to go on with.
                Next::Broken(broken) if self.rules.headers => {
                    return Err(self.describe(self.shown_bytes(), broken.fault).into());
                }
                // Without a first row nobody knows how many fields there should be.
                Next::Broken(_) | Next::Passed | Next::End => return Ok(()),
            }
        }
    }

    fn next_row(&mut self) -> Result<Next, Error> {
        let mut last = false;
        loop {
            let rest = self.window.rest();
            let scanned = self.row.scan(rest, last, &self.rules.dialect);
            let length = rest.len();
            let broken = match scanned {
                Ok(Scanned::Row { bytes, lines }) if bytes > self.rules.record_bytes_max => {
                    Broken {
                        fault: self.too_long(None),
                        extent: Some((bytes, lines)),
                    }
                }
                Ok(Scanned::Row { bytes, lines }) => return Ok(Next::Row { bytes, lines }),
                Ok(Scanned::Blank { bytes }) => return Ok(Next::Blank { bytes }),
                Ok(Scanned::End) => return Ok(Next::End),
                Err(fault) => Broken {
                    fault,
                    extent: None,
                },
                Ok(Scanned::Part { .. }) if length <= self.rules.record_bytes_max => {
                    last = !self.window.fill()?;
                    continue;
                }
                Ok(Scanned::Part { quote }) => Broken {
                    fault: self.too_long(quote),
                    extent: None,
                },
            };
            return Ok(Next::Broken(broken));
        }
    }

    fn too_long(&self, quote: Option<usize>) -> Fault {
        let bytes_max = self.rules.record_bytes_max;
        let why = match quote {
            Some(_) => "this quote is not closed within",
            None => "the record is longer than",
        };
        Fault {
            at: quote,
            message: format!(
                "{why} {bytes_max} bytes: raise the limit with `.record_bytes_max(..)` on the source if that is right"
            ),
        }
    }

    /// What is shown of something that is no row: the line in which it begins, as far as it is in memory.
    fn shown_bytes(&self) -> usize {
        let rest = self.window.rest();
        memchr::memchr(b'\n', rest).unwrap_or(rest.len())
    }

    /// Puts the fields of the row into the record.
    fn take_fields(&mut self) -> Result<(), Fault> {
        self.record.clear();
        for (index, (at, field)) in self.row.fields().enumerate() {
            let text = std::str::from_utf8(field).map_err(|_| Fault {
                at: Some(at),
                message: format!("{} is not UTF-8", name(self.header.as_ref(), index)),
            })?;
            self.record.push_field(text);
        }
        Ok(())
    }

    /// A row of so many bytes is no record.
    #[cold]
    fn describe(&self, bytes: usize, fault: Fault) -> BadRecord {
        let text = &self.window.rest()[..bytes];
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let bad = BadRecord::new(self.window.path().display().to_string(), fault.message)
            .at_offset(self.window.at())
            .with_text(text);
        let Some(at) = fault.at else {
            return bad.at_line(self.line);
        };
        let before = &self.window.rest()[..at];
        let line = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        let lines = memchr::memchr_iter(b'\n', before).count() as u64;
        let column = String::from_utf8_lossy(&before[line..]).chars().count() as u64;
        bad.at_line(self.line + lines).at_column(column + 1)
    }

    fn check_width(&mut self, bytes: usize) -> Result<(), Fault> {
        let (found, expected) = (self.row.len(), self.width);
        if self.rules.flexible || found == expected || expected == 0 {
            return Ok(());
        }
        let like = match self.header {
            Some(_) => "header",
            None => "first row",
        };
        if found < expected {
            let rest = &self.window.rest()[..bytes];
            let end = rest.strip_suffix(b"\n").unwrap_or(rest);
            let end = end.strip_suffix(b"\r").unwrap_or(end).len();
            return Err(Fault {
                at: Some(end),
                message: format!(
                    "{} is missing: the row ends after {found} of {expected} fields",
                    name(self.header.as_ref(), found)
                ),
            });
        }
        Err(Fault {
            at: self.row.place(expected),
            message: format!("the row has {found} fields, the {like} {expected}"),
        })
    }
}

/// A field, as people call it.
fn name(header: Option<&StringRecord>, index: usize) -> String {
    match header.and_then(|header| header.get(index)) {
        Some(name) => format!("the field `{name}`"),
        None => format!("field {}", index + 1),
    }
}

impl<T: DeserializeOwned, P: ErrorPolicy<T>> CsvReader<T, P> {
    /// Makes a record of the row of so many bytes.
    fn decode(&mut self, bytes: usize) -> Result<T, Fault> {
        self.check_width(bytes)?;
        self.take_fields()?;
        self.record
            .deserialize(self.header.as_ref())
            .map_err(|error| self.misfit(&error))
    }

    #[cold]
    fn misfit(&self, error: &csv::Error) -> Fault {
        let (field, kind) = match error.kind() {
            csv::ErrorKind::Deserialize { err, .. } => (err.field(), err.kind().to_string()),
            _ => (None, error.to_string()),
        };
        let index = field.and_then(|field| usize::try_from(field).ok());
        let Some((index, value)) = index.and_then(|i| Some((i, self.record.get(i)?))) else {
            let names: Vec<_> = self.header.iter().flatten().collect();
            let message = match names.is_empty() {
                true => kind,
                false => format!("{kind}; the header has {}", names.join(", ")),
            };
            return Fault { at: None, message };
        };
        let shown: String = value.chars().take(SHOWN_CHARS).collect();
        Fault {
            at: self.row.place(index),
            message: format!("{} is `{shown}`: {kind}", name(self.header.as_ref(), index)),
        }
    }
}

impl<T, P> Reader for CsvReader<T, P>
where
    T: DeserializeOwned + Send + 'static,
    P: ErrorPolicy<T>,
{
    type Out = P::Out;
    type Position = CsvPosition;

    fn read(&mut self, intake: &mut impl Intake<P::Out>) -> Result<Status, BoxError> {
        let mut left_out = 0;
        while !intake.is_full() {
            let next = if self.passing.is_none() {
                self.next_row()?
            } else if self.window.skip_on()? {
                Next::Passed
            } else {
                return Ok(Status::More);
            };
            let out = match next {
                Next::Row { bytes, lines } => {
                    let out = match self.decode(bytes) {
                        Ok(record) => Some(P::good(record)),
                        Err(fault) => self
                            .rules
                            .policy
                            .bad(&self.skipped, || Ok(self.describe(bytes, fault)))?,
                    };
                    self.window.advance(bytes);
                    self.line += lines;
                    out
                }
                Next::Blank { bytes } => {
                    self.window.advance(bytes);
                    self.line += 1;
                    None
                }
                Next::Broken(Broken { fault, extent }) => {
                    let bytes = self.shown_bytes();
                    let out = self
                        .rules
                        .policy
                        .bad(&self.skipped, || Ok(self.describe(bytes, fault)))?;
                    let Some((bytes, lines)) = extent else {
                        // Where the row ends nobody can tell. The next line may be one again.
                        let begin = self.position();
                        self.passing = Some(Passing { out, begin });
                        continue;
                    };
                    self.window.advance(bytes);
                    self.line += lines;
                    out
                }
                Next::Passed => {
                    self.line += 1;
                    self.passing.take().and_then(|passing| passing.out)
                }
                Next::End => return Ok(Status::Done),
            };
            match out {
                Some(record) => intake.push(record),
                None => {
                    left_out += 1;
                    if left_out == SKIPPED_MAX {
                        break;
                    }
                }
            }
        }
        Ok(Status::More)
    }

    fn position(&self) -> CsvPosition {
        match &self.passing {
            Some(passing) => passing.begin,
            None => CsvPosition {
                offset: self.window.at(),
                line: self.line,
            },
        }
    }
}

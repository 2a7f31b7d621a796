//! Reads the lines that begin in a range of a file.

use std::sync::Arc;

use levada_core::BoxError;
use levada_runtime::{Intake, Reader, ReaderContext, Status};

use crate::bad_record::BadRecord;
use crate::error::Error;
use crate::files::decode::{Decode, Fault};
use crate::files::line_index::LineIndex;
use crate::files::source::Range;
use crate::files::window::{Passing, Window};
use crate::on_error::{ErrorPolicy, Skipped};

/// Lines that may be left out before the task is asked whether it shall go on.
const SKIPPED_MAX: u32 = 256;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The reader of a range of a file. Its position is the byte at which the next line begins.
pub struct Lines<D: Decode, P: ErrorPolicy<D::Record>> {
    window: Window,
    range: Range,
    rules: Rules<D, P>,
    skipped: Skipped,
    passing: Option<Passing<P::Out, u64>>,
}

/// How a source reads lines.
#[derive(Clone, Debug)]
pub(super) struct Rules<D, P> {
    pub(super) decode: D,
    pub(super) policy: P,
    pub(super) line_bytes_max: usize,
    pub(super) index: Arc<LineIndex>,
}

/// What the window holds.
enum Next {
    /// A line of so many bytes, and where the next one begins.
    Line { end: usize, next: usize },
    /// The beginning of a line that is too long.
    TooLong,
    /// The end of such a line.
    Passed,
    /// No line that begins in the range.
    End,
}

impl<D: Decode, P: ErrorPolicy<D::Record>> Lines<D, P> {
    /// Reads a range, from its beginning or a position in it.
    pub(super) fn open(
        range: Range,
        position: Option<u64>,
        rules: Rules<D, P>,
        context: &ReaderContext,
    ) -> Result<Self, Error> {
        // The line that began in the range before belongs to it. The byte before the range tells whether there is one.
        let begins_within = position.is_none() && range.begin > 0;
        let at = position.unwrap_or(range.begin) - u64::from(begins_within);
        let disk = &*context.environment.disk;
        let window = Window::open(disk, &range.path, range.len, at)?;
        let mut lines = Self::new(window, range, rules, Skipped::by_reader(context));
        if begins_within {
            lines.window.skip_line()?;
        }
        Ok(lines)
    }

    fn new(window: Window, range: Range, rules: Rules<D, P>, skipped: Skipped) -> Self {
        Self {
            window,
            range,
            rules,
            skipped,
            passing: None,
        }
    }

    /// Looks for the next line that begins in the range.
    #[inline]
    fn next_line(&mut self) -> Result<Next, Error> {
        if self.window.at() >= self.range.end {
            return Ok(Next::End);
        }
        match memchr::memchr(b'\n', self.window.rest()) {
            Some(end) if end <= self.rules.line_bytes_max => Ok(Next::Line { end, next: end + 1 }),
            Some(_) => Ok(Next::TooLong),
            None => self.complete_line(),
        }
    }

    /// Reads on until the line is complete.
    #[inline(never)]
    fn complete_line(&mut self) -> Result<Next, Error> {
        loop {
            let searched = self.window.rest().len();
            if searched > self.rules.line_bytes_max {
                return Ok(Next::TooLong);
            }
            if !self.window.fill()? {
                // The last line of the file has no line break.
                return Ok(match searched {
                    0 => Next::End,
                    end => Next::Line { end, next: end },
                });
            }
            if let Some(end) = memchr::memchr(b'\n', &self.window.rest()[searched..]) {
                let end = searched + end;
                return Ok(if end <= self.rules.line_bytes_max {
                    Next::Line { end, next: end + 1 }
                } else {
                    Next::TooLong
                });
            }
        }
    }
}

impl<D: Decode, P: ErrorPolicy<D::Record>> Lines<D, P> {
    /// A line that is no record.
    #[cold]
    fn bad(&mut self, line: usize, fault: Fault) -> Result<Option<P::Out>, BoxError> {
        let window = &mut self.window;
        let (begin, index) = (self.range.begin, &self.rules.index);
        self.rules.policy.bad(&self.skipped, || {
            let number = window.line(begin, index)?;
            let text = line_text::<D>(window.at(), &window.rest()[..line]);
            let bad = BadRecord::new(window.path().display().to_string(), fault.message)
                .at_offset(window.at())
                .at_line(number)
                .with_text(text);
            Ok(match fault.at {
                Some(at) => {
                    let before = String::from_utf8_lossy(&text[..at.min(text.len())]);
                    bad.at_column(before.chars().count() as u64 + 1)
                }
                None => bad,
            })
        })
    }

    /// A line that is too long is passed over, if it does not fail the job.
    #[cold]
    fn too_long(&mut self) -> Result<(), BoxError> {
        let bytes_max = self.rules.line_bytes_max;
        let message = format!(
            "the line is longer than {bytes_max} bytes: raise the limit with `.line_bytes_max(..)` on the source"
        );
        let out = self.bad(bytes_max, Fault { at: None, message })?;
        let begin = self.window.at();
        self.passing = Some(Passing { out, begin });
        Ok(())
    }
}

/// A line without its carriage return, or the byte order mark of its file.
#[inline]
fn line_text<D: Decode>(begin: u64, line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if D::SKIPS_BYTE_ORDER_MARK && begin == 0 {
        return line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    }
    line
}

impl<D: Decode, P: ErrorPolicy<D::Record>> Reader for Lines<D, P> {
    type Out = P::Out;
    type Position = u64;

    #[inline]
    fn read(&mut self, intake: &mut impl Intake<P::Out>) -> Result<Status, BoxError> {
        let mut left_out = 0;
        while !intake.is_full() {
            let next = if self.passing.is_none() {
                self.next_line()?
            } else if self.window.skip_on()? {
                Next::Passed
            } else {
                return Ok(Status::More);
            };
            let out = match next {
                Next::Line { end, next } => {
                    let line = line_text::<D>(self.window.at(), &self.window.rest()[..end]);
                    let out = match self.rules.decode.decode(line) {
                        Ok(Some(record)) => {
                            self.window.advance(next);
                            intake.push(P::good(record));
                            continue;
                        }
                        Ok(None) => None,
                        Err(fault) => self.bad(end, fault)?,
                    };
                    self.window.advance(next);
                    out
                }
                Next::TooLong => {
                    self.too_long()?;
                    continue;
                }
                Next::Passed => self.passing.take().and_then(|passing| passing.out),
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

    fn position(&self) -> u64 {
        let passing = self.passing.as_ref();
        passing.map_or_else(|| self.window.at(), |passing| passing.begin)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use levada_core::disk::ReadAt;
    use levada_core::{OnError, Timestamp};

    use super::*;
    use crate::files::decode::{Json, Text};
    use crate::on_error::{Plain, Results};

    /// A file in memory that gives a few bytes at a time.
    struct Bytes(Vec<u8>, usize);

    impl ReadAt for Bytes {
        fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[self.0.len().min(offset as usize)..];
            let n = rest.len().min(buffer.len()).min(self.1);
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
    }

    /// Takes as many records as it has room for.
    struct Taking<T>(Vec<T>, usize);

    impl<T> Intake<T> for Taking<T> {
        fn push_at(&mut self, record: T, _: Timestamp) {
            self.1 -= 1;
            self.0.push(record);
        }

        fn room(&self) -> usize {
            self.1
        }
    }

    fn range(begin: usize, end: usize, len: usize) -> Range {
        Range {
            path: PathBuf::from("x.txt"),
            begin: begin as u64,
            end: end as u64,
            len: len as u64,
        }
    }

    /// As [`Lines::open`], with a file that gives `step` bytes at a time.
    fn open<D: Decode, P: ErrorPolicy<D::Record>>(
        text: &[u8],
        range: Range,
        position: Option<u64>,
        step: usize,
        (decode, policy): (D, P),
    ) -> Lines<D, P> {
        let within = position.is_none() && range.begin > 0;
        let at = position.unwrap_or(range.begin) - u64::from(within);
        let file = Box::new(Bytes(text.to_owned(), step));
        let window = Window::plain(file, &range.path, range.len, at);
        let rules = Rules {
            decode,
            policy,
            line_bytes_max: 1_000,
            index: Arc::default(),
        };
        let mut lines = Lines::new(window, range, rules, Skipped::unseen());
        if within {
            lines.window.skip_line().unwrap();
        }
        lines
    }

    fn text() -> (Text, Plain) {
        (Text::default(), Plain::default())
    }

    fn read<D: Decode, P: ErrorPolicy<D::Record>>(
        lines: &mut Lines<D, P>,
        count: usize,
    ) -> Result<Vec<P::Out>, BoxError> {
        let mut intake = Taking(Vec::new(), count);
        while !intake.is_full() && lines.read(&mut intake)? == Status::More {}
        Ok(intake.0)
    }

    #[test]
    fn lines_are_those_of_the_standard_library_however_the_file_is_divided() {
        for text in [
            "",
            "a",
            "a\n",
            "\n",
            "\n\n",
            "one\ntwo\r\n\nthree",
            "äöü\nß\n€",
            "\r\n",
        ] {
            let expect: Vec<_> = text.lines().collect();
            let len = text.len();
            for step in [1, 2, 100] {
                for first in 0..=len {
                    for second in first..=len {
                        let mut found = Vec::new();
                        for (begin, end) in [(0, first), (first, second), (second, len)] {
                            let range = range(begin, end, len);
                            if begin < end {
                                let bytes = text.as_bytes();
                                let mut lines = open(bytes, range, None, step, self::text());
                                found.extend(read(&mut lines, 100).unwrap());
                            }
                        }
                        assert_eq!(found, expect, "{text:?} divided at {first}, {second}");
                    }
                }
            }
        }
    }

    /// So a cancel need not wait for the end of a line of gigabytes.
    #[test]
    fn a_line_without_end_is_passed_over_in_steps() {
        let text = format!("1\n{}\n2\n", "x".repeat(1_500_000));
        let len = text.len();
        let open = |position| {
            let policy = (Json::<u64>::new(), Results);
            open(
                text.as_bytes(),
                range(0, len, len),
                position,
                50_000,
                policy,
            )
        };
        let mut lines = open(None);
        let mut intake = Taking(Vec::new(), 10);
        let mut steps = 0;
        while lines.read(&mut intake).unwrap() == Status::More {
            steps += 1;
            assert!(intake.0.len() == 3 || lines.position() == 2, "{steps}");
            let again = read(&mut open(Some(lines.position())), 10).unwrap();
            assert_eq!(intake.0.len() + again.len(), 3, "after {steps} steps");
        }
        assert!(steps > 20, "{steps} steps");
        assert_eq!(intake.0[0], Ok(1));
        assert_eq!(intake.0[1].as_ref().unwrap_err().line, Some(2));
        assert_eq!(intake.0[2], Ok(2));
    }

    #[test]
    fn a_reader_goes_on_where_another_one_was() {
        let bytes = b"one\ntwo\nthree\nfour";
        let open = |position| open(bytes, range(2, 18, 18), position, 3, text());
        let whole = read(&mut open(None), 100).unwrap();
        for count in 0..=whole.len() {
            let mut first = open(None);
            let mut lines = read(&mut first, count).unwrap();
            lines.extend(read(&mut open(Some(first.position())), 100).unwrap());
            assert_eq!(lines, whole, "after {count} lines");
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_named() {
        let mut lines = open(b"short", range(0, 9, 9), None, 100, text());
        let said = read(&mut lines, 10).unwrap_err().to_string();
        assert!(said.contains("had 9 bytes when it was found and ends at byte 5"));
    }

    #[test]
    fn a_lossy_reader_replaces_what_is_not_utf8() {
        let lossy = Text { lossy: true };
        let mut lines = open(
            b"ba\xffd",
            range(0, 4, 4),
            None,
            100,
            (lossy, Plain::default()),
        );
        assert_eq!(read(&mut lines, 10).unwrap(), ["ba\u{fffd}d"]);
    }

    /// Every bad record has the line and column of a plain count, however the file is divided and restored.
    #[test]
    fn bad_lines_are_named_with_their_line_and_column() {
        let mut file = Vec::new();
        let mut expect = Vec::new();
        for n in 1..=60u64 {
            let (line, fault): (Vec<u8>, _) = match n % 6 {
                0 => (
                    b"{\"n\": \"\xc3\xa4\" 1}".to_vec(),
                    Some((Some(11), "expected `,` or `}`")),
                ),
                1 => (b"\"ab\xffc\"".to_vec(), Some((Some(4), "not UTF-8"))),
                2 => (vec![b' '; 1_500], Some((None, "longer than 1000 bytes"))),
                3 => (Vec::new(), None),
                _ => (n.to_string().into_bytes(), None),
            };
            if let Some(fault) = fault {
                expect.push((n, file.len() as u64, fault));
            }
            file.extend(line);
            file.extend(if n % 2 == 0 { &b"\r\n"[..] } else { b"\n" });
        }
        let len = file.len();
        for (first, second) in [(0, 0), (7, 300), (1_700, 4_000), (5_000, 5_001), (0, len)] {
            let mut found = Vec::new();
            for (begin, end) in [(0, first), (first, second), (second, len)] {
                if begin == end {
                    continue;
                }
                let mut position = None;
                loop {
                    let json = (Json::<serde_json::Value>::new(), Results);
                    let mut lines = open(&file, range(begin, end, len), position, 97, json);
                    let records = read(&mut lines, 3).unwrap();
                    if records.is_empty() {
                        break;
                    }
                    found.extend(records.into_iter().filter_map(Result::err));
                    position = Some(lines.position());
                }
            }
            assert_eq!(found.len(), expect.len());
            for (bad, (line, offset, (column, message))) in found.iter().zip(&expect) {
                assert_eq!(
                    (bad.line, bad.offset, bad.column),
                    (Some(*line), Some(*offset), *column)
                );
                assert!(bad.message.contains(message), "{bad}");
                assert_eq!(bad.source, "x.txt");
            }
        }
    }

    #[test]
    fn what_is_skipped_is_counted_and_the_rest_is_read() {
        let mut file = vec![b'x'; 3_000];
        file.extend_from_slice(b"\n1\nno\n\n 2 \n3 4\n5");
        let skip = Plain {
            on_error: OnError::Skip,
        };
        let json = (Json::<u64>::new(), skip);
        let mut lines = open(&file, range(0, file.len(), file.len()), None, 50, json);
        assert_eq!(read(&mut lines, 10).unwrap(), [1, 2, 5]);
        assert_eq!(lines.skipped.count(), 3);
    }

    #[test]
    fn only_json_has_a_byte_order_mark() {
        let file = "\u{feff}{\"a\":1}\n\u{feff}2".as_bytes();
        let whole = || range(0, file.len(), file.len());
        let json = (Json::<serde_json::Value>::new(), Results);
        let records = read(&mut open(file, whole(), None, 50, json), 10).unwrap();
        assert!(records[0].is_ok());
        let bad = records[1].as_ref().unwrap_err();
        assert_eq!((bad.line, bad.column), (Some(2), Some(1)), "{bad}");
        let lines = read(&mut open(file, whole(), None, 50, text()), 10).unwrap();
        assert!(lines[0].starts_with('\u{feff}'));
    }
}

//! Reads the lines that begin in a range of a file.

use levada_core::BoxError;
use levada_core::disk::ReadAt;
use levada_runtime::{Intake, Reader, Status};

use crate::error::Error;
use crate::files::source::Range;

/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The reader of a range of a text file. Its position is the byte at which the next line begins.
pub struct Lines {
    file: Box<dyn ReadAt>,
    range: Range,
    /// Bytes of the file from `offset` on.
    buffer: Vec<u8>,
    /// What of the buffer has been read.
    read: usize,
    /// The offset of the buffer's first byte in the file.
    offset: u64,
    lossy: bool,
    line_bytes_max: usize,
}

impl Lines {
    pub(super) fn open(
        file: Box<dyn ReadAt>,
        range: Range,
        position: Option<u64>,
        lossy: bool,
        line_bytes_max: usize,
    ) -> Result<Self, Error> {
        let mut lines = Self {
            file,
            offset: position.unwrap_or(range.begin),
            range,
            buffer: Vec::new(),
            read: 0,
            lossy,
            line_bytes_max,
        };
        if position.is_none() && lines.range.begin > 0 {
            // The line that began in the range before belongs to it. The byte before the range tells whether there is one.
            lines.offset -= 1;
            lines.skip_line()?;
        }
        Ok(lines)
    }

    /// The offset of the next line.
    fn at(&self) -> u64 {
        self.offset + self.read as u64
    }

    /// Moves behind the next line break, whatever lies before it.
    fn skip_line(&mut self) -> Result<(), Error> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.read..]) {
                self.read += end + 1;
                return Ok(());
            }
            self.read = self.buffer.len();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Reads another chunk behind what is left; false at the end of the file.
    fn fill(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.read);
        self.offset += self.read as u64;
        self.read = 0;
        let filled = self.buffer.len();
        let at = self.offset + filled as u64;
        // No further than the file went when the job started: a line that was not complete then is not complete.
        let left = usize::try_from(self.range.len.saturating_sub(at)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(false);
        }
        self.buffer.resize(filled + CHUNK_BYTES.min(left), 0);
        let got = self
            .file
            .read_at(at, &mut self.buffer[filled..])
            .map_err(Error::file("read", &self.range.path));
        self.buffer.truncate(filled + *got.as_ref().unwrap_or(&0));
        if got? == 0 {
            return Err(Error::Shortened {
                path: self.range.path.clone(),
                expected: self.range.len,
                found: at,
            });
        }
        Ok(true)
    }

    /// The next line that begins in the range.
    fn next_line(&mut self) -> Result<Option<String>, Error> {
        let begin = self.at();
        if begin >= self.range.end {
            return Ok(None);
        }
        let mut searched = 0;
        let (line_end, next) = loop {
            let rest = &self.buffer[self.read..];
            if let Some(end) = memchr::memchr(b'\n', &rest[searched..]) {
                break (searched + end, searched + end + 1);
            }
            searched = rest.len();
            if searched > self.line_bytes_max {
                break (searched, searched);
            }
            if !self.fill()? {
                // The last line of the file has no line break.
                break (searched, searched);
            }
        };
        if line_end > self.line_bytes_max {
            return Err(Error::LineTooLong {
                path: self.range.path.clone(),
                offset: begin,
                bytes_max: self.line_bytes_max,
            });
        }
        let line = &self.buffer[self.read..self.read + line_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = match std::str::from_utf8(line) {
            Ok(text) => text.to_owned(),
            Err(_) if self.lossy => String::from_utf8_lossy(line).into_owned(),
            Err(error) => {
                return Err(Error::NotUtf8 {
                    path: self.range.path.clone(),
                    offset: begin + error.valid_up_to() as u64,
                });
            }
        };
        self.read += next;
        Ok(Some(text))
    }
}

impl Reader for Lines {
    type Out = String;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<String>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            match self.next_line()? {
                Some(line) => intake.push(line),
                None => return Ok(Status::Done),
            }
        }
        Ok(Status::More)
    }

    fn position(&self) -> u64 {
        self.at()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

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

    fn range(begin: usize, end: usize, len: usize) -> Range {
        Range {
            path: PathBuf::from("x.txt"),
            begin: begin as u64,
            end: end as u64,
            len: len as u64,
        }
    }

    fn open(text: &[u8], range: Range, position: Option<u64>, step: usize) -> Lines {
        Lines::open(
            Box::new(Bytes(text.to_owned(), step)),
            range,
            position,
            false,
            1_000,
        )
        .unwrap()
    }

    fn read_all(lines: &mut Lines) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            read.push(line);
        }
        read
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
                                found.extend(read_all(&mut open(
                                    text.as_bytes(),
                                    range,
                                    None,
                                    step,
                                )));
                            }
                        }
                        assert_eq!(found, expect, "{text:?} divided at {first}, {second}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_reader_goes_on_where_another_one_was() {
        let text = b"one\ntwo\nthree\nfour";
        let whole = read_all(&mut open(text, range(2, 18, 18), None, 3));
        for read in 0..=whole.len() {
            let mut first = open(text, range(2, 18, 18), None, 3);
            let mut lines: Vec<_> = (0..read)
                .map(|_| first.next_line().unwrap().unwrap())
                .collect();
            let position = Some(first.position());
            lines.extend(read_all(&mut open(text, range(2, 18, 18), position, 3)));
            assert_eq!(lines, whole, "after {read} lines");
        }
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let said = |text: &[u8], len| {
            let mut lines = open(text, range(0, len, len), None, 100);
            loop {
                match lines.next_line() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no error"),
                    Err(error) => return error.to_string(),
                }
            }
        };
        assert!(said(b"good\nba\xffd\n", 10).contains("x.txt is not UTF-8 at byte 7"));
        assert!(said(b"short", 9).contains("had 9 bytes when the job began and ends at byte 5"));
        let long = [b'x'; 2_000];
        assert!(
            said(&long, 2_000).contains("the line at byte 0 of x.txt is longer than 1000 bytes")
        );
    }

    #[test]
    fn a_lossy_reader_replaces_what_is_not_utf8() {
        let mut lines = open(b"ba\xffd", range(0, 4, 4), None, 100);
        lines.lossy = true;
        assert_eq!(read_all(&mut lines), ["ba\u{fffd}d"]);
    }
}

//! Lines out of bytes that come in pieces.

use std::io;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes of a stream, taken out line by line. It holds a line and a chunk at most.
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// What of the bytes has been taken out.
    taken: usize,
    /// Bytes behind `taken` that hold no line break.
    searched: usize,
    line_bytes_max: usize,
    /// The number of the line that comes next, from 1.
    number: u64,
    /// Whether the rest of a line that is too long is being passed over.
    passing: bool,
}

/// A line, without its break.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// The beginning of a line that is longer than is allowed.
    TooLong(&'a [u8]),
}

impl LineBuffer {
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
            searched: 0,
            line_bytes_max,
            number: 1,
            passing: false,
        }
    }

    /// Reads a chunk; returns how many bytes came.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let filled = self.bytes.len();
        self.bytes.resize(filled + CHUNK_BYTES, 0);
        let got = read(&mut self.bytes[filled..]);
        self.bytes.truncate(filled + *got.as_ref().unwrap_or(&0));
        got
    }

    /// The next line with its number; none if its end has not come. At the end of the stream the last line needs no break.
    pub(super) fn next(&mut self, ended: bool) -> Option<(u64, Line<'_>)> {
        loop {
            let rest = &self.bytes[self.taken..];
            let found = memchr::memchr(b'\n', &rest[self.searched..]).map(|at| self.searched + at);
            let passing = self.passing;
            let (end, next) = match found {
                Some(end) => {
                    self.passing = false;
                    (end, end + 1)
                }
                // What is too long is told at once, and passed over until its end comes.
                None if passing || rest.len() > self.line_bytes_max => {
                    self.passing = true;
                    (rest.len(), rest.len())
                }
                None if ended && !rest.is_empty() => (rest.len(), rest.len()),
                None => {
                    self.searched = rest.len();
                    return None;
                }
            };
            let begin = self.taken;
            self.taken += next;
            self.searched = 0;
            let number = self.number;
            if !self.passing {
                self.number += 1;
            }
            if passing {
                if self.passing {
                    return None;
                }
                continue;
            }
            let line = &self.bytes[begin..begin + end];
            return Some(if end > self.line_bytes_max {
                (number, Line::TooLong(line))
            } else {
                (
                    number,
                    Line::Whole(line.strip_suffix(b"\r").unwrap_or(line)),
                )
            });
        }
    }

    /// What has come of a line that has no end yet, and its number.
    pub(super) fn unfinished(&self) -> (u64, &[u8]) {
        (self.number, &self.bytes[self.taken..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines of a text that comes in pieces of these sizes, over and over; a line that is too long is an error.
    fn lines(text: &[u8], pieces: &[usize], most: usize) -> Vec<(u64, Result<Vec<u8>, ()>)> {
        let mut buffer = LineBuffer::new(most);
        let mut rest = text;
        let mut found = Vec::new();
        let mut pieces = pieces.iter().cycle();
        loop {
            let piece = *pieces.next().unwrap();
            let got = buffer
                .fill(|into| {
                    let n = rest.len().min(piece);
                    into[..n].copy_from_slice(&rest[..n]);
                    rest = &rest[n..];
                    Ok(n)
                })
                .unwrap();
            while let Some((number, line)) = buffer.next(got == 0) {
                found.push(match line {
                    Line::Whole(line) => (number, Ok(line.to_owned())),
                    Line::TooLong(_) => (number, Err(())),
                });
            }
            assert!(buffer.bytes.len() - buffer.taken <= most);
            if got == 0 {
                return found;
            }
        }
    }

    fn model(text: &str, most: usize) -> Vec<(u64, Result<Vec<u8>, ()>)> {
        text.split_inclusive('\n')
            .zip(1..)
            .map(|(line, number)| {
                let line = line.strip_suffix('\n').unwrap_or(line);
                if line.len() > most {
                    return (number, Err(()));
                }
                let line = line.strip_suffix('\r').unwrap_or(line);
                (number, Ok(line.as_bytes().to_owned()))
            })
            .collect()
    }

    #[test]
    fn lines_have_breaks_of_both_kinds_and_the_last_one_needs_none() {
        for text in ["", "a", "a\n", "\n\n", "one\ntwo\r\n\r\nthree", "\r"] {
            assert_eq!(
                lines(text.as_bytes(), &[2], 100),
                model(text, 100),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_told_before_its_end_and_passed_over() {
        let mut buffer = LineBuffer::new(4);
        let fill = |buffer: &mut LineBuffer, text: &[u8]| {
            buffer
                .fill(|into| {
                    into[..text.len()].copy_from_slice(text);
                    Ok(text.len())
                })
                .unwrap();
        };
        fill(&mut buffer, b"ab\ncdefg");
        assert_eq!(buffer.next(false), Some((1, Line::Whole(b"ab"))));
        assert_eq!(buffer.next(false), Some((2, Line::TooLong(b"cdefg"))));
        assert_eq!(buffer.next(false), None);
        fill(&mut buffer, b"hi");
        assert_eq!(buffer.next(false), None);
        fill(&mut buffer, b"jk\nlm\n");
        assert_eq!(buffer.next(false), Some((3, Line::Whole(b"lm"))));
        assert_eq!(buffer.next(false), None);
    }

    proptest! {
        #[test]
        fn the_pieces_make_no_difference(
            text in "[ab\r\n]{0,40}",
            pieces in proptest::collection::vec(1usize..9, 1..5),
            most in 1usize..12,
        ) {
            prop_assert_eq!(lines(text.as_bytes(), &pieces, most), model(&text, most));
        }
    }
}

//! Divides text into rows and fields (RFC 4180), and says what is wrong where it cannot.

use crate::files::decode::Fault;

/// How fields are told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    /// What begins a line that is no row.
    pub(super) comment: Option<u8>,
    /// Whether blanks around fields are no part of them.
    pub(super) trim: bool,
}

/// The fields of a row.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The fields without their quotes, one behind the other.
    text: Vec<u8>,
    /// By field: where it begins in the row as it is written, and where it ends in `text`.
    fields: Vec<(usize, usize)>,
}

/// What stands at the beginning of some text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scanned {
    /// A row of so many bytes, with so many line breaks.
    Row { bytes: usize, lines: u64 },
    /// A blank line or a comment.
    Blank { bytes: usize },
    /// The beginning of a row; perhaps the quote within which it breaks off.
    Part { quote: Option<usize> },
    /// Nothing, and nothing follows.
    End,
}

/// Where the text of a field ends.
enum FieldEnd {
    At(usize),
    Beyond { quote: Option<usize> },
}

impl Row {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The fields: where each begins in the row as it is written, and its text.
    pub(super) fn fields(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut begin = 0;
        self.fields.iter().map(move |&(at, end)| {
            let text = &self.text[begin..end];
            begin = end;
            (at, text)
        })
    }

    /// Where a field begins in the row as it is written.
    pub(super) fn place(&self, field: usize) -> Option<usize> {
        self.fields.get(field).map(|(at, _)| *at)
    }

    /// Looks for a row at the beginning of `bytes`, behind which more may follow unless they are the `last`.
    ///
    /// # Errors
    /// If quotes stand where none may be, or miss.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        last: bool,
        dialect: &Dialect,
    ) -> Result<Scanned, Fault> {
        self.text.clear();
        self.fields.clear();
        if let Some(blank) = no_row(bytes, last, dialect) {
            return Ok(blank);
        }
        let mut at = 0;
        let mut quoted = false;
        loop {
            let begin = at;
            let first = skip_blanks(bytes, at, dialect);
            let end = if first < bytes.len() && Some(bytes[first]) == dialect.quote {
                quoted = true;
                self.quoted(bytes, first, last, dialect)?
            } else {
                self.unquoted(bytes, begin, last, dialect)?
            };
            at = match end {
                FieldEnd::At(end) => end,
                FieldEnd::Beyond { quote } => return Ok(Scanned::Part { quote }),
            };
            self.fields.push((begin, self.text.len()));
            match bytes.get(at) {
                Some(byte) if *byte == dialect.delimiter => at += 1,
                ended => {
                    let bytes_of_row = match ended {
                        Some(b'\r') => (at + 2).min(bytes.len()),
                        Some(_) => at + 1,
                        None => at,
                    };
                    let lines = if quoted {
                        memchr::memchr_iter(b'\n', &bytes[..bytes_of_row]).count() as u64
                    } else {
                        1
                    };
                    return Ok(Scanned::Row {
                        bytes: bytes_of_row,
                        lines,
                    });
                }
            }
        }
    }

    /// A field that begins with the quote at `open`.
    fn quoted(
        &mut self,
        bytes: &[u8],
        open: usize,
        last: bool,
        dialect: &Dialect,
    ) -> Result<FieldEnd, Fault> {
        let quote = bytes[open];
        let mut at = open + 1;
        loop {
            let Some(length) = memchr::memchr(quote, &bytes[at..]) else {
                if last {
                    return Err(Fault {
                        at: Some(open),
                        message: "this quote is never closed".to_owned(),
                    });
                }
                return Ok(FieldEnd::Beyond { quote: Some(open) });
            };
            self.text.extend_from_slice(&bytes[at..at + length]);
            at += length + 1;
            if bytes.get(at) != Some(&quote) {
                break;
            }
            self.text.push(quote);
            at += 1;
        }
        at = skip_blanks(bytes, at, dialect);
        match bytes[at..] {
            [] | [b'\r'] if !last => Ok(FieldEnd::Beyond { quote: None }),
            [] | [b'\r'] | [b'\n', ..] | [b'\r', b'\n', ..] => Ok(FieldEnd::At(at)),
            [byte, ..] if byte == dialect.delimiter => Ok(FieldEnd::At(at)),
            _ => Err(Fault {
                at: Some(at),
                message: "expected the end of the field behind its closing quote".to_owned(),
            }),
        }
    }

    fn unquoted(
        &mut self,
        bytes: &[u8],
        begin: usize,
        last: bool,
        dialect: &Dialect,
    ) -> Result<FieldEnd, Fault> {
        let rest = &bytes[begin..];
        let quote = dialect.quote.unwrap_or(b'\n');
        let end = match memchr::memchr3(dialect.delimiter, b'\n', quote, rest) {
            Some(length) => begin + length,
            None if last => bytes.len(),
            None => return Ok(FieldEnd::Beyond { quote: None }),
        };
        if end < bytes.len() && Some(bytes[end]) == dialect.quote {
            return Err(Fault {
                at: Some(end),
                message: "a quote stands within a field that does not begin with one".to_owned(),
            });
        }
        let mut text = &bytes[begin..end];
        let mut at = end;
        if bytes.get(end) != Some(&dialect.delimiter) && text.last() == Some(&b'\r') {
            at -= 1;
            text = &bytes[begin..at];
        }
        if dialect.trim {
            text = text.trim_ascii();
        }
        self.text.extend_from_slice(text);
        Ok(FieldEnd::At(at))
    }
}

/// What is no row.
fn no_row(bytes: &[u8], last: bool, dialect: &Dialect) -> Option<Scanned> {
    match bytes {
        [] if last => Some(Scanned::End),
        [] => Some(Scanned::Part { quote: None }),
        [b'\n', ..] => Some(Scanned::Blank { bytes: 1 }),
        [b'\r', b'\n', ..] => Some(Scanned::Blank { bytes: 2 }),
        [b'\r'] if last => Some(Scanned::Blank { bytes: 1 }),
        [b'\r'] => Some(Scanned::Part { quote: None }),
        [first, ..] if Some(*first) == dialect.comment => {
            Some(match memchr::memchr(b'\n', bytes) {
                Some(end) => Scanned::Blank { bytes: end + 1 },
                None if last => Scanned::Blank { bytes: bytes.len() },
                None => Scanned::Part { quote: None },
            })
        }
        _ => None,
    }
}

fn skip_blanks(bytes: &[u8], at: usize, dialect: &Dialect) -> usize {
    if !dialect.trim {
        return at;
    }
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t') && **byte != dialect.delimiter;
    at + bytes[at..].iter().take_while(blank).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Dialect = Dialect {
        delimiter: b',',
        quote: Some(b'"'),
        comment: None,
        trim: false,
    };

    /// The rows of a text that comes in two pieces, the second one when the first is not enough.
    fn rows(text: &[u8], first: usize, dialect: &Dialect) -> Result<Vec<Vec<String>>, Fault> {
        let mut row = Row::default();
        let mut rows = Vec::new();
        let (mut at, mut known) = (0, first);
        loop {
            let last = known == text.len();
            match row.scan(&text[at..known], last, dialect)? {
                Scanned::Row { bytes, .. } => {
                    at += bytes;
                    let fields = row
                        .fields()
                        .map(|(_, text)| String::from_utf8_lossy(text).into());
                    rows.push(fields.collect());
                }
                Scanned::Blank { bytes } => at += bytes,
                Scanned::Part { .. } => {
                    assert!(!last, "there is no more");
                    known = text.len();
                }
                Scanned::End => return Ok(rows),
            }
        }
    }

    fn check(text: &str, dialect: &Dialect, expect: &[&[&str]]) {
        for first in 0..=text.len() {
            assert_eq!(
                rows(text.as_bytes(), first, dialect).unwrap(),
                expect,
                "{text:?}"
            );
        }
    }

    #[test]
    fn rows_and_fields() {
        check("", &PLAIN, &[]);
        check("a", &PLAIN, &[&["a"]]);
        check("a,b\n\n\r\nc,", &PLAIN, &[&["a", "b"], &["c", ""]]);
        check(
            "a,\"b\r\n,\"\"c\"\"\"\r\n\"\"",
            &PLAIN,
            &[&["a", "b\r\n,\"c\""], &[""]],
        );
        check(",\r\n,", &PLAIN, &[&["", ""], &["", ""]]);
        check("#a\n#", &PLAIN, &[&["#a"], &["#"]]);
        let other = Dialect {
            delimiter: b';',
            quote: Some(b'\''),
            comment: Some(b'#'),
            trim: true,
        };
        check("#x;y\n a ; 'b ; ' ;\t\n#", &other, &[&["a", "b ; ", ""]]);
        let none = Dialect {
            quote: None,
            delimiter: b'\t',
            ..PLAIN
        };
        check("5\" disk\t\"x\r\n", &none, &[&["5\" disk", "\"x"]]);
    }

    #[test]
    fn quotes_that_are_wrong_have_a_place() {
        for (text, at, message) in [
            ("a,\"b\n\nc", 2, "never closed"),
            ("a,b\"c\"", 3, "within a field"),
            ("\"a\"b,c", 3, "behind its closing quote"),
            ("\"a\" ,c", 3, "behind its closing quote"),
            ("\"a\"\rb", 3, "behind its closing quote"),
        ] {
            for first in 0..=text.len() {
                let fault = rows(text.as_bytes(), first, &PLAIN).unwrap_err();
                assert_eq!(fault.at, Some(at), "{text:?}");
                assert!(fault.message.contains(message), "{text:?}: {fault:?}");
            }
        }
    }

    proptest! {
        /// What the `csv` crate writes is read as it was, however it comes.
        #[test]
        fn what_another_implementation_writes_is_read(
            expect in prop::collection::vec(prop::collection::vec("[ab,;\"\r\n\t ä#]{0,5}", 1..4), 0..6),
            crlf: bool,
            first: prop::sample::Index,
        ) {
            let mut writer = ::csv::WriterBuilder::new()
                .flexible(true)
                .terminator(if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') })
                .from_writer(Vec::new());
            for row in &expect {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let found = rows(&text, first.index(text.len() + 1), &PLAIN).unwrap();
            prop_assert_eq!(found, expect);
        }

        /// What is accepted is what the `csv` crate reads, for any text without a carriage return of its own.
        #[test]
        fn what_is_accepted_is_read_as_another_implementation_does(text in "[ab,\"\n]{0,12}") {
            if let Ok(found) = rows(text.as_bytes(), text.len(), &PLAIN) {
                let mut reader = ::csv::ReaderBuilder::new()
                    .has_headers(false)
                    .flexible(true)
                    .from_reader(text.as_bytes());
                let expect: Vec<Vec<String>> = reader
                    .records()
                    .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                    .collect();
                prop_assert_eq!(found, expect);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..40), first: prop::sample::Index) {
            let dialect = Dialect { comment: Some(b'#'), trim: true, ..PLAIN };
            let _ = rows(&text, first.index(text.len() + 1), &dialect);
        }
    }
}

//! A record that could not be read, with its place.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A record that could not be decoded: where it stood, what is wrong with it, and its text.
///
/// Sources with `.results()` yield it beside the good records; see [`ErrorPolicy`](crate::ErrorPolicy).
///
/// ```
/// use levada_connectors::BadRecord;
///
/// let bad = BadRecord::new("orders.jsonl", "expected `,`").at_line(7).at_column(12);
/// assert_eq!(bad.to_string(), "orders.jsonl, line 7, column 12: expected `,`");
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct BadRecord {
    /// The file, or the peer that sent it.
    pub source: String,
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// The column within the line, counted in characters from 1.
    pub column: Option<u64>,
    /// The offset of the record's first byte in the file (in what it decompresses to) or stream.
    pub offset: Option<u64>,
    /// What is wrong.
    pub message: String,
    /// The record as it came, cut after [`BadRecord::TEXT_BYTES_MAX`] bytes; what is not UTF-8 is replaced by U+FFFD.
    pub text: String,
}

impl BadRecord {
    /// The most bytes of a record that are kept.
    pub const TEXT_BYTES_MAX: usize = 1_024;

    /// A bad record of this file or peer, whose place is not known so far.
    #[must_use]
    pub fn new(source: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            line: None,
            column: None,
            offset: None,
            message: message.into(),
            text: String::new(),
        }
    }

    /// With its line, counted from 1.
    #[must_use]
    pub fn at_line(self, line: u64) -> Self {
        Self {
            line: Some(line),
            ..self
        }
    }

    /// With the column of its fault, counted from 1.
    #[must_use]
    pub fn at_column(self, column: u64) -> Self {
        Self {
            column: Some(column),
            ..self
        }
    }

    /// With the offset of its first byte.
    #[must_use]
    pub fn at_offset(self, offset: u64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    /// With the record itself, of which the beginning is kept.
    #[must_use]
    pub fn with_text(self, record: &[u8]) -> Self {
        let kept = &record[..record.len().min(Self::TEXT_BYTES_MAX)];
        let mut text = String::from_utf8_lossy(kept).into_owned();
        // A character that was cut in two has become a replacement of its own.
        if kept.len() < record.len()
            && std::str::from_utf8(kept).is_err_and(|e| e.error_len().is_none())
        {
            text.pop();
        }
        Self { text, ..self }
    }
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        match (self.line, self.offset) {
            (Some(line), _) => write!(f, ", line {line}")?,
            (None, Some(offset)) => write!(f, ", byte {offset}")?,
            (None, None) => {}
        }
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for BadRecord {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_and_what_in_one_sentence() {
        let bad = BadRecord::new("127.0.0.1:9000", "not UTF-8");
        assert_eq!(bad.to_string(), "127.0.0.1:9000: not UTF-8");
        let bad = bad.at_offset(70);
        assert_eq!(bad.to_string(), "127.0.0.1:9000, byte 70: not UTF-8");
        let bad = bad.at_line(3).at_column(4);
        assert_eq!(
            bad.to_string(),
            "127.0.0.1:9000, line 3, column 4: not UTF-8"
        );
    }

    #[test]
    fn its_text_is_cut_between_two_characters() {
        let bad = BadRecord::new("x", "y");
        for (record, expect) in [
            ("short".to_owned(), "short".to_owned()),
            ("ä".repeat(512), "ä".repeat(512)),
            (
                format!("x{}", "ä".repeat(512)),
                format!("x{}", "ä".repeat(511)),
            ),
        ] {
            assert_eq!(bad.clone().with_text(record.as_bytes()).text, expect);
        }
        assert_eq!(bad.with_text(b"a\xffb").text, "a\u{fffd}b");
    }
}

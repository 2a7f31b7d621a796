//! Records from lines.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

/// Makes a record of a line.
pub trait DecodeLine: Clone + Send + Sync + 'static {
    /// The record.
    type Record: Send + 'static;

    /// Makes a record of a line without its line break; none if the line means nothing.
    ///
    /// # Errors
    /// What is wrong with the line, and where.
    fn decode(&self, line: &[u8]) -> Result<Option<Self::Record>, Fault>;
}

/// What is wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// What.
    pub message: String,
    /// At which column, counted in characters from 1.
    pub column: Option<u64>,
}

/// The line itself, which must be UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct TextLine;

impl DecodeLine for TextLine {
    type Record = String;

    fn decode(&self, line: &[u8]) -> Result<Option<String>, Fault> {
        text(line).map(|text| Some(text.to_owned()))
    }
}

/// A value of type `T`, written as JSON. Empty lines are passed over.
pub struct JsonLine<T>(PhantomData<fn() -> T>);

impl<T> JsonLine<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for JsonLine<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLine")
    }
}

impl<T: DeserializeOwned + Send + 'static> DecodeLine for JsonLine<T> {
    type Record = T;

    fn decode(&self, line: &[u8]) -> Result<Option<T>, Fault> {
        let text = text(line)?;
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(text)
            .map(Some)
            .map_err(|error| json_fault(text, &error))
    }
}

fn text(line: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(line).map_err(|error| {
        let good = std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default();
        Fault {
            message: "the line is not UTF-8".to_owned(),
            column: Some(good.chars().count() as u64 + 1),
        }
    })
}

/// What `serde_json` says of a text of one line.
fn json_fault(text: &str, error: &serde_json::Error) -> Fault {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    // It counts bytes, up to and including the one that is wrong; zero if it does not know.
    let before = text.as_bytes().get(..error.column().saturating_sub(1));
    let column = before.map(|bytes| String::from_utf8_lossy(bytes).chars().count() as u64 + 1);
    Fault {
        message: said.strip_suffix(&place).unwrap_or(&said).to_owned(),
        column: column.filter(|_| error.column() > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_a_column() {
        let check = |line: &[u8], message: &str, column| {
            let fault = JsonLine::<(u64, String)>::new().decode(line).unwrap_err();
            assert!(fault.message.contains(message), "{fault:?}");
            assert!(!fault.message.contains("line 1"), "{fault:?}");
            assert_eq!(fault.column, column, "{fault:?}");
        };
        check(b"[1, \"a\"", "EOF while parsing", Some(7));
        check(b"[1, 2]", "expected a string", Some(5));
        check("[1, \"ää\"; 3]".as_bytes(), "expected", Some(9));
        check(b"[1, \"a\"] 2", "trailing characters", Some(9));
        check(b"[1, \"\xff\"]", "not UTF-8", Some(6));
        let fault = TextLine.decode("äö".as_bytes().split_last().unwrap().1);
        assert_eq!(fault.unwrap_err().column, Some(2));
    }

    #[test]
    fn a_line_is_a_record() {
        assert_eq!(TextLine.decode(b"").unwrap(), Some(String::new()));
        assert_eq!(
            JsonLine::new().decode(b" [1,2] ").unwrap(),
            Some((1u64, 2u8))
        );
        assert_eq!(JsonLine::<u64>::new().decode(b" \t").unwrap(), None);
    }
}

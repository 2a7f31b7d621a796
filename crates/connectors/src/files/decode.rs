//! From a line to a record.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

/// Makes records of lines.
pub trait Decode: Clone + Send + Sync + 'static {
    /// The records.
    type Record: Send + 'static;

    /// Whether a byte order mark at the beginning of a file is no part of its first line.
    const SKIPS_BYTE_ORDER_MARK: bool;

    /// Makes a record of a line without its line break; none if the line is blank.
    ///
    /// # Errors
    /// If the line is no record.
    fn decode(&self, line: &[u8]) -> Result<Option<Self::Record>, Fault>;
}

/// What is wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The offset within the line, in bytes; none if it is no single place.
    pub at: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

/// Lines as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    pub(crate) lossy: bool,
}

impl Decode for Text {
    type Record = String;

    const SKIPS_BYTE_ORDER_MARK: bool = false;

    #[inline]
    fn decode(&self, line: &[u8]) -> Result<Option<String>, Fault> {
        match std::str::from_utf8(line) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) if self.lossy => Ok(Some(String::from_utf8_lossy(line).into_owned())),
            Err(error) => Err(Fault {
                at: Some(error.valid_up_to()),
                message: "not UTF-8: to read it all the same, call `.lossy()` on the source"
                    .to_owned(),
            }),
        }
    }
}

/// Lines of JSON.
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<T: DeserializeOwned + Send + 'static> Decode for Json<T> {
    type Record = T;

    const SKIPS_BYTE_ORDER_MARK: bool = true;

    #[inline]
    fn decode(&self, line: &[u8]) -> Result<Option<T>, Fault> {
        // As a whole: serde_json would let pass what is wrong in a field that nobody reads.
        let text = std::str::from_utf8(line).map_err(|error| Fault {
            at: Some(error.valid_up_to()),
            message: "not UTF-8".to_owned(),
        })?;
        match serde_json::from_str(text) {
            Ok(record) => Ok(Some(record)),
            Err(_) if is_blank(line) => Ok(None),
            Err(error) => Err(fault(&error)),
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cold]
fn fault(error: &serde_json::Error) -> Fault {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    Fault {
        // A line of one line: the column is the byte.
        at: Some(error.column().saturating_sub(1)),
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    }
}

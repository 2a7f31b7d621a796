//! Why a call has no result.

use std::fmt;
use std::time::Duration;

use levada_core::BoxError;
use serde::{Deserialize, Serialize};

/// A call that has failed, with its record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CallError<T> {
    /// The record.
    pub record: T,
    /// Why the last attempt failed.
    pub message: String,
    /// How many attempts there were.
    pub attempts: u32,
}

impl<T> fmt::Display for CallError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            1 => write!(f, "the call failed: {}", self.message),
            attempts => write!(
                f,
                "the call failed in {attempts} attempts, at last: {}",
                self.message
            ),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for CallError<T> {}

/// An error that another attempt would meet again: the call is not repeated.
///
/// ```
/// use levada_operators::Permanent;
///
/// fn check(status: u16) -> Result<(), levada_core::BoxError> {
///     match status {
///         200 => Ok(()),
///         400..=499 => Err(Permanent::new(format!("the server refused: {status}")).into()),
///         _ => Err(format!("the server failed: {status}").into()),
///     }
/// }
/// # assert!(check(404).is_err());
/// ```
#[derive(Debug)]
pub struct Permanent(BoxError);

impl Permanent {
    /// Wraps an error.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Permanent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// There was no answer in time.
#[derive(Debug)]
pub(crate) struct NoAnswer(pub(crate) Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there was no answer within {:?}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

/// An error with its sources, as one sentence: it must fit into a record.
pub(crate) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

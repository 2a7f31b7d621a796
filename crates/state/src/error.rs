//! What can go wrong between state and bytes.

use std::fmt;

use levada_core::{BoxError, KeyGroup};

/// Why state could not be written or read.
#[derive(Debug)]
pub struct StateError {
    /// None for state that is not kept by key.
    group: Option<KeyGroup>,
    source: BoxError,
}

impl StateError {
    /// The state of a group, and what is wrong with it.
    #[must_use]
    pub fn new(group: KeyGroup, source: impl Into<BoxError>) -> Self {
        Self {
            group: Some(group),
            source: source.into(),
        }
    }

    /// State that is not kept by key.
    #[must_use]
    pub fn of_operator(source: impl Into<BoxError>) -> Self {
        Self {
            group: None,
            source: source.into(),
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Some(group) => write!(f, "the state of key group {} is unusable", group.0),
            None => f.write_str("the state of the operator is unusable"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

//! What can go wrong between state and bytes.

use std::fmt;

use levada_core::KeyGroup;
use levada_core::codec::CodecError;

/// Why the state of a key group could not be written or read.
#[derive(Debug)]
pub struct StateError {
    group: KeyGroup,
    source: CodecError,
}

impl StateError {
    pub(crate) fn new(group: KeyGroup, source: CodecError) -> Self {
        Self { group, source }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the state of key group {} is unusable", self.group.0)
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

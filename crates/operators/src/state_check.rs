//! The first key and value of every state go through the codec once, so that a type that serde cannot rebuild is found
//! with its first record and not with the first restore.

use std::fmt;

use levada_core::codec::{self, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whether a key and a value survive the codec.
pub(crate) fn check<K, V>(key: &K, value: &V) -> Result<(), CannotBeKept>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    let kept = |type_name, result: Result<(), CodecError>| {
        result.map_err(|error| CannotBeKept { type_name, error })
    };
    kept(std::any::type_name::<K>(), codec::round_trip(key))?;
    kept(std::any::type_name::<V>(), codec::round_trip(value))
}

/// A type that cannot be kept as state.
#[derive(Debug)]
pub(crate) struct CannotBeKept {
    type_name: &'static str,
    error: CodecError,
}

impl fmt::Display for CannotBeKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "values of type `{}` cannot be kept as state",
            self.type_name
        )
    }
}

impl std::error::Error for CannotBeKept {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

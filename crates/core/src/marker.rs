//! What a type must be able to do to travel, to be a key, or to be kept as state, in sentences the compiler can print.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A record that can cross from one subtask to another.
///
/// Implemented by itself for every type with serde's derives that can be sent to and seen by another thread. Within a
/// process nothing is serialised, but the first record of every edge is, once, to find types that serde cannot rebuild.
#[diagnostic::on_unimplemented(
    message = "records of type `{Self}` cannot cross to another subtask",
    label = "this step sends its records to other subtasks",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to the type, and see that it is `Send + Sync`"
)]
pub trait Exchange: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Exchange for T {}

/// A value by which records are grouped.
///
/// Equal keys must serialise to equal bytes, on every machine: the key group is computed from them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "records are grouped by this value",
    note = "a key is `Eq + Hash + Clone` with `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "floating point numbers are not `Eq`: round them, or use their bits (`to_bits`)"
)]
pub trait Key: Eq + Hash + Clone + Exchange {}

impl<T: Eq + Hash + Clone + Exchange> Key for T {}

/// A value that is kept per key and survives in snapshots.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept as state",
    label = "this value is kept for each key",
    note = "state is made by `Default` and kept by serde: add `#[derive(Default, serde::Serialize, serde::Deserialize)]`"
)]
pub trait State: Default + Serialize + DeserializeOwned + Send + 'static {}

impl<T: Default + Serialize + DeserializeOwned + Send + 'static> State for T {}

//! State of operators: one table per key group, and what it looks like in a snapshot.
//!
//! A task owns a range of key groups and keeps a table for each, so that a snapshot comes out group by group and any
//! other parallelism can take the groups it then owns. Entries stay where they were inserted ([`KeyedTable`]), so that
//! neither growth nor removal disturbs who walks the table in slices.

mod error;
mod slots;
mod snapshot;
mod table;

pub use error::StateError;
pub use snapshot::{KeyedState, Snapshot};
pub use table::{Cursor, KeyedTable};

//! State of operators: values by key, and what they look like in a snapshot.
//!
//! A task owns a range of key groups. Its table ([`KeyedTable`]) is divided by another hash than the groups are, so that
//! it grows in small steps; each entry knows its group, and so does each row of a snapshot, so that any other parallelism can
//! take the groups it then owns.

mod due;
mod error;
mod group_clock;
mod hands;
mod marks;
mod memory;
mod parts;
mod reader;
mod row_log;
mod rows;
mod saving;
mod schema;
mod shards;
mod snapshot;
mod table;
mod timers;
mod times;
mod version;

pub use due::DueQueue;
pub use error::StateError;
pub use group_clock::GroupClock;
pub use hands::{Alone, Hands, Piece};
pub use memory::Measuring;
pub use parts::Parts;
pub use reader::{ValueReader, read_list};
pub use row_log::{RowLog, RowStep};
pub use rows::{Add, write_rows};
pub use saving::{KeyedState, Row, RowKind, Rows, Saving, WholeState, rows_in, show_entry};
pub use schema::{Fields, TypeFields};
pub use shards::{Cursor, Place};
pub use snapshot::{OperatorState, Redistribution, Snapshot};
pub use table::KeyedTable;
pub use timers::Timers;
pub use version::{KEY, StateFields, StateVersion, VALUE, VersionFields, version};

//! Kinds of state, by the names that users of Flink know.
//!
//! The state of a process is any type that serde can rebuild; these are such types, for what most processes keep. A process
//! with several of them puts them into a struct:
//!
//! ```
//! use levada_operators::{ListState, MapState, ValueState};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Deserialize, Serialize)]
//! struct Session {
//!     user: ValueState<String>,
//!     pages: ListState<String>,
//!     clicks: MapState<String, u64>,
//! }
//!
//! let mut session = Session::default();
//! session.pages.add("/start".to_owned());
//! *session.clicks.get_or_default("/start".to_owned()) += 1;
//! assert_eq!(session.clicks.get("/start"), Some(&1));
//! assert!(session.user.get().is_none());
//! ```

mod combining;
mod list;
mod map;
mod value;

pub use combining::{AggregatingState, Reducer, ReducingState};
pub use list::ListState;
pub use map::MapState;
pub use value::ValueState;

//! What every crate of Levada shares: time, keys and key groups, the codec, and the traits through which the engine
//! sees the world outside (clock, randomness, disk, network, futures, standard output).
//!
//! This crate starts no thread and does no input or output of its own: the production side of its traits lives in
//! `levada-runtime`, the simulated side in `levada-testing`.
//!
//! ```
//! use levada_core::key::{KeyGroups, key_hash};
//!
//! let groups = KeyGroups::default();
//! let group = groups.of_hash(key_hash(&"alice")?);
//! // The group decides the subtask, today and after every restart.
//! assert!(groups.subtask(group, 4) < 4);
//! # Ok::<(), levada_core::key::KeyError>(())
//! ```

pub mod clock;
pub mod codec;
pub mod disk;
pub mod event_time;
pub mod executor;
pub mod fault;
pub mod heap;
pub mod key;
pub mod marker;
pub mod net;
pub mod on_error;
pub mod origin;
pub mod output;
pub mod random;
pub mod retry;
pub mod room;
pub mod sync;
pub mod wake;

pub use clock::{Clock, Moment, Timestamp};
pub use event_time::{EventTime, Span};
pub use key::{KeyGroup, KeyGroups};
pub use marker::{Exchange, Key, State};
pub use on_error::OnError;
pub use origin::{Origin, Place};
pub use retry::Retry;
pub use room::Room;
pub use wake::Wake;

/// An error of user code or of a library, kept with its sources.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

//! Checkpoints: barriers through the graph, state to disk, and the way back.
//!
//! ```text
//!             letters                        blocks                     data, manifest
//!  Schedule ─────────▶ Participant (a task) ─────────▶ CheckpointWriter ──────────────▶ disk
//!     ▲                      │ saved                          │ written
//!     └──────────────────────┴────────────────────────────────┘
//! ```
//!
//! The protocol, with its states, is in `docs/checkpoints.md`.

pub(crate) mod block;
mod export;
mod hold;
mod manifest;
mod options;
pub(crate) mod order;
mod participant;
mod restored;
mod schedule;
mod setup;
mod summary;
mod types;
mod visitors;
mod writer;

pub(crate) use block::Outlet;
pub use export::{Exported, export};
pub(crate) use hold::All;
pub use hold::{HeldUp, Hold};
pub use levada_checkpoint::BlockKind;
pub(crate) use manifest::manifest_of;
pub use options::{Allowed, CheckpointOptions, StartAt};
pub(crate) use order::Mail;
pub(crate) use participant::{Next, Passage};
pub use participant::{Participant, SavedByTask};
pub(crate) use restored::Restore;
pub use restored::Restored;
pub use schedule::{Asked, Purpose};
pub(crate) use schedule::{Decision, Schedule, TaskDuties, Tasks};
pub use setup::{CheckpointFailure, Setup, Start};
pub use summary::{CheckpointMetrics, CheckpointSummary};
pub use types::Mismatch;
pub(crate) use types::saved_version;
pub use visitors::ChannelName;
pub(crate) use visitors::{Begin, Held, number};
pub use writer::CheckpointWriter;
pub(crate) use writer::Durable;

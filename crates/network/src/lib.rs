//! The exchange between tasks: typed batches that move only against a credit.
//!
//! ```text
//!  producer task                                   consumer task
//!  Outbox ── open batch ── queue ──(credit)──────▶ Gate ── arrivals ── batch in hand
//!    ▲                                              │
//!    └── Desk: spent batches, credits ◀─────────────┘ recycle
//! ```
//!
//! A credit is a buffer that waits at the receiver: a few belong to each channel (exclusive), the others are lent by the
//! gate to the channels that announce a backlog (floating). A producer without credit keeps one queued and one open
//! batch per channel and then says [`Room::Full`](levada_core::Room::Full): that is all of backpressure.
//! The protocol is Apache Flink's (`docs/decisions/003-credits.md`), with records instead of bytes in the buffers.
//!
//! This crate knows no threads: it wakes tasks through [`Wake`](levada_core::Wake) and is told the time.

mod batch;
mod budget;
mod channel;
mod credit;
mod desk;
mod gate;
mod gauge;
mod in_flight;
mod meter;
mod outbox;
mod routing;
mod unread;

pub use batch::{Batch, Control, Element, Entry, Watermark};
pub use budget::Budget;
pub use credit::{CreditLedger, Grant};
pub use gate::{Ahead, Arrival, Buffers, Gate, InHand, Port, Reached};
pub use gauge::{ChannelGauge, EdgeGauge};
pub use in_flight::{InFlight, Saved, in_flight};
pub use meter::Meter;
pub use outbox::{Outbox, OutboxOptions, Stamp, Taken, Tended};
pub use routing::{ByGroup, HasKeyGroup, OneRoute, RoundRobin, Routing, Shuffled};
pub use unread::{Consume, Unread};

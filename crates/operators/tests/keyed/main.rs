//! Operators with state, and calls: saved, restored, cleared.

mod calls;
mod state;
mod ttl;

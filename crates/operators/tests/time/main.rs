//! Operators of event time: windows, sessions, joins, timers.

mod joins;
mod sessions;
mod timers;
mod timers_kinds;
mod timers_many;
mod triggers;
mod window_join;
mod windows;
mod windows_edges;

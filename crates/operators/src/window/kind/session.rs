//! Windows that last as long as records follow each other.

use std::time::Duration;

use levada_core::event_time::millis_of;
use levada_core::{Exchange, Key};
use levada_runtime::wiring::NodeFactory;

use crate::window::contents::Contents;
use crate::window::kind::{PanedKind, WindowKind, at_least_a_millisecond};
use crate::window::node::{Making, WindowNode};
use crate::window::options::WindowOptions;
use crate::window::panes::{Assigner, Windows};
use crate::window::sessions::Sessions;

/// Windows that last as long as records follow each other. Made by [`session`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Session {
    gap: i64,
}

/// Windows that last as long as the records of a key follow each other: a session is from its first record up to `gap` after
/// its last one, whatever the order in which they come.
///
/// The record of a session that comes after it has begun is less than `gap` away from another one. A record exactly `gap`
/// after the last one begins a new session: the old one closes when the gap is reached. (Flink's stock session windows
/// take such a record into the old session.) A record that comes later and lies between two sessions makes one of them,
/// if it is near enough to both: what they have gathered is merged in the order of time.
///
/// A record is late if the session that it is in, together with those it is merged with, has been forgotten: so a record that
/// comes after the watermark is not late as long as it extends a session that has not fired.
///
/// ```
/// use levada::prelude::*;
///
/// fn visits(clicks: Stream<(String, i64)>) -> Stream<(String, Span, u64)> {
///     clicks
///         .timestamps(|(_, at)| *at, seconds(5))
///         .key_by(|(user, _)| user.clone())
///         .window(session(minutes(30)))
///         .count("clicks-per-visit")
/// }
/// ```
#[must_use]
pub fn session(gap: Duration) -> Session {
    Session {
        gap: millis_of(gap),
    }
}

impl PanedKind for Session {
    fn assigner(&self) -> Assigner {
        Assigner::event(Windows::Session(self.gap))
    }
}

impl WindowKind for Session {
    fn check(&self) -> Result<(), String> {
        at_least_a_millisecond("gap", self.gap)
    }

    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>,
    {
        WindowNode::<K, T, C, _>::new(
            contents,
            options,
            move |making: Making<'_, T, C, C::Accumulator, C::Out>| {
                Sessions::<K, T, C>::new(self.gap, making)
            },
        )
    }
}

//! Which windows there are, as the program says it.

mod paned;
mod session;

use std::time::Duration;

use levada_core::event_time::millis_of;
use levada_core::{Exchange, Key};
use levada_runtime::wiring::NodeFactory;

use crate::window::contents::Contents;
use crate::window::node::{Making, WindowNode};
use crate::window::options::WindowOptions;
use crate::window::panes::{Assigner, Windows};
use crate::window::sliced::Sliced;
use crate::window::slicing::Slicing;

pub use paned::{
    CountWindow, Global, PanedKind, ProcessingTime, Triggered, count_window, global_window,
};
pub use session::{Session, session};

/// A kind of windows: how records of a key are gathered.
pub trait WindowKind: Clone + Send + Sync + 'static {
    /// What is wrong with it, if something is.
    ///
    /// # Errors
    /// If there can be no such windows.
    fn check(&self) -> Result<(), String>;

    /// The code of an operator with such windows.
    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>;
}

/// Windows of records of type `T`: any kind, and any with a trigger for such records.
pub trait WindowsOf<T: Exchange>: Clone + Send + Sync + 'static {
    /// What is wrong with them, if something is.
    ///
    /// # Errors
    /// If there can be no such windows.
    fn check(&self) -> Result<(), String>;

    /// The code of an operator with such windows.
    fn node<K, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        C: Contents<K, T>;
}

impl<T: Exchange, W: WindowKind> WindowsOf<T> for W {
    fn check(&self) -> Result<(), String> {
        WindowKind::check(self)
    }

    fn node<K, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        C: Contents<K, T>,
    {
        WindowKind::node::<K, T, C>(self, contents, options)
    }
}

/// Windows whose accumulators are never merged.
#[diagnostic::on_unimplemented(
    message = "`fold` has no way to merge two values, which these windows need",
    label = "windows that are merged or shared in parts",
    note = "use `aggregate`, with one of its aggregates (`count`, `sum`, `min`, `max`, `reduce`) or one of your own, which has a `merge`"
)]
pub trait NeverMerged {}

/// Windows that lie at the same times for all keys, so that records can be gathered by slice.
pub trait SlicedKind: WindowKind {
    /// Where they lie.
    fn slicing(&self) -> Slicing;
}

/// Windows of one width that follow each other. Made by [`tumbling`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tumbling {
    width: i64,
    offset: i64,
}

/// Windows of `width`, one after the other, so that each record is in one of them: `start` is the largest multiple of the
/// width that is not after the record.
///
/// ```
/// use levada::prelude::*;
///
/// fn revenue(bids: Stream<(u64, u64, i64)>) -> Stream<(u64, Span, u64)> {
///     bids.timestamps(|(_, _, at)| *at, seconds(5))
///         .key_by(|(auction, _, _)| *auction)
///         .window(tumbling(seconds(10)))
///         .aggregate("revenue", |bids| bids.sum(|(_, price, _)| *price))
/// }
/// ```
#[must_use]
pub fn tumbling(width: Duration) -> Tumbling {
    Tumbling {
        width: millis_of(width),
        offset: 0,
    }
}

impl Tumbling {
    /// Windows that begin so much later: days that begin at six are `tumbling(days(1)).offset(hours(6))`.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self {
            offset: millis_of(offset),
            ..self
        }
    }
}

impl WindowKind for Tumbling {
    fn check(&self) -> Result<(), String> {
        at_least_a_millisecond("width", self.width)
    }

    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>,
    {
        sliced_node::<K, T, C>(self.slicing(), contents, options)
    }
}

impl NeverMerged for Tumbling {}

impl PanedKind for Tumbling {
    fn assigner(&self) -> Assigner {
        Assigner::event(Windows::Sliced(self.slicing()))
    }
}

impl SlicedKind for Tumbling {
    fn slicing(&self) -> Slicing {
        // A width of nothing has been refused; the job is not run.
        let width = self.width.max(1);
        Slicing::new(width, width, self.offset)
    }
}

/// Windows of one width that begin at a fixed distance. Made by [`sliding`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sliding {
    width: i64,
    slide: i64,
    offset: i64,
}

/// Windows of `width`, one beginning every `slide`, so that a record is in several of them; if the slide is the greater,
/// in one or none.
///
/// Records are gathered once, in slices as long as the greatest common divisor of width and slide; a window that fires merges
/// its slices. So a slide that divides the width costs least.
///
/// ```
/// use levada::prelude::*;
///
/// fn trend(bids: Stream<(u64, i64)>) -> Stream<(u64, Span, u64)> {
///     bids.timestamps(|(_, at)| *at, seconds(5))
///         .key_by(|(auction, _)| *auction)
///         .window(sliding(minutes(10), minutes(2)))
///         .count("trend")
/// }
/// ```
#[must_use]
pub fn sliding(width: Duration, slide: Duration) -> Sliding {
    Sliding {
        width: millis_of(width),
        slide: millis_of(slide),
        offset: 0,
    }
}

impl Sliding {
    /// Windows that begin so much later.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self {
            offset: millis_of(offset),
            ..self
        }
    }
}

impl WindowKind for Sliding {
    fn check(&self) -> Result<(), String> {
        at_least_a_millisecond("width", self.width)?;
        at_least_a_millisecond("slide", self.slide)
    }

    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>,
    {
        sliced_node::<K, T, C>(self.slicing(), contents, options)
    }
}

impl PanedKind for Sliding {
    fn assigner(&self) -> Assigner {
        Assigner::event(Windows::Sliced(self.slicing()))
    }
}

impl SlicedKind for Sliding {
    fn slicing(&self) -> Slicing {
        Slicing::new(self.width.max(1), self.slide.max(1), self.offset)
    }
}

fn sliced_node<K, T, C>(
    slicing: Slicing,
    contents: C,
    options: WindowOptions<T>,
) -> impl NodeFactory + 'static
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
{
    WindowNode::<K, T, C, _>::new(
        contents,
        options,
        move |making: Making<'_, T, C, C::Accumulator, C::Out>| {
            Sliced::<K, T, C>::new(slicing, making)
        },
    )
}

pub(crate) fn at_least_a_millisecond(what: &str, millis: i64) -> Result<(), String> {
    if millis > 0 {
        return Ok(());
    }
    Err(format!(
        "the {what} of its windows is less than a millisecond, in which event time is counted"
    ))
}

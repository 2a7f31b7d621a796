//! Windows that fire by triggers: global ones, those of so many records, those of the time of day, and any with a trigger.

use levada_core::{Exchange, Key};
use levada_runtime::wiring::NodeFactory;

use crate::window::contents::Contents;
use crate::window::kind::{NeverMerged, Session, Sliding, Tumbling, WindowKind, WindowsOf};
use crate::window::node::{Making, WindowNode};
use crate::window::options::WindowOptions;
use crate::window::panes::{Assigner, Panes, Windows};
use crate::window::trigger::{
    AtProcessingTime, AtWatermark, Every, Purging, Trigger, at_processing_time, at_watermark, every,
};

/// Windows that can fire by a trigger.
pub trait PanedKind: WindowKind {
    /// Where they lie.
    fn assigner(&self) -> Assigner;
}

fn node<K, T, C, R>(
    assigner: Assigner,
    trigger: R,
    contents: C,
    options: WindowOptions<T>,
) -> impl NodeFactory + 'static
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    WindowNode::<K, T, C, _>::new(
        contents,
        options,
        move |making: Making<'_, T, C, C::Accumulator, C::Out>| {
            Panes::<K, T, C, R>::new(assigner, trigger.clone(), making)
        },
    )
    .with_trigger::<R::State>()
}

/// Windows that fire by a trigger. Made by `Windowed::trigger`.
#[derive(Clone, Copy, Debug)]
pub struct Triggered<W, R> {
    windows: W,
    trigger: R,
}

impl<W, R> Triggered<W, R> {
    /// These windows with this trigger.
    pub fn new(windows: W, trigger: R) -> Self {
        Self { windows, trigger }
    }
}

impl<T: Exchange, W: PanedKind, R: Trigger<T>> WindowsOf<T> for Triggered<W, R> {
    fn check(&self) -> Result<(), String> {
        WindowKind::check(&self.windows)?;
        if self.windows.assigner().merges() && !self.trigger.can_merge() {
            return Err(
                "its windows are sessions, which are merged, but its trigger cannot be: it has no `merge`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn node<K, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        C: Contents<K, T>,
    {
        node::<K, T, C, R>(self.windows.assigner(), self.trigger, contents, options)
    }
}

/// One window for all time. Made by [`global_window`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Global;

/// One window for each key, of all records. It fires when a trigger says so, and without one at the end of the input: so
/// give it a trigger if the input has no end. Records need no event time, and none is late. Results carry the last event time
/// that there is, the end of [`Span::ALL`](levada_core::Span::ALL) less a millisecond.
///
/// ```
/// use levada::prelude::*;
///
/// fn hundreds(clicks: Stream<String>) -> Stream<(String, Span, u64)> {
///     clicks
///         .key_by(Clone::clone)
///         .window(global_window())
///         .trigger(every(100))
///         .count("hundreds")
/// }
/// ```
#[must_use]
pub fn global_window() -> Global {
    Global
}

impl PanedKind for Global {
    fn assigner(&self) -> Assigner {
        Assigner::event(Windows::Global)
    }
}

impl WindowKind for Global {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>,
    {
        node::<K, T, C, AtWatermark>(self.assigner(), at_watermark(), contents, options)
    }
}

/// Windows of so many records. Made by [`count_window`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CountWindow {
    trigger: Purging<Every>,
    count: u64,
}

/// Windows of `count` records of a key, one after the other, in the order in which they come. They need no event time, and
/// span all of it. What is incomplete at the end of the input is dropped, as in Flink.
///
/// ```
/// use levada::prelude::*;
///
/// fn means(readings: Stream<(u64, f64)>) -> Stream<(u64, Span, f64)> {
///     readings
///         .key_by(|(sensor, _)| *sensor)
///         .window(count_window(10))
///         .fold("sums", |sum: &mut f64, (_, value)| *sum += value)
/// }
/// ```
#[must_use]
pub fn count_window(count: u64) -> CountWindow {
    CountWindow {
        trigger: every(count).purging(),
        count,
    }
}

impl WindowKind for CountWindow {
    fn check(&self) -> Result<(), String> {
        if self.count == 0 {
            return Err("its windows are of no records".to_owned());
        }
        Ok(())
    }

    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>,
    {
        node::<K, T, C, Purging<Every>>(Global.assigner(), self.trigger, contents, options)
    }
}

/// Windows of the time of day. Made by [`Tumbling::processing_time`], [`Sliding::processing_time`] and
/// [`Session::processing_time`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProcessingTime<W>(W);

impl<W: PanedKind> PanedKind for ProcessingTime<W> {
    fn assigner(&self) -> Assigner {
        Assigner {
            is_processing: true,
            ..self.0.assigner()
        }
    }
}

impl<W: PanedKind> WindowKind for ProcessingTime<W> {
    fn check(&self) -> Result<(), String> {
        WindowKind::check(&self.0)
    }

    fn node<K, T, C>(self, contents: C, options: WindowOptions<T>) -> impl NodeFactory + 'static
    where
        K: Key,
        T: Exchange,
        C: Contents<K, T>,
    {
        node::<K, T, C, AtProcessingTime>(self.assigner(), at_processing_time(), contents, options)
    }
}

macro_rules! processing_time {
    ($($kind:ident)*) => {$(
        impl $kind {
            /// The same windows by the time of day at which the operator reads a record, whatever the record's own. They fire
            /// when that time has passed, whether or not records come, and no record is late. What is open at the end of the
            /// input is dropped, as in Flink.
            #[must_use]
            pub fn processing_time(self) -> ProcessingTime<Self> {
                ProcessingTime(self)
            }
        }
    )*};
}

processing_time!(Tumbling Sliding Session);

/// Where windows of time are gathered apart from each other, none is merged with another.
impl<R: Clone + Send + Sync + 'static> NeverMerged for Triggered<Tumbling, R> {}
impl<R: Clone + Send + Sync + 'static> NeverMerged for Triggered<Sliding, R> {}
impl<R: Clone + Send + Sync + 'static> NeverMerged for Triggered<Global, R> {}
impl<R: Clone + Send + Sync + 'static> NeverMerged for Triggered<ProcessingTime<Tumbling>, R> {}
impl<R: Clone + Send + Sync + 'static> NeverMerged for Triggered<ProcessingTime<Sliding>, R> {}
impl NeverMerged for Global {}
impl NeverMerged for CountWindow {}
impl NeverMerged for ProcessingTime<Tumbling> {}
impl NeverMerged for ProcessingTime<Sliding> {}

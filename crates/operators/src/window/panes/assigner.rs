//! Which windows a record is in.

use levada_core::{Span, Timestamp};

use crate::window::slicing::Slicing;

/// Where windows lie, and by which time.
#[derive(Clone, Copy, Debug)]
pub struct Assigner {
    pub(crate) windows: Windows,
    /// By the time of day, rather than event time.
    pub(crate) is_processing: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Windows {
    Sliced(Slicing),
    /// From each record, as long as this; those that overlap are one.
    Session(i64),
    /// All time.
    Global,
}

impl Assigner {
    pub(crate) fn event(windows: Windows) -> Self {
        Self {
            windows,
            is_processing: false,
        }
    }

    /// Whether a record has to have an event time.
    pub(crate) fn needs_time(&self) -> bool {
        !matches!(self.windows, Windows::Global) && !self.is_processing
    }

    /// Whether windows become one when a record lies between them.
    pub(crate) fn merges(&self) -> bool {
        matches!(self.windows, Windows::Session(_))
    }

    /// Finds the windows of a time.
    pub(crate) fn assign(&self, at: Timestamp, spans: &mut Vec<Span>) {
        spans.clear();
        match self.windows {
            Windows::Sliced(slicing) => {
                let (first, last) = slicing.windows_of(slicing.slice_of(at));
                spans.extend((first..=last).map(|window| slicing.window_span(window)));
            }
            Windows::Session(gap) => spans.push(Span {
                start: at,
                end: Timestamp(at.0.saturating_add(gap)),
            }),
            Windows::Global => spans.push(Span::ALL),
        }
    }

    /// When a window is forgotten by the watermark; none if it is not.
    pub(crate) fn forgotten_at(&self, span: Span, lateness: i64) -> Option<Timestamp> {
        let is_global = matches!(self.windows, Windows::Global);
        (!is_global && !self.is_processing)
            .then(|| Timestamp(span.last().0.saturating_add(lateness)))
    }
}

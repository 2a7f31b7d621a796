//! Tumbling and sliding windows as runs of slices: the arithmetic.
//!
//! ```text
//! slide 4, width 6          gcd 2: slices of 2, a window of 3, every 2 slices
//! window 0  |───────────|
//! window 1          |───────────|
//! slice       0   1   2   3   4   5
//! ```
//!
//! A record belongs to one slice, whatever the number of windows around it ("Cutty: Aggregate Sharing for User-Defined
//! Windows", Carbone et al., 2016; the idea of panes is older: Li et al., "No pane, no gain", 2005). Windows are
//! numbered so that the one with number 0 begins at the offset, and slices so that the one with number 0 begins at the epoch or
//! less than a slice later. Numbers are exact over the whole range of event time, and only the ends of a [`Span`] are cut off
//! at the ends of the range; but of windows that begin every millisecond, those that begin before the range are not there.

use levada_core::{Span, Timestamp};

/// Windows of one width, one beginning every `slide` milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slicing {
    /// The length of a slice.
    slice: i64,
    /// The slices of a window.
    wide: i64,
    /// The slices from the beginning of one window to that of the next.
    hop: i64,
    /// The first slice of window 0, from 0 up to a hop.
    shift: i64,
    /// Where slice 0 begins, from 0 up to a slice.
    offset: i64,
}

impl Slicing {
    /// Windows `width` long, every `slide`, the offset from the epoch; all in milliseconds.
    ///
    /// # Panics
    /// If width or slide is not positive: whoever made the windows has refused that.
    #[must_use]
    pub fn new(width: i64, slide: i64, offset: i64) -> Self {
        assert!(width > 0 && slide > 0, "windows have a width and a slide");
        let slice = gcd(width, slide);
        let offset = offset.rem_euclid(slide);
        Self {
            slice,
            wide: width / slice,
            hop: slide / slice,
            shift: offset / slice,
            offset: offset % slice,
        }
    }

    /// Whether no two windows share a slice, and each has one.
    #[must_use]
    pub fn has_own_slices(self) -> bool {
        self.wide == 1
    }

    /// The slice of a time.
    #[must_use]
    pub fn slice_of(self, time: Timestamp) -> i64 {
        match time.0.checked_sub(self.offset) {
            Some(since) => since.div_euclid(self.slice),
            // Only where a time is less than a slice above the least number.
            None => wide_to_number(wide(time.0, -self.offset).div_euclid(i128::from(self.slice))),
        }
    }

    /// The times of a slice that are event times: the least number is none.
    #[must_use]
    pub fn slice_span(self, slice: i64) -> Span {
        let span = self.wide_span(i128::from(slice), 1);
        let first = Timestamp(i64::MIN + 1);
        Span {
            start: span.start.max(first),
            ..span
        }
    }

    /// The times of a window.
    #[must_use]
    pub fn window_span(self, window: i64) -> Span {
        self.wide_span(self.first_slice(window), self.wide)
    }

    /// The first and the last window that a slice is in; the first is greater if it lies in a gap between windows.
    #[must_use]
    pub fn windows_of(self, slice: i64) -> (i64, i64) {
        let hop = i128::from(self.hop);
        let since = i128::from(slice) - i128::from(self.shift);
        let before = (since - i128::from(self.wide)).div_euclid(hop);
        (
            wide_to_number(before + 1),
            wide_to_number(since.div_euclid(hop)),
        )
    }

    /// The first and the last slice of a window.
    #[must_use]
    pub fn slices_of(self, window: i64) -> (i64, i64) {
        let first = self.first_slice(window);
        (
            wide_to_number(first),
            wide_to_number(first + i128::from(self.wide) - 1),
        )
    }

    /// The first window that a watermark does not complete.
    #[must_use]
    pub fn first_open(self, watermark: Timestamp) -> i64 {
        if watermark == Timestamp::MAX {
            return i64::MAX;
        }
        // A window is complete when the watermark is its last millisecond.
        let since = wide(watermark.0, 1) - i128::from(self.offset);
        let complete_slices = since.div_euclid(i128::from(self.slice));
        let whole = complete_slices - i128::from(self.shift) - i128::from(self.wide);
        wide_to_number(whole.div_euclid(i128::from(self.hop)) + 1)
    }

    fn first_slice(self, window: i64) -> i128 {
        i128::from(window) * i128::from(self.hop) + i128::from(self.shift)
    }

    fn wide_span(self, first: i128, slices: i64) -> Span {
        let at = |slice: i128| {
            let time = slice * i128::from(self.slice) + i128::from(self.offset);
            Timestamp(wide_to_number(time))
        };
        Span {
            start: at(first),
            end: at(first + i128::from(slices)),
        }
    }
}

fn wide(a: i64, b: i64) -> i128 {
    i128::from(a) + i128::from(b)
}

/// Cut off at the ends of the range.
fn wide_to_number(number: i128) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is clamped to the range"
    )]
    let number = number.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    number
}

fn gcd(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_around_the_epoch_and_at_the_ends_of_time() {
        let tumbling = Slicing::new(10, 10, 0);
        assert!(tumbling.has_own_slices());
        for (time, start, end) in [
            (0, 0, 10),
            (9, 0, 10),
            (-1, -10, 0),
            (-10, -10, 0),
            (-11, -20, -10),
            (i64::MAX - 1, i64::MAX - 7, i64::MAX),
            (i64::MIN + 1, i64::MIN, i64::MIN + 8),
        ] {
            let slice = tumbling.slice_of(Timestamp(time));
            let span = tumbling.window_span(slice);
            assert_eq!((span.start.0, span.end.0), (start, end), "{time}");
            assert_eq!(tumbling.windows_of(slice), (slice, slice));
            assert_eq!(tumbling.slices_of(slice), (slice, slice));
        }
        let shifted = Slicing::new(10, 10, -3);
        let span = shifted.window_span(shifted.slice_of(Timestamp(6)));
        assert_eq!((span.start.0, span.end.0), (-3, 7));
        let near_the_end = Slicing::new(10, 10, 9);
        assert!(near_the_end.slice_of(Timestamp(i64::MIN + 1)) < 0);
        // Slices of a millisecond, and an offset: each time has its own.
        let fine = Slicing::new(101, 100, 99);
        for time in (i64::MIN + 1..i64::MIN + 300).chain(i64::MAX - 300..i64::MAX) {
            let slice = fine.slice_of(Timestamp(time));
            assert_eq!(fine.slice_span(slice).start, Timestamp(time));
            let (first, last) = fine.windows_of(slice);
            let containing = (first - 2..=last + 2)
                .filter(|window| fine.window_span(*window).contains(Timestamp(time)));
            assert!(containing.eq(first..=last), "{time}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The windows of a time, from their definition.
        #[test]
        fn a_slice_is_in_the_windows_of_its_times(
            width in 1..40i64,
            slide in 1..40i64,
            offset in -50..50i64,
            time in -300..300i64,
        ) {
            let slicing = Slicing::new(width, slide, offset);
            let slice = slicing.slice_of(Timestamp(time));
            prop_assert!(slicing.slice_span(slice).contains(Timestamp(time)));
            let (first, last) = slicing.windows_of(slice);
            let mut expected = Vec::new();
            for n in -400..400 {
                let start = n * slide + offset.rem_euclid(slide);
                if start <= time && time < start + width {
                    expected.push((start, start + width));
                }
            }
            let windows: Vec<_> = (first..=last)
                .map(|window| slicing.window_span(window))
                .map(|span| (span.start.0, span.end.0))
                .collect();
            prop_assert_eq!(windows, expected);
            let open = slicing.first_open(Timestamp(time));
            prop_assert!(slicing.window_span(open).last().0 > time);
            prop_assert!(slicing.window_span(open - 1).last().0 <= time);
            for window in first..=last {
                let (begin, end) = slicing.slices_of(window);
                prop_assert!((begin..=end).contains(&slice));
                prop_assert_eq!(slicing.slice_span(begin).start, slicing.window_span(window).start);
                prop_assert_eq!(slicing.slice_span(end).end, slicing.window_span(window).end);
            }
        }
    }
}

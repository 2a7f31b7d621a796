//! How many bytes a record is charged for.

use std::marker::PhantomData;
use std::mem::{needs_drop, size_of};

use levada_core::codec;
use serde::Serialize;

use crate::batch::Entry;

/// Estimates the bytes of records by sampling.
///
/// A type that owns nothing outside of itself is charged for its size. Any other is charged for its size and its encoded
/// length, which stands for what it has on the heap: measured (without writing a byte) for one record in
/// [`SAMPLE_EVERY`](Self::SAMPLE_EVERY) while records are small and alike, and for every record as soon as the samples
/// are large or uneven, since then the measuring is cheap beside the record or the mean means nothing.
#[derive(Debug)]
pub struct Meter<T> {
    /// What a record that is not measured is charged for.
    estimate: usize,
    /// Records until the next sample.
    countdown: u32,
    /// Records that are still measured one by one.
    measure_all: u32,
    records: PhantomData<fn(&T)>,
}

impl<T: Serialize> Meter<T> {
    /// One record in this many is measured.
    pub const SAMPLE_EVERY: u32 = 16;
    /// Encoded lengths from which on every record is measured.
    pub const LARGE: usize = 512;
    /// For how many records after a large or uneven one that stays so.
    pub const MEASURE_ALL: u32 = 4_096;

    /// A meter that has seen nothing: it measures the first record.
    #[must_use]
    pub fn new() -> Self {
        Self {
            estimate: 0,
            countdown: 0,
            measure_all: 0,
            records: PhantomData,
        }
    }

    /// The bytes to charge for `record`.
    #[inline]
    pub fn charge(&mut self, record: &T) -> usize {
        if !needs_drop::<T>() {
            return size_of::<Entry<T>>();
        }
        if self.countdown > 0 {
            self.countdown -= 1;
            return self.estimate;
        }
        self.measure(record)
    }

    #[inline(never)]
    fn measure(&mut self, record: &T) -> usize {
        // A record that cannot be encoded is found and reported when its batch is sealed.
        let encoded = codec::encoded_len(record).unwrap_or(0);
        let bytes = size_of::<Entry<T>>() + usize::try_from(encoded).unwrap_or(usize::MAX / 2);
        let uneven = self.estimate > 0 && bytes > 4 * self.estimate;
        if bytes >= Self::LARGE || uneven {
            self.measure_all = Self::MEASURE_ALL;
        } else {
            self.measure_all = self.measure_all.saturating_sub(1);
        }
        self.estimate = if self.estimate == 0 {
            bytes
        } else {
            // A moving mean over some eight samples, rounded up.
            (7 * self.estimate + bytes).div_ceil(8)
        };
        self.countdown = if self.measure_all > 0 {
            0
        } else {
            Self::SAMPLE_EVERY - 1
        };
        bytes
    }
}

impl<T: Serialize> Default for Meter<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_without_heap_is_charged_for_its_size() {
        let mut meter = Meter::new();
        assert_eq!(meter.charge(&7u64), size_of::<Entry<u64>>());
    }

    #[test]
    fn small_and_even_strings_are_sampled() {
        let mut meter = Meter::new();
        let word = "backpressure".to_owned();
        let charged: usize = (0..1_000).map(|_| meter.charge(&word)).sum();
        let each = size_of::<Entry<String>>() + 8 + word.len();
        assert_eq!(charged, 1_000 * each);
        assert!(meter.countdown > 0, "most are not measured");
    }

    #[test]
    fn large_strings_are_charged_one_by_one() {
        let mut meter = Meter::new();
        let small = "a".to_owned();
        for _ in 0..100 {
            meter.charge(&small);
        }
        let large = "b".repeat(1 << 20);
        let mut charged = 0;
        for _ in 0..64 {
            charged += meter.charge(&large);
        }
        // Up to fifteen may slip through before the first large one is sampled.
        assert!(charged >= (64 - 15) * large.len(), "charged {charged}");
        assert!(meter.charge(&small) < 100, "and small ones stay small");
        assert!(meter.charge(&large) > large.len());
    }
}

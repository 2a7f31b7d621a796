//! The record of the comparisons.

use serde::{Deserialize, Serialize};

/// 64 bytes without anything on the heap.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) words: [u64; 8],
}

impl Record {
    /// The record of this number.
    #[inline]
    pub(crate) fn new(n: u64) -> Self {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            words: [
                n,
                mixed,
                mixed >> 7,
                n ^ 3,
                mixed ^ n,
                n + 5,
                n << 3,
                mixed | 1,
            ],
        }
    }

    /// A number in which all of it has a part.
    #[inline]
    pub(crate) fn sum(&self) -> u64 {
        self.words
            .iter()
            .fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

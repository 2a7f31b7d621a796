//! What becomes of the rows: they are counted, a number of each is added up, and with `--digest` their texts are hashed.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

use crate::map::Map;
use crate::row::Row;

/// What is known of all rows of a run. Sums wrap, so that the order of rows and subtasks does not matter.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
    pub(crate) digest: Option<u64>,
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.reduce(|left, right| Self {
            rows: left.rows + right.rows,
            sum: left.sum.wrapping_add(right.sum),
            digest: left
                .digest
                .zip(right.digest)
                .map(|(left, right)| left.wrapping_add(right)),
        })
        .unwrap_or_default()
    }
}

/// Takes rows.
pub(crate) trait Gather: Default {
    /// Takes a row.
    fn add(&mut self, row: &impl Row);

    /// What has been gathered.
    fn totals(&self) -> Totals;
}

/// Counts rows and adds their numbers up.
#[derive(Default)]
pub(crate) struct Counting {
    rows: u64,
    sum: u64,
}

impl Gather for Counting {
    #[inline]
    fn add(&mut self, row: &impl Row) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row.number());
    }

    fn totals(&self) -> Totals {
        Totals {
            rows: self.rows,
            sum: self.sum,
            digest: None,
        }
    }
}

/// Hashes the rows' texts too.
#[derive(Default)]
pub(crate) struct Digesting {
    counting: Counting,
    digest: u64,
    /// The number and the hash of the last update of each key.
    updates: Map<u64, (u64, u64)>,
}

impl Gather for Digesting {
    fn add(&mut self, row: &impl Row) {
        self.counting.add(row);
        let mut hash = Fnv::default();
        row.text(&mut hash)
            .expect("writing into a hash does not fail");
        match row.update() {
            None => self.digest = self.digest.wrapping_add(hash.0),
            Some((key, number)) => {
                let last = self.updates.entry(key).or_default();
                if number > last.0 {
                    *last = (number, hash.0);
                }
            }
        }
    }

    fn totals(&self) -> Totals {
        let updates = self.updates.values().map(|(_, hash)| *hash);
        Totals {
            digest: Some(updates.fold(self.digest, u64::wrapping_add)),
            ..self.counting.totals()
        }
    }
}

/// FNV-1a of 64 bits, over the text that is written into it.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::row::{Chosen, Running};

    #[test]
    fn the_hash_is_the_published_one() {
        for (text, expect) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hash = Fnv::default();
            hash.write_str(text).unwrap();
            assert_eq!(hash.0, expect, "{text}");
        }
    }

    #[test]
    fn rows_count_in_any_order_and_in_any_division() {
        let row = |auction| Chosen {
            auction,
            price: u64::MAX - auction,
        };
        let of = |auctions: &[u64]| {
            let mut digesting = Digesting::default();
            for auction in auctions {
                digesting.add(&row(*auction));
            }
            digesting.totals()
        };
        let whole = of(&[1, 2, 3]);
        assert_eq!(whole.rows, 3);
        assert_eq!(whole, [of(&[3]), of(&[2, 1])].into_iter().sum());
        assert_ne!(whole.digest, of(&[1, 2, 2]).digest);
    }

    #[test]
    fn of_updates_only_the_last_counts_in_the_digest() {
        let row = |bidder, count| Running {
            bidder,
            count,
            sum: 10 * count,
        };
        let of = |rows: &[(u64, u64)]| {
            let mut digesting = Digesting::default();
            for (bidder, count) in rows {
                digesting.add(&row(*bidder, *count));
            }
            digesting.totals()
        };
        let all = of(&[(1, 1), (2, 1), (1, 2), (1, 3)]);
        assert_eq!(all.rows, 4);
        assert_eq!(all.digest, of(&[(1, 3), (2, 1)]).digest);
        assert_eq!(all.digest, of(&[(1, 3), (1, 2), (2, 1)]).digest);
        assert_ne!(all.digest, of(&[(1, 2), (2, 1)]).digest);
    }
}

//! What becomes of the rows: they are counted, a number of each is added up, and with `--digest` their texts are hashed.

use std::fmt;

use levada::BoxError;
use serde::{Deserialize, Serialize};

use crate::map::{self, Map};
use crate::row::Row;

/// What is known of all rows of a run. Sums wrap, so that the order of rows and subtasks does not matter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
    pub(crate) digest: Option<u64>,
}

/// Takes rows.
pub(crate) trait Gather: Default {
    /// Takes a row.
    fn add(&mut self, row: &impl Row);

    /// What has been gathered.
    fn totals(&self) -> Totals;
}

/// Counts rows and adds their numbers up.
#[derive(Clone, Default, Deserialize, Serialize)]
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
#[derive(Clone, Default, Deserialize, Serialize)]
pub(crate) struct Digesting {
    counting: Counting,
    digest: u64,
    /// The number and the hash of the last update of each key.
    #[serde(with = "map::pairs")]
    updates: Map<u64, (u64, u64)>,
}

/// What a part of the rows has come to. It is what a checkpoint keeps.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) enum Gathered {
    Counted(Counting),
    Digested(Digesting),
}

impl Gathered {
    /// What no rows come to.
    pub(crate) fn nothing(digest: bool) -> Self {
        match digest {
            true => Self::Digested(Digesting::default()),
            false => Self::Counted(Counting::default()),
        }
    }

    /// Adds what other rows have come to.
    ///
    /// # Errors
    /// If only one of the two has a digest.
    pub(crate) fn absorb(&mut self, other: Self) -> Result<(), BoxError> {
        match (self, other) {
            (Self::Counted(counting), Self::Counted(other)) => counting.absorb(&other),
            (Self::Digested(digesting), Self::Digested(other)) => digesting.absorb(&other),
            (Self::Counted(_), Self::Digested(_)) => {
                return Err("the checkpoint has a digest: go on with --digest".into());
            }
            (Self::Digested(_), Self::Counted(_)) => {
                return Err("the checkpoint has no digest: go on without --digest".into());
            }
        }
        Ok(())
    }

    pub(crate) fn totals(&self) -> Totals {
        match self {
            Self::Counted(counting) => counting.totals(),
            Self::Digested(digesting) => digesting.totals(),
        }
    }
}

impl Counting {
    fn absorb(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Digesting {
    fn absorb(&mut self, other: &Self) {
        self.counting.absorb(&other.counting);
        self.digest = self.digest.wrapping_add(other.digest);
        for (key, update) in &other.updates {
            self.update(*key, *update);
        }
    }

    /// Keeps an update, unless there is a later one.
    fn update(&mut self, key: u64, (number, hash): (u64, u64)) {
        let last = self.updates.entry(key).or_default();
        if number > last.0 {
            *last = (number, hash);
        }
    }
}

impl Gather for Digesting {
    fn add(&mut self, row: &impl Row) {
        self.counting.add(row);
        let mut hash = Fnv::default();
        row.text(&mut hash)
            .expect("writing into a hash does not fail");
        match row.update() {
            None => self.digest = self.digest.wrapping_add(hash.0),
            Some((key, number)) => self.update(key, (number, hash.0)),
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
            digesting
        };
        let whole = of(&[1, 2, 3]).totals();
        assert_eq!(whole.rows, 3);
        let mut parts = of(&[3]);
        parts.absorb(&of(&[2, 1]));
        assert_eq!(whole, parts.totals());
        assert_ne!(whole.digest, of(&[1, 2, 2]).totals().digest);
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
            digesting
        };
        let digest = |rows| of(rows).totals().digest;
        let all = of(&[(1, 1), (2, 1), (1, 2), (1, 3)]).totals();
        assert_eq!(all.rows, 4);
        assert_eq!(all.digest, digest(&[(1, 3), (2, 1)]));
        assert_eq!(all.digest, digest(&[(1, 3), (1, 2), (2, 1)]));
        assert_ne!(all.digest, digest(&[(1, 2), (2, 1)]));
        // A bidder's updates may be in several parts, the last one in any of them.
        for (left, right) in [
            (&[(1, 1), (1, 3)], &[(1, 2), (2, 1)]),
            (&[(1, 2), (2, 1)], &[(1, 1), (1, 3)]),
        ] {
            let mut parts = of(left);
            parts.absorb(&of(right));
            assert_eq!(parts.totals(), all);
        }
    }
}

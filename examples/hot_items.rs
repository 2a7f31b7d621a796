//! The auctions with the most bids, in every window of ten seconds that begins every five: windows behind windows.
//!
//! Bids are counted for each auction and window; then the counts of one window come together, and the highest of them win,
//! all of them if several are equal. Bids come up to two seconds out of order.

use levada::prelude::*;

/// A count of bids: an auction, the window, how many.
type Count = (u64, Span, u64);

/// The auctions with the highest count.
#[derive(Clone)]
struct Hottest;

impl Aggregate<Count> for Hottest {
    type Accumulator = (u64, Vec<u64>);
    type Out = (u64, Vec<u64>);

    fn create(&self) -> (u64, Vec<u64>) {
        (0, Vec::new())
    }

    fn add(&self, best: &mut (u64, Vec<u64>), (auction, _, count): &Count) {
        self.merge(best, (*count, vec![*auction]));
    }

    fn merge(&self, best: &mut (u64, Vec<u64>), other: (u64, Vec<u64>)) {
        match other.0.cmp(&best.0) {
            std::cmp::Ordering::Greater => *best = other,
            std::cmp::Ordering::Equal => best.1.extend(other.1),
            std::cmp::Ordering::Less => {}
        }
    }

    fn finish(&self, (count, mut auctions): (u64, Vec<u64>)) -> (u64, Vec<u64>) {
        auctions.sort_unstable();
        (count, auctions)
    }
}

/// When somebody bid on which auction, in seconds.
const BIDS: &[(i64, u64)] = &[
    (0, 7),
    (3, 8),
    (2, 7),
    (4, 9),
    (6, 8),
    (5, 9),
    (8, 8),
    (11, 9),
    (12, 7),
    (10, 8),
    (14, 9),
    (17, 7),
];

fn hot_items(job: &Job) {
    job.source("bids", iterator(BIDS))
        .timestamps(|(at, _)| at * 1_000, seconds(2))
        .map(|(_, auction)| *auction)
        .key_by(|auction| *auction)
        .window(sliding(seconds(10), seconds(5)))
        .count("bids-per-auction")
        // The result of a window carries its last millisecond as timestamp, so counts of one window meet in this one.
        .global()
        .window(tumbling(seconds(5)))
        .aggregate("hottest", |_| Hottest)
        .map(|((), span, (count, auctions))| {
            let end = span.end.0 / 1_000;
            format!("until {end} s: {count} bids on {auctions:?}")
        })
        .sink("out", stdout());
}

fn main() -> levada::Result {
    levada::main(hot_items)
}

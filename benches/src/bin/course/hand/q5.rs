//! `q5`: the auctions with the most bids, in sliding windows.
//!
//! Bids are counted by slices of two seconds. The counts of a window are those of its five slices: they are kept up to date
//! by adding the slice that has ended and taking away the one that has left.

use std::borrow::Borrow;
use std::collections::VecDeque;

use super::{Loop, window_end};
use crate::digest::Gather;
use crate::event::Event;
use crate::map::Map;
use crate::row::Hot;

const SLIDE: u64 = 2_000;
const SLICES: usize = 5;

pub(super) struct HotItems;

/// Bids by auction.
type Counts = Map<u64, u64>;

#[derive(Default)]
struct Window {
    /// The slices of the last window, the oldest first.
    slices: VecDeque<Counts>,
    counts: Counts,
}

impl Loop for HotItems {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut window = Window::default();
        let mut slice = Counts::default();
        let mut slice_end = 0;
        for event in events {
            let Event::Bid(bid) = event.borrow() else {
                continue;
            };
            if bid.date_time >= slice_end {
                let next_end = window_end(bid.date_time, SLIDE);
                window.end_slices(&mut slice, slice_end, next_end, rows);
                slice_end = next_end;
            }
            *slice.entry(bid.auction).or_default() += 1;
        }
        window.end_slices(&mut slice, slice_end, u64::MAX, rows);
    }
}

impl Window {
    /// Ends the slice that ends at `end`, and empty ones up to one that ends at `next_end` or until no window is left.
    fn end_slices(
        &mut self,
        slice: &mut Counts,
        mut end: u64,
        next_end: u64,
        rows: &mut impl Gather,
    ) {
        while end < next_end {
            self.move_on(std::mem::take(slice));
            if self.counts.is_empty() {
                return;
            }
            let most = self.counts.values().max();
            for (auction, count) in &self.counts {
                if Some(count) == most {
                    rows.add(&Hot {
                        window_end: end,
                        auction: *auction,
                        count: *count,
                    });
                }
            }
            end += SLIDE;
        }
    }

    fn move_on(&mut self, slice: Counts) {
        for (auction, count) in &slice {
            *self.counts.entry(*auction).or_default() += count;
        }
        self.slices.push_back(slice);
        if self.slices.len() <= SLICES {
            return;
        }
        for (auction, count) in self.slices.pop_front().unwrap_or_default() {
            if let Some(left) = self.counts.get_mut(&auction) {
                *left -= count;
                if *left == 0 {
                    self.counts.remove(&auction);
                }
            }
        }
    }
}

//! `q4`: the winning bids of each category.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Loop;
use crate::digest::Gather;
use crate::event::{Auction, Bid, Event};
use crate::map::Map;
use crate::row::Category;

pub(super) struct Winners;

/// An auction that has not expired.
struct Open {
    category: u64,
    /// The highest bid.
    best: Option<u64>,
}

/// The auctions as of a moment.
#[derive(Default)]
struct House {
    open: Map<u64, Open>,
    /// When which of them expires, the next one first.
    closing: BinaryHeap<Reverse<(u64, u64)>>,
    /// Bids of the current millisecond in auctions that are not open: those may begin in this millisecond still.
    early: Vec<(u64, u64)>,
    now: u64,
    /// Count and sum of the winning bids of each category.
    won: Map<u64, (u64, u64)>,
}

impl Loop for Winners {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut house = House::default();
        for event in events {
            match event.borrow() {
                Event::Bid(bid) => house.bid(bid),
                Event::Auction(auction) => house.begin(auction),
                Event::Person(_) => {}
            }
        }
        house.close_until(u64::MAX);
        for (category, (count, sum)) in house.won {
            rows.add(&Category {
                category,
                count,
                sum,
            });
        }
    }
}

impl House {
    fn bid(&mut self, bid: &Bid) {
        self.advance(bid.date_time);
        match self.open.get_mut(&bid.auction) {
            // It is open, so it does not expire before now.
            Some(auction) => auction.best = auction.best.max(Some(bid.price)),
            None => self.early.push((bid.auction, bid.price)),
        }
    }

    fn begin(&mut self, auction: &Auction) {
        self.advance(auction.date_time);
        if auction.expires < auction.date_time {
            return;
        }
        let early = self.early.iter().filter(|(id, _)| *id == auction.id);
        let open = Open {
            category: auction.category,
            best: early.map(|(_, price)| *price).max(),
        };
        self.open.insert(auction.id, open);
        self.closing.push(Reverse((auction.expires, auction.id)));
    }

    /// Goes on to a time: what was to expire before has expired.
    #[inline]
    fn advance(&mut self, now: u64) {
        if now > self.now {
            self.now = now;
            self.early.clear();
            self.close_until(now);
        }
    }

    fn close_until(&mut self, now: u64) {
        while let Some(Reverse((expires, id))) = self.closing.peek().copied()
            && expires < now
        {
            self.closing.pop();
            let auction = self.open.remove(&id).expect("an open auction closes once");
            if let Some(price) = auction.best {
                let (count, sum) = self.won.entry(auction.category).or_default();
                *count += 1;
                *sum += price;
            }
        }
    }
}

//! `keyed`: a running count and sum per bidder.

use std::borrow::Borrow;

use super::Loop;
use crate::digest::Gather;
use crate::event::Event;
use crate::map::Map;
use crate::row::Running;

pub(super) struct RunningSums;

impl Loop for RunningSums {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut bidders: Map<u64, (u64, u64)> = Map::default();
        for event in events {
            if let Event::Bid(bid) = event.borrow() {
                let (count, sum) = bidders.entry(bid.bidder).or_default();
                *count += 1;
                *sum += bid.price;
                rows.add(&Running {
                    bidder: bid.bidder,
                    count: *count,
                    sum: *sum,
                });
            }
        }
    }
}

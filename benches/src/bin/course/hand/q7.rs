//! `q7`: the highest bids, in tumbling windows.

use std::borrow::Borrow;

use super::{Loop, window_end};
use crate::digest::Gather;
use crate::event::Event;
use crate::row::Highest;

const WIDTH: u64 = 10_000;

pub(super) struct HighestBids;

impl Loop for HighestBids {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut highest: Vec<Highest> = Vec::new();
        let mut price = 0;
        let mut end = 0;
        for event in events {
            let Event::Bid(bid) = event.borrow() else {
                continue;
            };
            if bid.date_time >= end {
                give(&mut highest, rows);
                price = 0;
                end = window_end(bid.date_time, WIDTH);
            }
            if bid.price >= price {
                if bid.price > price {
                    highest.clear();
                    price = bid.price;
                }
                highest.push(Highest {
                    window_end: end,
                    auction: bid.auction,
                    bidder: bid.bidder,
                    price,
                });
            }
        }
        give(&mut highest, rows);
    }
}

fn give(highest: &mut Vec<Highest>, rows: &mut impl Gather) {
    for row in highest.drain(..) {
        rows.add(&row);
    }
}

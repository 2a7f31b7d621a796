//! `q1`: bids in another currency.

use std::borrow::Borrow;

use super::Loop;
use crate::digest::Gather;
use crate::event::Event;
use crate::row::Converted;

pub(super) struct Convert;

impl Loop for Convert {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        for event in events {
            if let Event::Bid(bid) = event.borrow() {
                rows.add(&Converted {
                    auction: bid.auction,
                    bidder: bid.bidder,
                    price: bid.price * 908 / 1000,
                    date_time: bid.date_time,
                });
            }
        }
    }
}

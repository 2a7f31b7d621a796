//! `q2`: bids in some auctions.

use std::borrow::Borrow;

use super::Loop;
use crate::digest::Gather;
use crate::event::Event;
use crate::row::Chosen;

pub(super) struct Choose;

impl Loop for Choose {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        for event in events {
            if let Event::Bid(bid) = event.borrow()
                && bid.auction.is_multiple_of(123)
            {
                rows.add(&Chosen {
                    auction: bid.auction,
                    price: bid.price,
                });
            }
        }
    }
}

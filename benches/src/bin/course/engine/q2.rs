//! `q2`: bids in some auctions.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Chosen;

pub(super) fn choose(events: impl Flow<Item = Event>) -> impl Flow<Item = Chosen> {
    events.filter_map(|event| match event {
        Event::Bid(bid) if bid.auction.is_multiple_of(123) => Some(Chosen {
            auction: bid.auction,
            price: bid.price,
        }),
        _ => None,
    })
}

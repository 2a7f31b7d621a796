//! `q2`: bids in some auctions.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Chosen;

pub(super) fn choose(events: impl Flow<Item = Event>) -> impl Flow<Item = Chosen> {
    events
        .flat_map(Event::into_bid)
        .filter(|bid| bid.auction.is_multiple_of(123))
        .map(|bid| Chosen {
            auction: bid.auction,
            price: bid.price,
        })
}

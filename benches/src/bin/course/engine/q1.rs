//! `q1`: bids in another currency.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Converted;

pub(super) fn convert(events: impl Flow<Item = Event>) -> impl Flow<Item = Converted> {
    events.filter_map(|event| match event {
        Event::Bid(bid) => Some(Converted {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price * 908 / 1000,
            date_time: bid.date_time,
        }),
        _ => None,
    })
}

//! `q7`: the highest bids, in tumbling windows.

use levada::prelude::*;

use super::most::Most;
use crate::event::Event;
use crate::row::Highest;

pub(super) fn highest_bids(events: impl Flow<Item = Event>) -> impl Flow<Item = Highest> {
    events
        .filter_map(|event| match event {
            Event::Bid(bid) => Some((bid.price, bid.auction, bid.bidder)),
            _ => None,
        })
        .global()
        .window(tumbling(seconds(10)))
        .pre_aggregate()
        .aggregate("highest", |_| Most(|(price, ..): &(u64, u64, u64)| *price))
        .flat_map(|((), span, bids)| {
            bids.into_iter()
                .map(move |(price, auction, bidder)| Highest {
                    window_end: span.end.0.cast_unsigned(),
                    auction,
                    bidder,
                    price,
                })
        })
}

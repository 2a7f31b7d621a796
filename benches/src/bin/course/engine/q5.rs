//! `q5`: the auctions with the most bids, in sliding windows.

use levada::prelude::*;

use super::most::Most;
use crate::event::Event;
use crate::row::Hot;

pub(super) fn hot_items(events: impl Flow<Item = Event>) -> impl Flow<Item = Hot> {
    events
        .filter_map(|event| match event {
            Event::Bid(bid) => Some((bid.auction, ())),
            _ => None,
        })
        .keyed()
        .window(sliding(seconds(10), seconds(2)))
        .count("bids")
        // The counts of a window carry the time of its last millisecond.
        .map(|(auction, span, count)| (span, (auction, count)))
        .keyed()
        .window(tumbling(seconds(2)))
        .aggregate("hottest", |_| Most(|(_, count): &(u64, u64)| *count))
        .flat_map(|(span, _, auctions)| {
            auctions.into_iter().map(move |(auction, count)| Hot {
                window_end: span.end.0.cast_unsigned(),
                auction,
                count,
            })
        })
}

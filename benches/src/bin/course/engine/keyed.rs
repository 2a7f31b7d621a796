//! `keyed`: a running count and sum per bidder.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Running;

pub(super) fn running_sums(events: impl Flow<Item = Event>) -> impl Flow<Item = Running> {
    events
        .filter_map(|event| match event {
            Event::Bid(bid) => Some((bid.bidder, bid.price)),
            _ => None,
        })
        .keyed()
        .aggregate("sums", |prices| {
            (prices.count(), prices.sum(|price: &u64| *price))
        })
        .map(|(bidder, (count, sum))| Running { bidder, count, sum })
}

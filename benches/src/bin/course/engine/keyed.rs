//! `keyed`: a running count and sum per bidder.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Running;

pub(super) fn running_sums(events: impl Flow<Item = Event>) -> impl Flow<Item = Running> {
    events
        .flat_map(Event::into_bid)
        .map(|bid| (bid.bidder, bid.price))
        .keyed()
        .aggregate("sums", |prices| {
            (prices.count(), prices.sum(|price: &u64| *price))
        })
        .map(|(bidder, (count, sum))| Running { bidder, count, sum })
}

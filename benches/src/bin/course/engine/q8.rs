//! `q8`: new persons who sell at once, in tumbling windows.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Seller;

pub(super) fn new_sellers(events: impl Flow<Item = Event>) -> impl Flow<Item = Seller<String>> {
    let (persons, auctions) = events.filter_map(by_person).split_results();
    persons
        .keyed()
        .window_join(auctions.keyed(), tumbling(seconds(10)))
        .inner("new-sellers", |name: &String, ()| name.clone())
        .map(|(person, span, name)| Seller {
            person,
            name,
            window_end: span.end.0.cast_unsigned(),
        })
}

/// A person with its name, or an auction, by person.
fn by_person(event: Event) -> Option<Result<(u64, String), (u64, ())>> {
    match event {
        Event::Person(person) => Some(Ok((person.id, person.name))),
        Event::Auction(auction) => Some(Err((auction.seller, ()))),
        Event::Bid(_) => None,
    }
}

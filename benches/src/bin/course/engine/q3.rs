//! `q3`: auctions of a category, with sellers of some states.

use levada::prelude::*;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::row::Local;

/// Where a person lives.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Home {
    name: String,
    city: String,
    state: String,
}

pub(super) fn local_items(events: impl Flow<Item = Event>) -> impl Flow<Item = Local<String>> {
    let (homes, auctions) = events.filter_map(of_interest).split_results();
    homes
        .keyed()
        .join(auctions.keyed())
        .inner("local-items", |home: &Home, auction: &u64| Local {
            name: home.name.clone(),
            city: home.city.clone(),
            state: home.state.clone(),
            auction: *auction,
        })
}

/// A person in one of the states, or an auction of the category, by person.
fn of_interest(event: Event) -> Option<Result<(u64, Home), (u64, u64)>> {
    match event {
        Event::Person(person) if matches!(&*person.state, "or" | "id" | "ca") => {
            let home = Home {
                name: person.name,
                city: person.city,
                state: person.state,
            };
            Some(Ok((person.id, home)))
        }
        Event::Auction(auction) if auction.category == 10 => {
            Some(Err((auction.seller, auction.id)))
        }
        _ => None,
    }
}

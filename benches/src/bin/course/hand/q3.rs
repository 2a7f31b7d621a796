//! `q3`: auctions of a category, with sellers of some states.

use std::borrow::Borrow;

use super::Loop;
use crate::digest::Gather;
use crate::event::{Event, Person};
use crate::map::Map;
use crate::row::Local;

pub(super) struct LocalItems;

/// What is kept of a person.
struct Home {
    name: String,
    city: String,
    state: String,
}

impl Loop for LocalItems {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut homes: Map<u64, Home> = Map::default();
        // The auctions of those who have not come yet, and perhaps live elsewhere.
        let mut waiting: Map<u64, Vec<u64>> = Map::default();
        for event in events {
            match event.borrow() {
                Event::Person(person) if matches!(&*person.state, "or" | "id" | "ca") => {
                    let home = Home::of(person);
                    for auction in waiting.remove(&person.id).unwrap_or_default() {
                        rows.add(&home.row(auction));
                    }
                    homes.insert(person.id, home);
                }
                Event::Auction(auction) if auction.category == 10 => {
                    match homes.get(&auction.seller) {
                        Some(home) => rows.add(&home.row(auction.id)),
                        None => waiting.entry(auction.seller).or_default().push(auction.id),
                    }
                }
                _ => {}
            }
        }
    }
}

impl Home {
    fn of(person: &Person) -> Self {
        Self {
            name: person.name.clone(),
            city: person.city.clone(),
            state: person.state.clone(),
        }
    }

    fn row(&self, auction: u64) -> Local<&str> {
        Local {
            name: &self.name,
            city: &self.city,
            state: &self.state,
            auction,
        }
    }
}

//! `q3`: auctions of a category, with sellers of some states.

use std::borrow::Borrow;

use super::Loop;
use crate::digest::Gather;
use crate::event::{Event, Person};
use crate::map::Map;
use crate::row::Local;

pub(super) struct LocalItems;

impl Loop for LocalItems {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        // Those who live in these states, by their number: the events themselves, owned or borrowed.
        let mut persons: Map<u64, E> = Map::default();
        // The auctions of those who have not come yet, and perhaps live elsewhere.
        let mut waiting: Map<u64, Vec<u64>> = Map::default();
        for event in events {
            match event.borrow() {
                Event::Person(person) if matches!(&*person.state, "or" | "id" | "ca") => {
                    for auction in waiting.remove(&person.id).unwrap_or_default() {
                        rows.add(&row(person, auction));
                    }
                    persons.insert(person.id, event);
                }
                Event::Auction(auction) if auction.category == 10 => {
                    match persons.get(&auction.seller).map(E::borrow) {
                        Some(Event::Person(person)) => rows.add(&row(person, auction.id)),
                        _ => waiting.entry(auction.seller).or_default().push(auction.id),
                    }
                }
                _ => {}
            }
        }
    }
}

fn row(person: &Person, auction: u64) -> Local<&str> {
    Local {
        name: &person.name,
        city: &person.city,
        state: &person.state,
        auction,
    }
}

//! `q8`: new persons who sell at once, in tumbling windows.

use std::borrow::Borrow;

use super::{Loop, window_end};
use crate::digest::Gather;
use crate::event::{Event, Person};
use crate::map::Map;
use crate::row::Seller;

const WIDTH: u64 = 10_000;

pub(super) struct NewSellers;

impl Loop for NewSellers {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        // Those who have come in this window, by their number: the events themselves, owned or borrowed.
        let mut persons: Map<u64, E> = Map::default();
        // How many auctions came before their seller.
        let mut waiting: Map<u64, u64> = Map::default();
        let mut end = 0;
        for event in events {
            let time = match event.borrow() {
                Event::Bid(_) => continue,
                other => other.date_time(),
            };
            if time >= end {
                persons.clear();
                waiting.clear();
                end = window_end(time, WIDTH);
            }
            match event.borrow() {
                Event::Person(person) => {
                    for _ in 0..waiting.remove(&person.id).unwrap_or_default() {
                        rows.add(&row(person, end));
                    }
                    persons.insert(person.id, event);
                }
                Event::Auction(auction) => match persons.get(&auction.seller).map(E::borrow) {
                    Some(Event::Person(person)) => rows.add(&row(person, end)),
                    _ => *waiting.entry(auction.seller).or_default() += 1,
                },
                Event::Bid(_) => {}
            }
        }
    }
}

fn row(person: &Person, window_end: u64) -> Seller<&str> {
    Seller {
        person: person.id,
        name: &person.name,
        window_end,
    }
}

//! `q8`: new persons who sell at once, in tumbling windows.

use std::borrow::Borrow;

use super::{Loop, window_end};
use crate::digest::Gather;
use crate::event::Event;
use crate::map::Map;
use crate::row::Seller;

const WIDTH: u64 = 10_000;

pub(super) struct NewSellers;

impl Loop for NewSellers {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut names: Map<u64, String> = Map::default();
        // How many auctions came before their seller.
        let mut waiting: Map<u64, u64> = Map::default();
        let mut end = 0;
        for event in events {
            let event = event.borrow();
            if matches!(event, Event::Bid(_)) {
                continue;
            }
            if event.date_time() >= end {
                names.clear();
                waiting.clear();
                end = window_end(event.date_time(), WIDTH);
            }
            match event {
                Event::Person(person) => {
                    for _ in 0..waiting.remove(&person.id).unwrap_or_default() {
                        rows.add(&row(person.id, &person.name, end));
                    }
                    names.insert(person.id, person.name.clone());
                }
                Event::Auction(auction) => match names.get(&auction.seller) {
                    Some(name) => rows.add(&row(auction.seller, name, end)),
                    None => *waiting.entry(auction.seller).or_default() += 1,
                },
                Event::Bid(_) => {}
            }
        }
    }
}

fn row(person: u64, name: &str, window_end: u64) -> Seller<&str> {
    Seller {
        person,
        name,
        window_end,
    }
}

//! `q4`: the winning bids of each category.

use levada::prelude::*;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::row::Category;

/// What is needed of what has happened to an auction.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Happened {
    Begun(Auction),
    Bid(Bid),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Auction {
    begins: u64,
    expires: u64,
    category: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Bid {
    at: u64,
    price: u64,
}

pub(super) fn winners(events: impl Flow<Item = Event>) -> impl Flow<Item = Category> {
    events
        .filter_map(by_auction)
        .keyed()
        .process("winners", Winners)
        .keyed()
        .aggregate("categories", |prices| {
            (prices.count(), prices.sum(|price: &u64| *price))
        })
        .at_end()
        .map(|(category, (count, sum))| Category {
            category,
            count,
            sum,
        })
}

/// An auction or a bid, by auction.
fn by_auction(event: Event) -> Option<(u64, Happened)> {
    match event {
        Event::Person(_) => None,
        Event::Auction(auction) => {
            let needed = Auction {
                begins: auction.date_time,
                expires: auction.expires,
                category: auction.category,
            };
            Some((auction.id, Happened::Begun(needed)))
        }
        Event::Bid(bid) => {
            let needed = Bid {
                at: bid.date_time,
                price: bid.price,
            };
            Some((bid.auction, Happened::Bid(needed)))
        }
    }
}

/// Finds the winning bid of each auction when it expires. Emits its category and price.
#[derive(Clone)]
struct Winners;

/// What is known of an auction.
#[derive(Default, Deserialize, Serialize)]
struct Known {
    auction: Option<Auction>,
    best: Option<u64>,
    /// Bids that came before their auction. A timer is set for the time of the first of them: then no auction can come any
    /// more that began before it.
    early: Vec<Bid>,
}

impl Process for Winners {
    type Key = u64;
    type In = Happened;
    type State = Known;
    type Out = (u64, u64);

    fn element(&self, happened: &Happened, context: &mut Context<'_, Self>) {
        let known = context.state();
        match (happened, known.auction) {
            (Happened::Begun(auction), _) => {
                known.auction = Some(*auction);
                for bid in std::mem::take(&mut known.early) {
                    known.consider(auction, bid);
                }
                context.set_timer(timestamp(auction.expires));
            }
            (Happened::Bid(bid), Some(auction)) => known.consider(&auction, *bid),
            (Happened::Bid(bid), None) => {
                let first = known.early.is_empty();
                known.early.push(*bid);
                if first {
                    context.set_timer(timestamp(bid.at));
                }
            }
        }
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        let at = timer.at();
        let known = context.state();
        match known.auction {
            // One that was set for an early bid, before the auction came.
            Some(auction) if timestamp(auction.expires) > at => {}
            Some(auction) => {
                let best = known.best;
                context.clear();
                if let Some(price) = best {
                    context.emit((auction.category, price));
                }
            }
            None => {
                known.early.retain(|bid| timestamp(bid.at) > at);
                match known.early.iter().map(|bid| bid.at).min() {
                    Some(next) => context.set_timer(timestamp(next)),
                    None => context.clear(),
                }
            }
        }
    }
}

impl Known {
    fn consider(&mut self, auction: &Auction, bid: Bid) {
        if (auction.begins..=auction.expires).contains(&bid.at) {
            self.best = self.best.max(Some(bid.price));
        }
    }
}

fn timestamp(millis: u64) -> Timestamp {
    Timestamp(millis.cast_signed())
}

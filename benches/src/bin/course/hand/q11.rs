//! `q11`: bids per session of a bidder.

use std::borrow::Borrow;

use super::Loop;
use crate::digest::Gather;
use crate::event::{Bid, Event};
use crate::map::Map;
use crate::row::Session;

const GAP: u64 = 10_000;

pub(super) struct Sessions;

impl Loop for Sessions {
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather) {
        let mut sessions: Map<u64, Session> = Map::default();
        for event in events {
            let Event::Bid(bid) = event.borrow() else {
                continue;
            };
            let session = sessions.entry(bid.bidder).or_insert_with(|| begin(bid));
            if bid.date_time >= session.end {
                rows.add(session);
                *session = begin(bid);
            }
            session.end = bid.date_time + GAP;
            session.count += 1;
        }
        for session in sessions.values() {
            rows.add(session);
        }
    }
}

/// A session without its first bid.
fn begin(bid: &Bid) -> Session {
    Session {
        bidder: bid.bidder,
        start: bid.date_time,
        end: bid.date_time + GAP,
        count: 0,
    }
}

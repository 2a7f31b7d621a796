//! `q11`: bids per session of a bidder.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Session;

pub(super) fn sessions(events: impl Flow<Item = Event>) -> impl Flow<Item = Session> {
    events
        .filter_map(|event| match event {
            Event::Bid(bid) => Some((bid.bidder, ())),
            _ => None,
        })
        .keyed()
        .window(session(seconds(10)))
        .count("sessions")
        .map(|(bidder, span, count)| Session {
            bidder,
            start: span.start.0.cast_unsigned(),
            end: span.end.0.cast_unsigned(),
            count,
        })
}

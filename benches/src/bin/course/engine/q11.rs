//! `q11`: bids per session of a bidder.

use levada::prelude::*;

use crate::event::Event;
use crate::row::Session;

pub(super) fn sessions(events: impl Flow<Item = Event>) -> impl Flow<Item = Session> {
    events
        .flat_map(Event::into_bid)
        .map(|bid| (bid.bidder, ()))
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

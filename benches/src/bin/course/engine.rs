//! The queries as jobs, as a user writes them.

mod keyed;
mod most;
mod q0;
mod q1;
mod q11;
mod q2;
mod q3;
mod q4;
mod q5;
mod q7;
mod q8;

use std::time::Duration;

use levada::prelude::*;

use crate::event::Event;
use crate::flags::Run;
use crate::query::Query;
use crate::sink::Rows;
use crate::source::Preloaded;

/// Describes the job of the query that the flags name.
pub(crate) fn build(job: &Job, flags: &Run, source: &Preloaded, rows: &Rows) {
    let events = job.source("events", source.clone());
    let rows = rows.clone();
    let out_of_orderness = millis(flags.out_of_orderness.unwrap_or(0));
    match flags.query {
        Query::Q0 => q0::pass_on(events).sink("rows", rows),
        Query::Q1 => q1::convert(events).sink("rows", rows),
        Query::Q2 => q2::choose(events).sink("rows", rows),
        Query::Q3 => q3::local_items(events).sink("rows", rows),
        Query::Q4 => q4::winners(timed(events, out_of_orderness)).sink("rows", rows),
        Query::Q5 => q5::hot_items(timed(events, out_of_orderness)).sink("rows", rows),
        Query::Q7 => q7::highest_bids(timed(events, out_of_orderness)).sink("rows", rows),
        Query::Q8 => q8::new_sellers(timed(events, out_of_orderness)).sink("rows", rows),
        Query::Q11 => q11::sessions(timed(events, out_of_orderness)).sink("rows", rows),
        Query::Keyed => keyed::running_sums(events).sink("rows", rows),
    };
}

/// The events with their times. The watermark is the time of the last event less a millisecond, or what is given as well.
fn timed(events: impl Flow<Item = Event>, out_of_orderness: Duration) -> impl Flow<Item = Event> {
    events.timestamps(|event: &Event| event.date_time(), out_of_orderness)
}

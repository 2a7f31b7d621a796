//! The queries as jobs, as a user writes them.

mod keyed;
mod q0;
mod q1;
mod q2;

use std::sync::Arc;

use levada::prelude::*;

use crate::event::Event;
use crate::flags::Run;
use crate::query::Query;
use crate::sink::Rows;
use crate::source::Preloaded;

/// Describes the job of the query that the flags name.
pub(crate) fn build(
    job: &Job,
    flags: &Run,
    events: &Arc<Vec<Event>>,
    rows: &Rows,
) -> levada::Result {
    let events = job.source("events", Preloaded(Arc::clone(events)));
    let rows = rows.clone();
    match flags.query {
        Query::Q0 => q0::pass_on(events).sink("rows", rows),
        Query::Q1 => q1::convert(events).sink("rows", rows),
        Query::Q2 => q2::choose(events).sink("rows", rows),
        Query::Keyed => keyed::running_sums(events).sink("rows", rows),
        query => {
            return Err(levada::Error::new(format!(
                "there is no job for {query} yet"
            )));
        }
    };
    Ok(())
}

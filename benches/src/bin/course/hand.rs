//! The queries as loops over the events, as one would write them for one thread.

mod keyed;
mod q0;
mod q1;
mod q11;
mod q2;
mod q3;
mod q4;
mod q5;
mod q7;
mod q8;

use std::borrow::Borrow;

use crate::digest::{Counting, Digesting, Gather, Totals};
use crate::event::Event;
use crate::query::Query;

/// A query as a loop.
trait Loop {
    /// Runs over events, which come in the order of their time, and gives away the rows.
    fn run<E: Borrow<Event>>(events: impl Iterator<Item = E>, rows: &mut impl Gather);
}

/// How a loop gets its events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lending {
    /// It borrows them.
    Borrowed,
    /// Each is cloned before, as the source of an engine has to.
    Cloned,
}

/// Runs a query over events in the order of their time.
pub(crate) fn run(query: Query, events: &[Event], lending: Lending, digest: bool) -> Totals {
    let run = match query {
        Query::Q0 => with::<q0::PassOn>,
        Query::Q1 => with::<q1::Convert>,
        Query::Q2 => with::<q2::Choose>,
        Query::Q3 => with::<q3::LocalItems>,
        Query::Q4 => with::<q4::Winners>,
        Query::Q5 => with::<q5::HotItems>,
        Query::Q7 => with::<q7::HighestBids>,
        Query::Q8 => with::<q8::NewSellers>,
        Query::Q11 => with::<q11::Sessions>,
        Query::Keyed => with::<keyed::RunningSums>,
    };
    run(events, lending, digest)
}

fn with<L: Loop>(events: &[Event], lending: Lending, digest: bool) -> Totals {
    if digest {
        over::<L, Digesting>(events, lending)
    } else {
        over::<L, Counting>(events, lending)
    }
}

fn over<L: Loop, G: Gather>(events: &[Event], lending: Lending) -> Totals {
    let mut rows = G::default();
    match lending {
        Lending::Borrowed => L::run(events.iter(), &mut rows),
        // A compiler that sees what is not used of a clone could leave out the clone.
        Lending::Cloned => L::run(events.iter().cloned(), &mut rows),
    }
    rows.totals()
}

/// The end of the window of this width that holds a time.
fn window_end(time: u64, width: u64) -> u64 {
    (time / width + 1) * width
}

//! The loops against what the course says, and the jobs against the loops.

mod checkpoints;

use std::sync::Arc;

use clap::ValueEnum;
use levada::Runner;

use crate::digest::Totals;
use crate::event::Event;
use crate::generate::{self, BASE_TIME};
use crate::hand::{self, Lending};
use crate::query::Query;
use crate::run::prepare;
use crate::shuffle::shuffle;
use crate::sink::Rows;
use crate::source::Preloaded;

/// Rows and digests of the file of 200,000 events.
const EXPECTED: [(Query, u64, u64); 10] = [
    (Query::Q0, 200_000, 0xf60c_67f4_74a4_08a0),
    (Query::Q1, 184_000, 0x1abd_04e6_7fc0_3ddb),
    (Query::Q2, 1_496, 0x2212_2b55_2bfd_32e3),
    (Query::Keyed, 184_000, 0xc607_a26b_e24e_3c59),
    (Query::Q3, 1_158, 0xf048_fbed_1c13_9868),
    (Query::Q5, 15, 0x754d_a2e2_4e73_3036),
    (Query::Q7, 3, 0x714d_7f7a_9d8c_97ac),
    (Query::Q8, 10_954, 0xac1b_f3b8_24b9_2246),
    (Query::Q11, 3_925, 0x51a5_b4f2_fdf0_9495),
    (Query::Q4, 5, 0x95ae_2871_b1bf_b825),
];

/// More than the delay of any event in a shuffled file.
const DELAY_MS_MAX: u64 = 700;

fn events(count: usize, base_time: u64) -> Vec<Event> {
    generate::events(count, base_time).collect()
}

/// The events, in `factor` times the time: so few of them reach over many windows.
fn stretched(mut events: Vec<Event>, base_time: u64, factor: u64) -> Vec<Event> {
    let stretch = |time: &mut u64| *time = base_time + (*time - base_time) * factor;
    for event in &mut events {
        match event {
            Event::Person(person) => stretch(&mut person.date_time),
            Event::Auction(auction) => {
                stretch(&mut auction.date_time);
                stretch(&mut auction.expires);
            }
            Event::Bid(bid) => stretch(&mut bid.date_time),
        }
    }
    events
}

fn by_hand(query: Query, events: &[Event]) -> Totals {
    hand::run(query, events, Lending::Borrowed, true)
}

fn by_job(query: Query, events: &Arc<Vec<Event>>, flags: &str) -> Totals {
    let line = format!("{query} --events none --digest {flags}");
    let runner = Runner::new().args(line.split_whitespace());
    let rows = Rows::new(true);
    let prepared = prepare(&runner, Preloaded::new(events, None), &rows).unwrap();
    prepared.start().unwrap().wait().unwrap();
    rows.totals()
}

/// Every job against its loop, at several parallelisms, in order and shuffled.
fn check(ordered: Vec<Event>, what: &str) {
    let shuffled = Arc::new(shuffle(ordered.clone(), ordered.len() as u64, DELAY_MS_MAX));
    let ordered = Arc::new(ordered);
    for query in Query::value_variants().iter().copied() {
        let expected = by_hand(query, &ordered);
        for (p, force) in [(1, ""), (1, "--force-exchange"), (2, ""), (4, ""), (8, "")] {
            for (events, delay) in [(&ordered, 0), (&shuffled, DELAY_MS_MAX)] {
                let flags = format!("-p {p} --threads 2 {force} --out-of-orderness {delay}");
                let totals = by_job(query, events, &flags);
                assert_eq!(totals, expected, "{query} {flags}, {what}");
            }
        }
    }
}

#[test]
fn the_loops_give_the_digests_of_the_course() {
    let events = events(200_000, BASE_TIME);
    for (query, rows, digest) in EXPECTED {
        for lending in [Lending::Borrowed, Lending::Cloned] {
            let totals = hand::run(query, &events, lending, true);
            assert_eq!(
                (totals.rows, totals.digest),
                (rows, Some(digest)),
                "{query} {lending:?}"
            );
            let counted = hand::run(query, &events, lending, false);
            let expected = Totals {
                digest: None,
                ..totals
            };
            assert_eq!(counted, expected, "{query} {lending:?}");
        }
    }
}

#[test]
fn every_query_has_an_expected_digest() {
    for query in Query::value_variants() {
        assert!(
            EXPECTED.iter().any(|(expected, ..)| expected == query),
            "{query}"
        );
    }
}

#[test]
fn the_jobs_give_the_digests_of_the_course() {
    let events = Arc::new(events(200_000, BASE_TIME));
    for (query, rows, digest) in EXPECTED {
        for p in [1, 2] {
            let flags = format!("-p {p} --threads 2");
            let totals = by_job(query, &events, &flags);
            assert_eq!(
                (totals.rows, totals.digest),
                (rows, Some(digest)),
                "{query} {flags}"
            );
        }
    }
}

#[test]
fn the_jobs_give_the_rows_of_the_loops() {
    for (count, base_time, factor) in [
        (0, BASE_TIME, 1),
        (1, 1_999, 1),
        (20_000, BASE_TIME, 1),
        (20_000, 9_999, 10),
        (13_337, 0, 30),
        (6_007, 123_456_789, 100),
    ] {
        let events = stretched(events(count, base_time), base_time, factor);
        check(
            events,
            &format!("{count} events from {base_time}, {factor} times as long"),
        );
    }
}

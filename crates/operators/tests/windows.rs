//! Tumbling and sliding windows against their definition.

use std::collections::BTreeMap;

use levada::prelude::*;
use levada_testing::{Simulation, collect};
use proptest::prelude::*;

/// A key, a time, and a number.
type Event = (u8, i64, u64);

/// What windows of this width and slide gather of records in some order, when no record is late.
fn model(events: &[Event], width: i64, slide: i64, offset: i64) -> Vec<(u8, Span, u64)> {
    let mut sums = BTreeMap::<(u8, i64), u64>::new();
    for (key, at, n) in events {
        let mut start = (at - offset).div_euclid(slide) * slide + offset;
        while start + width > *at {
            *sums.entry((*key, start)).or_default() += n;
            start -= slide;
        }
    }
    let span = |start| Span {
        start: Timestamp(start),
        end: Timestamp(start + width),
    };
    sums.into_iter()
        .map(|((key, start), sum)| (key, span(start), sum))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_sum_what_they_should(
        events in prop::collection::vec((0..5u8, -200..200i64, 0..9u64), 0..80),
        width in 1..30i64,
        slide in 1..30i64,
        offset in 0..30i64,
        seed in any::<u64>(),
    ) {
        let (sink, sums) = collect();
        let input = events.clone();
        let run = Simulation::new(seed).run(move |job: &Job| {
            let keyed = job
                .source("events", iterator(input.clone()))
                .timestamps(|(_, at, _)| *at, millis(400))
                .key_by(|(key, ..)| *key);
            let windows = sliding(millis(width as u64), millis(slide as u64));
            keyed
                .window(windows.offset(millis(offset as u64)))
                .aggregate("sums", |events| events.sum(|(_, _, n)| *n))
                .sink("out", sink.clone());
        });
        run.unwrap().expect_finished();
        prop_assert_eq!(sums.sorted(), model(&events, width, slide, offset));
    }
}

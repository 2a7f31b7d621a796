//! Counts the clicks of each visit: session windows, which close when a user has not clicked for half an hour.
//!
//! Clicks come at most half an hour out of order, so a visit may first look like two, until a click between them comes.

use levada::prelude::*;

/// A user, the minute of the click, and the page.
const CLICKS: &[(&str, u64, &str)] = &[
    ("ana", 0, "home"),
    ("ana", 4, "shoes"),
    ("rui", 5, "home"),
    ("ana", 24, "cart"),
    // 40 minutes after the last click of hers; the one in between is late.
    ("rui", 45, "hats"),
    ("rui", 25, "coats"),
    // Exactly half an hour after the last click: another visit.
    ("ana", 54, "home"),
    ("ana", 55, "socks"),
    ("rui", 90, "home"),
];

const MINUTE: u64 = 60_000;

/// Where a time lies, in minutes.
fn minute(at: Timestamp) -> u64 {
    at.0.unsigned_abs() / MINUTE
}

fn sessions(job: &Job) {
    job.source("clicks", iterator(CLICKS.iter().copied()))
        .map(|(user, minute, page)| (user.to_owned(), minute * MINUTE, page.to_owned()))
        .timestamps(|(_, at, _)| *at, minutes(30))
        .key_by(|(user, ..)| user.clone())
        .window(session(minutes(30)))
        .aggregate("visits", |clicks| {
            let last = clicks.max_by(|(_, at, _)| *at);
            (clicks.count(), last)
        })
        .map(|(user, span, (clicks, (.., page)))| {
            let (start, end) = (minute(span.start), minute(span.end));
            format!("{user}, minutes {start} to {end}: {clicks} clicks, the last on {page}")
        })
        .sink("visits-out", stdout());
}

fn main() -> levada::Result {
    levada::main(sessions)
}

//! Joins adverts with the clicks that follow within ten seconds: an interval join.
//!
//! Both streams are up to five seconds out of order. Each advert that was clicked is printed with how long it took.

use levada::prelude::*;

#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Shown {
    user: u64,
    advert: String,
    at: i64,
}

#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Click {
    user: u64,
    at: i64,
}

/// When which advert was shown to whom, in seconds.
const SHOWN: &[(i64, u64, &str)] = &[
    (0, 1, "tea"),
    (2, 2, "bicycle"),
    (1, 1, "coffee"),
    (30, 2, "tea"),
    (28, 3, "boots"),
    (45, 1, "bicycle"),
];

/// When who clicked, in seconds.
const CLICKS: &[(i64, u64)] = &[(4, 1), (12, 2), (13, 2), (29, 3), (27, 3), (40, 2), (44, 1)];

fn clicked(job: &Job) {
    let shown = job
        .source("shown", iterator(SHOWN))
        .map(|(at, user, advert)| Shown {
            user: *user,
            advert: (*advert).to_owned(),
            at: at * 1_000,
        })
        .timestamps(|shown| shown.at, seconds(5));
    let clicks = job
        .source("clicks", iterator(CLICKS))
        .map(|(at, user)| Click {
            user: *user,
            at: at * 1_000,
        })
        .timestamps(|click| click.at, seconds(5));

    shown
        .key_by(|shown| shown.user)
        .interval_join(clicks.key_by(|click| click.user), seconds(0), seconds(10))
        .inner("clicked", |shown, click| {
            let after = (click.at - shown.at) / 1_000;
            format!("user {}: {} after {after} s", shown.user, shown.advert)
        })
        .sink("out", stdout());
}

fn main() -> levada::Result {
    levada::main(clicked)
}

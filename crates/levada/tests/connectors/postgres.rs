//! The PostgreSQL sink under the simulator, against a table in memory that loses connections.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use levada::connectors::postgres::Postgres;
use levada::prelude::*;
use levada::{Error, OnError};
use levada_core::retry::Retry;
use levada_testing::{Run, Simulation};
use serde::{Deserialize, Serialize};

use crate::postgres_model::{Model, Row, column};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Item {
    id: u64,
    version: i64,
}

fn items(seed: u64) -> Model {
    Model::new(
        seed,
        &[column("id", "bigint"), column("version", "positive")],
    )
}

fn sink(model: &Model) -> Postgres<Model> {
    Postgres::with_database(model.clone(), "items")
}

fn version(row: &Row) -> i64 {
    row["version"].as_i64().unwrap()
}

#[test]
fn the_last_version_of_each_key_is_there_whatever_is_lost() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..200 {
        let model = items(seed);
        model.change(|state| {
            state.losses = seed % 4 * 10;
            // A batch that is repeated must not put an older version over a newer one.
            state.watch = Box::new(move |old, new| {
                assert!(
                    old.is_none_or(|old| version(old) <= version(new)),
                    "seed {seed}"
                );
            });
        });
        let database = model.clone();
        let items = move |database: &Model| {
            let items = sink(database).key(["id"]).batch_records_max(20);
            match seed % 3 {
                // No wait: the next attempt may come before the poll is over.
                0 => items.retry(Retry::exponential(Duration::ZERO, Duration::ZERO)),
                _ => items,
            }
        };
        let simulation = Simulation::new(seed);
        let simulation = if seed % 2 == 0 {
            simulation.one_credit()
        } else {
            simulation
        };
        let run = simulation
            .run(move |job: &Job| {
                job.source("numbers", iterator(1..1_000i64))
                    .map(|n| Item {
                        id: (n * n % 50) as u64,
                        version: n,
                    })
                    .key_by(|item| item.id)
                    .fold("latest", |latest: &mut i64, item: &Item| {
                        *latest = item.version;
                    })
                    .map(|(id, version)| Item { id, version })
                    .sink("items", items(&database));
            })
            .unwrap();
        run.expect_finished();
        let mut expected = BTreeMap::new();
        for n in 1..1_000i64 {
            expected.insert((n * n % 50) as u64, n);
        }
        model.read(|state| {
            let found: BTreeMap<_, _> = state
                .rows
                .iter()
                .map(|row| (row["id"].as_u64().unwrap(), version(row)))
                .collect();
            assert_eq!(found, expected, "seed {seed}");
            assert_eq!(found.len(), state.rows.len(), "seed {seed}");
            assert!(state.rows_max <= 20, "seed {seed}");
            before += state.lost_before;
            after += state.lost_after;
        });
        assert_eq!(run.metrics.operator("items").unwrap().sum_skipped(), 0);
    }
    assert!(
        before > 100 && after > 100,
        "{before} and {after} connections were lost"
    );
}

#[test]
fn without_a_key_every_record_is_there_at_least_once() {
    for seed in 0..100 {
        let model = items(seed);
        let written = Arc::new(Mutex::new(BTreeMap::<i64, u64>::new()));
        let count = Arc::clone(&written);
        model.change(|state| {
            state.losses = seed % 3 * 10;
            state.watch = Box::new(move |_, row| {
                *count.lock().unwrap().entry(version(row)).or_default() += 1;
            });
        });
        let database = model.clone();
        Simulation::new(seed)
            .run(move |job: &Job| {
                job.source("numbers", iterator(1..300i64))
                    .rebalance()
                    .map(|version| Item { id: 7, version })
                    .sink("items", sink(&database).batch_records_max(10));
            })
            .unwrap()
            .expect_finished();
        let written = written.lock().unwrap();
        assert!(written.keys().copied().eq(1..300), "seed {seed}");
        let twice = written.values().sum::<u64>() - 299;
        model.read(|state| {
            assert!(
                twice <= 10 * state.lost_after,
                "seed {seed}: {twice} rows are twice there"
            );
        });
    }
}

#[test]
fn only_the_records_that_are_not_taken_are_left_out() {
    let mut lost = 0;
    for seed in 0..100 {
        let model = items(seed);
        model.change(|state| state.losses = seed % 3 * 5);
        let database = model.clone();
        let bad = |n: i64| n % 17 == 0 || (200..230).contains(&n);
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                let items = sink(&database).key(["id"]).on_error(OnError::Skip);
                job.source("numbers", iterator(0..500i64))
                    .map(move |n| Item {
                        id: n as u64,
                        version: if bad(n) { -n } else { n },
                    })
                    .sink("items", items.batch_records_max(64));
            })
            .unwrap();
        run.expect_finished();
        let expected: Vec<_> = (0..500).filter(|n| !bad(*n)).collect();
        model.read(|state| {
            let mut found: Vec<_> = state.rows.iter().map(version).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}");
            assert!(state.refused > 0);
            lost += state.lost_before + state.lost_after;
        });
        let skipped = run.metrics.operator("items").unwrap().sum_skipped();
        assert_eq!(skipped, 500 - expected.len() as u64, "seed {seed}");
    }
    assert!(lost > 0);
}

#[test]
fn keys_that_are_equal_to_the_database_only_are_written_one_after_the_other() {
    for seed in 0..50 {
        let model = Model::new(seed, &[column("id", "char"), column("n", "bigint")]);
        let database = model.clone();
        Simulation::new(seed)
            .run(move |job: &Job| {
                // "a", "a ", "a  ", "b", ..
                let records = (0..120u64).map(|n| {
                    let letter = (b'a' + (n / 3 % 4) as u8) as char;
                    (format!("{letter}{}", " ".repeat((n % 3) as usize)), n)
                });
                let records: Vec<_> = records.collect();
                job.source("records", iterator(records))
                    .sink("items", sink(&database).columns(["id", "n"]).key(["id"]));
            })
            .unwrap()
            .expect_finished();
        model.read(|state| {
            let mut last: Vec<_> = state
                .rows
                .iter()
                .map(|row| row["n"].as_u64().unwrap())
                .collect();
            last.sort_unstable();
            assert_eq!(last, [110, 113, 116, 119], "seed {seed}");
            assert!(state.same_row > 0, "seed {seed}");
        });
    }
}

/// A job whose source has nothing more to give after some records, but does not end.
fn stalling(model: &Model, retry: Option<Retry>) -> impl Fn(&Job) + use<> {
    let database = model.clone();
    move |job: &Job| {
        let records = || {
            let items = (1..=30i64).map(|version| Item { id: 1, version });
            stream::iter(items).chain(stream::pending())
        };
        let mut items = sink(&database);
        if let Some(retry) = retry {
            items = items.retry(retry);
        }
        job.source("records", from_stream(records))
            .sink("items", items);
    }
}

#[test]
fn rows_do_not_wait_for_more_rows_nor_for_a_poll() {
    for seed in 0..100 {
        let model = items(seed);
        let mut simulated = Simulation::new(seed).start(stalling(&model, None)).unwrap();
        // The connections of the first attempts are refused; only a timer can bring the next ones.
        model.change(|state| state.refusals = seed % 5);
        simulated.settle();
        let written = model.read(|state| state.rows.len());
        assert_eq!(written, 30, "seed {seed}");
        assert_eq!(model.read(|state| state.refusals), 0);
        simulated.cancel();
        simulated.settle();
        assert!(simulated.is_done());
    }
}

/// The message of a run that failed.
fn message(run: Run) -> String {
    run.expect_empty();
    format!("{:?}", Error::Run(run.outcome.unwrap_err()))
}

#[test]
fn a_server_that_stays_away_fails_the_job_after_a_minute() {
    for seed in 0..30 {
        let model = items(seed);
        let mut simulated = Simulation::new(seed).start(stalling(&model, None)).unwrap();
        model.change(|state| state.refusals = u64::MAX);
        simulated.settle();
        let run = simulated.finish();
        let elapsed = run.elapsed;
        assert!(
            (Duration::from_secs(50)..Duration::from_secs(61)).contains(&elapsed),
            "seed {seed}: {elapsed:?}"
        );
        let message = message(run);
        for part in [
            "`items`",
            "memory:5432/model took no rows for 5",
            "connection refused",
        ] {
            assert!(message.contains(part), "seed {seed}: {message}");
        }
        assert!(model.read(|state| state.rows.is_empty()));
    }
}

#[test]
fn a_retry_that_is_set_counts() {
    let model = items(0);
    let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(1)).attempts(3);
    let mut simulated = Simulation::new(0)
        .start(stalling(&model, Some(retry)))
        .unwrap();
    model.change(|state| state.refusals = u64::MAX);
    simulated.settle();
    let message = message(simulated.finish());
    assert!(message.contains("in 3 attempts"), "{message}");
    assert_eq!(model.read(|state| u64::MAX - state.refusals), 3);
}

#[test]
fn a_cancel_ends_the_wait_for_a_server() {
    for seed in 0..50 {
        let model = items(seed);
        let mut simulated = Simulation::new(seed).start(stalling(&model, None)).unwrap();
        model.change(|state| state.refusals = u64::MAX);
        assert!(simulated.run_until(|_| model.read(|state| state.refusals < u64::MAX)));
        let elapsed = simulated.elapsed();
        simulated.cancel();
        simulated.settle();
        let run = simulated.finish();
        assert!(
            matches!(run.outcome, Err(levada_runtime::Error::Cancelled)),
            "seed {seed}"
        );
        assert!(
            run.elapsed < elapsed + Duration::from_secs(10),
            "seed {seed}"
        );
        run.expect_empty();
    }
}

#[test]
fn a_record_that_is_not_taken_fails_the_job_by_name_and_nothing_follows_it() {
    for seed in 0..50 {
        let model = items(seed);
        let database = model.clone();
        let run = Simulation::new(seed).run(move |job: &Job| {
            job.source("numbers", iterator(1..100u64))
                .map(|id| Item {
                    id,
                    version: i64::from(id != 50),
                })
                .sink("items", sink(&database));
        });
        let message = message(run.unwrap());
        for part in [
            "`items`",
            "the table \"items\" does not take the record {\"id\":50,\"version\":0}",
            "SQLSTATE 23514, constraint \"version_positive\"",
        ] {
            assert!(message.contains(part), "seed {seed}: {message}");
        }
        let written = model.read(|state| state.rows.len());
        assert_eq!(written, 49, "seed {seed}");
    }
}

#[test]
fn a_batch_is_bounded_by_its_bytes() {
    for seed in 0..30 {
        let model = Model::new(seed, &[column("id", "bigint"), column("text", "text")]);
        let database = model.clone();
        Simulation::new(seed)
            .run(move |job: &Job| {
                job.source("numbers", iterator(0..200u64))
                    .map(|n| (n, "x".repeat((n % 100) as usize)))
                    .sink(
                        "items",
                        sink(&database).columns(["id", "text"]).batch_bytes_max(500),
                    );
            })
            .unwrap()
            .expect_finished();
        model.read(|state| {
            assert_eq!(state.rows.len(), 200, "seed {seed}");
            // The batch that became full, its last record, commas and brackets.
            assert!(
                state.bytes_max < 500 + 150 + 50,
                "seed {seed}: {}",
                state.bytes_max
            );
        });
    }
}

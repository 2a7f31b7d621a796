//! The PostgreSQL sink against a server.

mod refusals;

use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levada::connectors::postgres;
use levada::connectors::postgres::Postgres as Sink;
use levada::prelude::*;
use levada::{OnError, Report, Runner};
use levada_core::retry::Retry;
use levada_counterparts::{Postgres, await_until};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
struct Item {
    id: i64,
    name: Option<String>,
    price: f64,
    tags: Vec<String>,
    raw: Vec<u8>,
}

fn item(id: i64) -> Item {
    Item {
        id,
        name: (id % 10 != 0).then(|| format!("item \"{id}\"\n\u{1f4a7}")),
        price: id as f64 / 4.0,
        tags: vec!["a,b".to_owned(), format!("{id}")],
        raw: vec![0, 255, id as u8],
    }
}

const ITEMS: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text, price double precision, tags text[], \
                     raw bytea)";

fn run(job: impl Fn(&Job)) -> levada::Result<Report> {
    Runner::new().parallelism(2).run(job)
}

/// The message of a job that fails or does not start.
#[track_caller]
fn fails(job: impl Fn(&Job), expected: &[&str]) {
    let error = format!("{:?}", run(job).expect_err("the job fails"));
    for part in expected {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

fn numbers(address: &str) -> Sink {
    postgres::postgres(address, "numbers").columns(["n"])
}

#[test]
fn structs_become_rows_and_replace_those_with_their_key() {
    let server = Postgres::start();
    server.sql(ITEMS);
    server.sql("INSERT INTO items VALUES (1, 'old', 0, '{}', ''), (-1, 'kept', 0, '{}', '')");
    let address = server.address();
    let report = run(move |job: &Job| {
        let items = postgres::postgres(address.clone(), "items").key(["id"]);
        // Each id twice: the second one counts.
        job.source(
            "ids",
            iterator((0..10_000i64).map(|n| n / 2).collect::<Vec<_>>()),
        )
        .map(item)
        .sink("items", items.batch_records_max(300));
    })
    .unwrap();
    assert_eq!(report.metrics.operator("items").unwrap().sum_in(), 10_000);
    assert_eq!(
        server.sql("SELECT count(*), sum(id), sum(price) FROM items"),
        "5001|12497499|3124375"
    );
    assert_eq!(server.sql("SELECT name FROM items WHERE id = -1"), "kept");
    assert_eq!(
        server.sql("SELECT name = E'item \"1\"\\n\u{1f4a7}', tags[1], tags[2], encode(raw, 'hex') FROM items WHERE id = 1"),
        "t|a,b|1|00ff01"
    );
    assert_eq!(
        server.sql("SELECT count(*) FROM items WHERE name IS NULL"),
        "500"
    );
}

#[test]
fn floats_that_are_not_finite_stay_what_they_are() {
    let server = Postgres::start();
    server.sql("CREATE TABLE floats (n int, x double precision, y real)");
    let address = server.address();
    run(move |job: &Job| {
        let rows = [
            (0, f64::NAN, Some(f32::INFINITY)),
            (1, f64::NEG_INFINITY, None),
        ];
        let floats = postgres::postgres(address.as_str(), "floats").columns(["n", "x", "y"]);
        job.source("rows", iterator(rows)).sink("out", floats);
    })
    .unwrap();
    assert_eq!(
        server.sql("SELECT * FROM floats ORDER BY n"),
        "0|NaN|Infinity\n1|-Infinity|"
    );
}

#[test]
fn tuples_and_a_table_in_a_schema() {
    let server = Postgres::start();
    server.sql("CREATE SCHEMA \"The Shop\"");
    server
        .sql("CREATE TABLE \"The Shop\".\"Counts\" (\"the \"\"word\"\"\" text UNIQUE, n numeric)");
    let address = server.address();
    run(move |job: &Job| {
        job.source(
            "words",
            iterator(["to", "be", "or", "not", "to", "be"].map(String::from)),
        )
        .key_by(Clone::clone)
        .count("counts")
        .sink(
            "out",
            postgres::postgres(address.clone(), "The Shop.Counts")
                .columns(["the \"word\"", "n"])
                .key(["the \"word\""]),
        );
    })
    .unwrap();
    assert_eq!(
        server.sql("SELECT * FROM \"The Shop\".\"Counts\" ORDER BY 1"),
        "be|2\nnot|1\nor|1\nto|2"
    );
}

#[test]
fn every_row_is_new_without_a_key() {
    let server = Postgres::start();
    server.sql("CREATE TABLE hits (at bigint, n serial)");
    let address = server.address();
    run(move |job: &Job| {
        job.source("hits", iterator(0..1_000i64))
            .rebalance()
            .map(|n| (n % 7,))
            .sink(
                "out",
                postgres::postgres(address.clone(), "hits").columns(["at"]),
            );
    })
    .unwrap();
    assert_eq!(
        server.sql("SELECT count(*), count(DISTINCT n), max(at) FROM hits"),
        "1000|1000|6"
    );
}

#[test]
fn the_job_goes_on_when_the_server_was_killed_and_comes_back() {
    let mut server = Postgres::start();
    server.sql("CREATE TABLE numbers (id bigint PRIMARY KEY, n bigint)");
    let address = server.address();
    let (sender, source) = source_channel(16);
    let handle = Runner::new()
        .parallelism(1)
        .start(move |job: &Job| {
            job.source("numbers", source.clone())
                .map(|n: i64| (n % 500, n))
                .sink(
                    "out",
                    postgres::postgres(address.clone(), "numbers")
                        .columns(["id", "n"])
                        .key(["id"])
                        .batch_records_max(50),
                );
        })
        .unwrap();
    let rows = |server: &Postgres| {
        server
            .sql("SELECT count(*) FROM numbers")
            .parse::<u64>()
            .unwrap()
    };
    for n in 0..400i64 {
        sender.send(n).unwrap();
    }
    await_until("the first rows are there", || rows(&server) == 400);
    server.kill();
    // More than the channel and a batch hold: the job is standing still before all of it is sent.
    let sent = Arc::new(AtomicU64::new(0));
    let sending = {
        let sent = Arc::clone(&sent);
        let send = move || {
            for n in 400..2_000i64 {
                sender.send(n).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().spawn(send).unwrap()
    };
    await_until("the job waits", || {
        let task = &handle.metrics().tasks[0];
        sent.load(Ordering::Relaxed) > 0 && task.activity != levada::metrics::Activity::Busy
    });
    assert!(sent.load(Ordering::Relaxed) < 1_600);
    assert!(!handle.wait_for(Duration::ZERO));
    server.restart();
    sending.join().unwrap();
    handle.wait().unwrap();
    assert_eq!(
        server.sql("SELECT count(*), min(n), max(n) FROM numbers"),
        "500|1500|1999"
    );
}

#[test]
fn a_backend_that_is_terminated_is_replaced() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint PRIMARY KEY)");
    let address = server.address();
    let (sender, source) = source_channel(16);
    let handle = Runner::new()
        .start(move |job: &Job| {
            job.source("numbers", source.clone())
                .map(|n: i64| (n,))
                .sink(
                    "out",
                    postgres::postgres(address.clone(), "numbers")
                        .columns(["n"])
                        .key(["n"]),
                );
        })
        .unwrap();
    let ours = "FROM pg_stat_activity WHERE application_name = 'levada'";
    for n in 0..5i64 {
        sender.send(n).unwrap();
        await_until("the row is there", || {
            server.sql(&format!("SELECT count(*) FROM numbers WHERE n = {n}")) == "1"
        });
        assert_eq!(
            server.sql(&format!("SELECT count(pg_terminate_backend(pid)) {ours}")),
            "1"
        );
        await_until("the backend has gone", || {
            server.sql(&format!("SELECT count(*) {ours}")) == "0"
        });
    }
    drop(sender);
    handle.wait().unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM numbers"), "5");
}

#[test]
fn a_server_that_is_gone_for_good_fails_the_job() {
    let mut server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint PRIMARY KEY)");
    let address = server.address();
    let (sender, source) = source_channel(16);
    let handle = Runner::new()
        .start(move |job: &Job| {
            let retry = Retry::exponential(Duration::from_millis(10), Duration::from_millis(50));
            let numbers = postgres::postgres(address.clone(), "numbers").columns(["n"]);
            job.source("numbers", source.clone())
                .map(|n: i64| (n,))
                .sink("out", numbers.retry(retry.attempts(4)));
        })
        .unwrap();
    server.kill();
    sender.send(1).unwrap();
    let error = format!("{:?}", handle.wait().unwrap_err());
    for part in ["`out`", "took no rows for", "in 4 attempts", "/postgres"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_table_that_goes_away_fails_the_job() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint)");
    let address = server.address();
    let (sender, source) = source_channel(16);
    let handle = Runner::new()
        .start(move |job: &Job| {
            let out = numbers(&address).on_error(OnError::Skip);
            job.source("numbers", source.clone())
                .map(|n: i64| (n,))
                .sink("out", out);
        })
        .unwrap();
    sender.send(1).unwrap();
    await_until("the row is there", || {
        server.sql("SELECT count(*) FROM numbers") == "1"
    });
    server.sql("ALTER TABLE numbers RENAME n TO m");
    sender.send(2).unwrap();
    let error = format!("{:?}", handle.wait().unwrap_err());
    for part in [
        "`out`",
        "cannot write to the table \"numbers\"",
        "\"n\"",
        "SQLSTATE 42703",
    ] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_cancel_ends_a_statement_that_waits_for_a_lock() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint PRIMARY KEY)");
    let mut locking = server.session();
    let mut input = locking.stdin.take().unwrap();
    writeln!(
        input,
        "BEGIN; LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE; SELECT 'locked';"
    )
    .unwrap();
    let mut answer = String::new();
    BufReader::new(locking.stdout.take().unwrap())
        .read_line(&mut answer)
        .unwrap();
    assert_eq!(answer, "locked\n");

    let address = server.address();
    let handle = Runner::new()
        .start(move |job: &Job| {
            let out = numbers(&address);
            job.source("numbers", iterator(0..10i64))
                .map(|n| (n,))
                .sink("out", out);
        })
        .unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'levada' AND wait_event_type = 'Lock'";
    await_until("the statement waits for the lock", || {
        server.sql(waiting) == "1"
    });
    handle.cancel();
    assert!(handle.wait_for(Duration::from_secs(5)), "the job ends soon");
    assert_eq!(handle.wait().unwrap_err().exit_code(), 130);
    await_until("nothing waits at the server", || server.sql(waiting) == "0");

    writeln!(input, "COMMIT;").unwrap();
    drop(input);
    assert!(locking.wait().unwrap().success());
    assert_eq!(server.sql("SELECT count(*) FROM numbers"), "0");
}

#[test]
fn by_tcp_and_with_a_password_that_nobody_sees() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint)");
    let job = |out: &dyn Fn() -> Sink, job: &Job| {
        job.source("numbers", iterator(0..3i64))
            .map(|n| (n,))
            .sink("out", out());
    };
    let tcp = server.tcp_address();
    run(|j: &Job| job(&|| numbers(&tcp), j)).unwrap();

    server.add_user("app", "sesame-0");
    let address = server.address().replace("user=levada", "user=app");
    run(|j: &Job| job(&|| numbers(&address).password("sesame-0"), j)).unwrap();
    let with_password = format!("{address} password=sesame-0");
    run(|j: &Job| job(&|| numbers(&with_password), j)).unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM numbers"), "9");

    let wrong = format!("{address} password=sesame-1");
    for (address, expected) in [
        (wrong, "password authentication failed"),
        (address, "password missing"),
    ] {
        let error = run(|j: &Job| job(&|| numbers(&address), j)).unwrap_err();
        let message = format!("{error:?} {error}");
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("sesame"), "{message}");
    }
}

/// A session needs no thread but its writer's, not even to resolve a name.
#[test]
fn no_thread_is_started_beside_the_engines() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint)");
    let address = server.tcp_address();
    let (sender, source) = source_channel(16);
    let handle = Runner::new()
        .start(move |job: &Job| {
            job.source("numbers", source.clone())
                .map(|n: i64| (n,))
                .sink("out", numbers(&address));
        })
        .unwrap();
    sender.send(1).unwrap();
    await_until("the row is there", || {
        server.sql("SELECT count(*) FROM numbers") == "1"
    });
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names: Vec<_> = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("levada-own-")),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.starts_with("tokio")),
        "{names:?}"
    );
    drop(sender);
    handle.wait().unwrap();
}

/// Two subtasks that write the same rows in opposite order: the server chooses one, and the other tries again.
#[test]
fn a_deadlock_is_tried_again() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (id bigint PRIMARY KEY, n bigint)");
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$";
    server.sql(slow);
    server.sql("CREATE TRIGGER slow BEFORE UPDATE ON numbers FOR EACH ROW EXECUTE FUNCTION slow()");
    server.sql("INSERT INTO numbers VALUES (1, 0), (2, 0)");
    let address = server.address();
    let report = run(move |job: &Job| {
        for (name, ids) in [("forth", [1i64, 2]), ("back", [2, 1])] {
            let out = postgres::postgres(address.as_str(), "numbers")
                .columns(["id", "n"])
                .key(["id"]);
            job.source(name, iterator(ids))
                .map(|id| (id, 1i64))
                .sink(&format!("{name}-out"), out);
        }
    })
    .unwrap();
    assert_eq!(report.metrics.records_written(), 4);
    assert_eq!(server.sql("SELECT sum(n) FROM numbers"), "2");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    await_until("the server has told of the deadlock", || {
        server.sql(deadlocks) != "0"
    });
}

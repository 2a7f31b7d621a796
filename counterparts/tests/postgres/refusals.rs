//! What the server refuses: the message names the record and the column, or what is missing before the job starts.

use levada::connectors::postgres;
use levada::connectors::postgres::Postgres as Sink;
use levada::prelude::*;
use levada_counterparts::Postgres;

use crate::{fails, numbers, run};

#[test]
fn a_record_against_a_constraint_is_named_or_left_out() {
    let server = Postgres::start();
    server
        .sql("CREATE TABLE numbers (n bigint PRIMARY KEY, CONSTRAINT \"not 13\" CHECK (n <> 13))");
    let address = server.address();
    fails(
        |job| {
            let out = numbers(&address);
            job.source("n", iterator(0..100i64))
                .map(|n| (n,))
                .sink("out", out);
        },
        &[
            "`out`",
            "the table \"numbers\" does not take the record {\"n\":13}",
            "SQLSTATE 23514, constraint \"not 13\"",
            "Failing row contains (13)",
        ],
    );
    // A unique constraint, without a key.
    fails(
        |job| {
            let out = numbers(&address);
            job.source("n", iterator([1_000i64, 1_001, 1_000]))
                .map(|n| (n,))
                .sink("out", out);
        },
        &[
            "the record {\"n\":1000}",
            "SQLSTATE 23505, constraint \"numbers_pkey\"",
            "already exists",
        ],
    );
    server.sql("TRUNCATE numbers");
    let report = run(|job: &Job| {
        let out = numbers(&address).on_error(OnError::Skip);
        job.source(
            "n",
            iterator((0..100i64).chain([13, 5]).collect::<Vec<_>>()),
        )
        .map(|n| (n,))
        .sink("out", out);
    })
    .unwrap();
    assert_eq!(report.metrics.operator("out").unwrap().sum_skipped(), 3);
    assert_eq!(server.sql("SELECT count(*) FROM numbers"), "99");
    assert!(
        report.to_string().contains("out skipped 3 records"),
        "{report}"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_column() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint, at timestamptz, small smallint)");
    let address = server.address();
    let table = || postgres::postgres(address.as_str(), "numbers").columns(["n", "at", "small"]);
    let rows = |text: &'static str, small: i64| {
        vec![
            ("1", "2026-11-24", 5),
            ("2", text, small),
            ("3", "2026-11-25", 6),
        ]
    };
    fails(
        |job| {
            job.source("rows", iterator(rows("yesterday morning", 5)))
                .sink("out", table());
        },
        &[
            "{\"n\":\"2\",\"at\":\"yesterday morning\",\"small\":5}",
            "SQLSTATE 22007, column \"at\"",
            "invalid input syntax for type timestamp",
        ],
    );
    fails(
        |job| {
            job.source("rows", iterator(rows("2026-11-24", 70_000)))
                .sink("out", table());
        },
        &["SQLSTATE 22003, column \"small\"", "70000"],
    );
    fails(
        |job| {
            job.source("rows", iterator(vec![("a\0b", "2026-11-24", 5)]))
                .sink("out", table());
        },
        &["\\u0000", "SQLSTATE 22P05"],
    );
    fails(
        |job| {
            let long = "x".repeat(1_000);
            job.source("rows", iterator(vec![(long, "2026-11-24", 5)]))
                .sink("out", table());
        },
        &["xxx.. (1036 bytes)"],
    );
    server.sql("CREATE TABLE strict (n bigint NOT NULL)");
    fails(
        |job| {
            let strict = postgres::postgres(address.as_str(), "strict").columns(["n"]);
            job.source("rows", iterator([Some(1i64), None]))
                .map(|n| (n,))
                .sink("out", strict);
        },
        &["{\"n\":null}", "SQLSTATE 23502, column \"n\"", "not-null"],
    );
}

#[test]
fn what_is_missing_is_named_before_the_job_starts() {
    let server = Postgres::start();
    server.sql("CREATE TABLE numbers (n bigint, m bigint NOT NULL, g bigint GENERATED ALWAYS AS (n + 1) STORED)");
    server.sql("CREATE UNIQUE INDEX ON numbers (n, m)");
    server.sql("CREATE UNIQUE INDEX ON numbers (m) WHERE n > 0");
    server.sql("CREATE ROLE reader LOGIN");
    server.sql("GRANT SELECT ON numbers TO reader");
    let address = server.address();
    let to = |table: &str| postgres::postgres(address.as_str(), table);
    let check = |sink: &dyn Fn() -> Sink, expected: &[&str]| {
        fails(
            |job| {
                job.source("rows", iterator([(1i64, 2i64)]))
                    .sink("out", sink());
            },
            expected,
        );
    };
    check(
        &|| to("nmubers").columns(["n", "m"]),
        &["`out`", "there is no table \"nmubers\" at /tmp/levada-pg-"],
    );
    check(
        &|| to("Numbers").columns(["n", "m"]),
        &["no table \"Numbers\"", "but there is public.numbers"],
    );
    check(
        &|| to("other.numbers").columns(["n", "m"]),
        &["no table \"other\".\"numbers\"", "public.numbers"],
    );
    check(
        &|| to("numbers").columns(["n", "k"]),
        &["has no column \"k\": it has \"n\", \"m\", \"g\""],
    );
    check(
        &|| to("numbers").columns(["n"]),
        &["needs a value for \"m\""],
    );
    check(
        &|| to("numbers").columns(["m", "g"]),
        &["\"g\" of \"numbers\" is generated"],
    );
    check(
        &|| to("numbers").columns(["n", "m"]).key(["m"]),
        &[
            "no unique index on exactly \"m\"",
            "it has one on \"n\", \"m\"",
        ],
    );
    check(
        &|| to("numbers").columns(["n", "m"]).key(["id"]),
        &["has no column \"id\""],
    );
    let reader = address.replace("user=levada", "user=reader");
    check(
        &|| postgres::postgres(reader.as_str(), "numbers").columns(["n", "m"]),
        &["the user may not insert rows of the table \"numbers\""],
    );
    let nobody = address.replace("user=levada", "user=nobody_else");
    check(
        &|| {
            postgres::postgres(nobody.as_str(), "numbers")
                .password("hush")
                .columns(["n", "m"])
        },
        &[
            "cannot connect to PostgreSQL at /tmp/levada-pg-",
            "role \"nobody_else\" does not exist",
        ],
    );
    let missing = address.replace("dbname=postgres", "dbname=shop");
    check(
        &|| postgres::postgres(missing.as_str(), "numbers").columns(["n", "m"]),
        &["/shop", "database \"shop\" does not exist"],
    );
    // What fits does start: the index has the key's columns in another order.
    run(|job: &Job| {
        job.source("rows", iterator([(1i64, 2i64)]))
            .sink("out", to("numbers").columns(["n", "m"]).key(["m", "n"]));
    })
    .unwrap();
    assert_eq!(server.sql("SELECT * FROM numbers"), "1|2|2");
}

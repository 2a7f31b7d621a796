//! Rows of bad inputs: what it is, the job, and the parts of the message. `docs/bad-input/databases.md` lists them.

use futures_util::{StreamExt, stream};
use levada::connectors::postgres::{self, Postgres};
use levada::prelude::*;
use levada::{Error, Runner};
use levada_testing::Simulation;
use serde::Serialize;

use crate::postgres_model::{Model, column};

/// Runs the job under a few seeds; each time it must not start, or fail, with a message that holds all of `expected`.
#[track_caller]
fn check(what: &str, job: impl Fn(&Job), expected: &[&str]) {
    for seed in 0..8 {
        let simulation = Simulation::new(seed).runner(Runner::new().force_exchange());
        let message = match simulation.run(&job) {
            Err(error) => format!("{error:?}"),
            Ok(run) => {
                run.expect_empty();
                let error = run.outcome.expect_err(what);
                format!("{:?}", Error::Run(error))
            }
        };
        for part in expected.iter().chain(&["bad_input/databases.rs:"]) {
            assert!(
                message.contains(part),
                "{what}, seed {seed}: `{part}` is not in: {message}"
            );
        }
    }
}

#[derive(Clone, Serialize)]
struct Item {
    id: u64,
    name: &'static str,
}

const APPLE: Item = Item {
    id: 1,
    name: "apple",
};

/// A job that writes some records into a sink.
fn writing<T: Serialize + Clone + Send + Sync + 'static, D: postgres::Database>(
    records: Vec<T>,
    sink: impl Fn() -> Postgres<D>,
) -> impl Fn(&Job) {
    move |job: &Job| {
        job.source("records", iterator(records.clone()))
            .sink("rows", sink());
    }
}

/// `items (id bigint UNIQUE, name text)`, changed.
fn model(
    change: impl Fn(&mut crate::postgres_model::State) + Copy,
) -> impl Fn() -> Postgres<Model> {
    move || {
        let model = Model::new(0, &[column("id", "bigint"), column("name", "text")]);
        model.change(change);
        Postgres::with_database(model, "items")
    }
}

#[test]
fn a_connection_string_that_says_nothing() {
    let to = |address: &'static str| writing(vec![APPLE], move || postgres(address, "items"));
    check(
        "an unknown option",
        to("hots=localhost"),
        &[
            "`rows`",
            "the connection string cannot be understood",
            "unknown option `hots`",
        ],
    );
    check(
        "no host",
        to("dbname=shop"),
        &["`rows`", "it names no host"],
    );
    check(
        "TLS",
        to("host=localhost sslmode=require"),
        &["`rows`", "sslmode=require, but there is no TLS"],
    );
    check(
        "a port that is no number",
        to("postgresql://app:secret@localhost:http/shop"),
        &["`rows`", "cannot be understood"],
    );
}

#[test]
fn a_server_that_is_not_there() {
    check(
        "no server",
        writing(vec![APPLE], || {
            postgres("host=127.0.0.1 port=1 dbname=shop", "items")
        }),
        &[
            "`rows`",
            "cannot connect to PostgreSQL at 127.0.0.1:1/shop",
            "refused",
        ],
    );
}

#[test]
fn a_table_that_does_not_fit() {
    let elsewhere = || Postgres::with_database(Model::new(0, &[column("id", "bigint")]), "Items");
    check(
        "another table",
        writing(vec![APPLE], elsewhere),
        &[
            "`rows`",
            "no table \"Items\" at memory:5432/model",
            "but there is public.items",
        ],
    );
    check(
        "no right",
        writing(vec![APPLE], model(|state| state.shape.can_insert = false)),
        &[
            "`rows`",
            "the user may not insert rows of the table \"items\"",
        ],
    );
    let read_only = model(|state| state.shape.can_update = false);
    check(
        "no right to update",
        writing(vec![APPLE], move || read_only().key(["id"])),
        &["the user may not update rows"],
    );
    let plain = model(|_| {});
    check(
        "no unique index",
        writing(vec![APPLE], move || plain().key(["name"])),
        &[
            "no unique index on exactly \"name\"",
            "it has one on \"id\"",
        ],
    );
    let plain = model(|state| state.shape.unique.clear());
    check(
        "no index at all",
        writing(vec![APPLE], move || plain().key(["id"])),
        &["no unique index on exactly \"id\"", "it has none at all"],
    );
}

#[test]
fn columns_that_do_not_fit() {
    let short = model(|state| state.shape.columns.truncate(1));
    check(
        "a field without a column",
        writing(vec![APPLE], short),
        &["`rows`", "has no column \"name\": it has \"id\""],
    );
    let plain = model(|_| {});
    check(
        "a named column that does not exist",
        writing(vec![APPLE], move || plain().columns(["id", "nmae"])),
        &["has no column \"nmae\": it has \"id\", \"name\""],
    );
    let strict = model(|state| state.shape.columns[1].required = true);
    check(
        "a required column",
        writing(vec![APPLE], move || strict().columns(["id"])),
        &["needs a value for \"name\""],
    );
    check(
        "a generated column",
        writing(
            vec![APPLE],
            model(|state| state.shape.columns[1].generated = true),
        ),
        &["the column \"name\" of \"items\" is generated"],
    );
    let plain = model(|_| {});
    check(
        "a key that is no field",
        writing(vec![APPLE], move || plain().columns(["name"]).key(["id"])),
        &["the key \"id\" is no field of the records: they have \"name\""],
    );
}

#[test]
fn a_name_that_another_sink_has() {
    check(
        "two sinks with one name",
        |job| {
            let database = Model::new(0, &[column("id", "bigint"), column("name", "text")]);
            let sink = || {
                let items = Postgres::with_database(database.clone(), "items");
                items.exactly_once("items-of-the-shop")
            };
            let items = job.source("records", iterator([APPLE])).stream();
            items.clone().sink("rows", sink());
            items.sink("rows again", sink());
        },
        &[
            "`rows again`",
            "has the name 'items-of-the-shop' at memory:5432/model (session 2): wait until",
            "give `.exactly_once(..)` a name of its own",
        ],
    );
}

#[test]
fn records_that_are_no_rows() {
    check(
        "a number",
        writing(vec![1u8], model(|_| {})),
        &["`rows`", "a record that is a number is no row"],
    );
    check(
        "a tuple without columns",
        writing(vec![(1u8, "apple")], model(|_| {})),
        &["a tuple or a list is no row", ".columns([..])"],
    );
    let plain = model(|_| {});
    check(
        "a tuple that is too long",
        writing(vec![(1u8, "apple", 3u8)], move || {
            plain().columns(["id", "name"])
        }),
        &["a record has 3 values, but the columns are \"id\", \"name\""],
    );
}

#[test]
fn a_value_of_another_type() {
    let plain = model(|_| {});
    check(
        "a text for a number",
        writing(vec![("one", "apple")], move || {
            plain().columns(["id", "name"])
        }),
        &[
            "`rows`",
            "does not take the record {\"id\":\"one\",\"name\":\"apple\"}",
            "SQLSTATE 22P02, column \"id\"",
        ],
    );
}

#[test]
fn a_stream_or_sink_that_breaks() {
    check(
        "a stream that panics",
        |job| {
            let broken = || stream::iter(0..3u8).map(|n| 1 / (1 - n));
            job.source("records", from_stream(broken)).discard();
        },
        &["`records`", "panicked: attempt to divide by zero"],
    );
    check(
        "a receiver that has gone",
        |job| {
            let (sender, receiver) = futures_channel::mpsc::channel::<u8>(1);
            drop(receiver);
            job.source("records", iterator(0..3u8))
                .sink("rows", into_sink(move || sender.clone()));
        },
        &["`rows`", "receiver is gone"],
    );
}

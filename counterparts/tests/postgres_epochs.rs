//! Epochs of the PostgreSQL sink against a server.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::panic::Location;
use std::process::{Command, Stdio};
use std::sync::Arc;

use levada::connectors::postgres::{
    self, Postgres as Table, PostgresWriter, PreparedEpoch, Server,
};
use levada::prelude::*;
use levada::{Drain, Environment, ReaderContext, Runner, Sink, SinkContext, Timestamp, Writer};
use levada_core::{Origin, Wake};
use levada_counterparts::{Postgres, await_until};
use serde::Serialize;

#[derive(Clone, Serialize)]
struct Hit {
    id: i64,
    url: String,
}

fn hit(id: i64) -> Hit {
    let url = format!("/\"{id}\"\n");
    Hit { id, url }
}

const HITS: &str = "CREATE TABLE hits (id bigint CHECK (id >= 0), url text)";

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

fn context(run: u64, is_restored: bool) -> SinkContext {
    let operator = Origin::new("hits", Location::caller());
    let reader = ReaderContext::without_job(operator, 1, Environment::system(), Arc::new(Nobody));
    SinkContext {
        operator: reader.operator,
        subtask: 0,
        parallelism: 1,
        run: format!("{run:016x}").into(),
        is_restored,
        environment: reader.environment,
        waker: reader.waker,
        counters: reader.counters,
        metrics: reader.metrics,
    }
}

struct Hits(std::ops::Range<i64>);

impl Iterator for Hits {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        self.0.next().map(hit)
    }
}

impl Drain<Hit> for Hits {
    fn timestamp(&self) -> Timestamp {
        Timestamp::MIN
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

fn sink(server: &Postgres) -> Table {
    let hits = postgres::postgres(server.address(), "hits");
    hits.exactly_once("hits").batch_records_max(10)
}

/// The sink and its writer, in a run of the job that goes on with this.
fn started(
    server: &Postgres,
    run: u64,
    pending: Option<Vec<Option<PreparedEpoch>>>,
) -> PostgresWriter<Server> {
    let (sink, context) = (sink(server), context(run, pending.is_some()));
    Sink::<Hit>::start(&sink, &context).unwrap();
    if let Some(pending) = pending {
        Sink::<Hit>::recover(&sink, pending, &context).unwrap();
    }
    Sink::<Hit>::open(&sink, &context).unwrap()
}

fn prepared(
    writer: &mut PostgresWriter<Server>,
    ids: std::ops::Range<i64>,
) -> Option<PreparedEpoch> {
    writer.write(&mut Hits(ids)).unwrap();
    assert!(Writer::<Hit>::is_drained(writer).unwrap());
    Writer::<Hit>::prepare(writer).unwrap()
}

const COUNT: &str = "SELECT count(*), count(DISTINCT id), coalesce(sum(id), 0) FROM hits";

#[test]
fn a_job_writes_rows_without_a_key_once() {
    let server = Postgres::start();
    server.sql(HITS);
    let (address, count) = (server.address(), 5_000);
    let report = Runner::new().parallelism(2).run(move |job: &Job| {
        let hits = postgres::postgres(address.clone(), "hits").exactly_once("hits");
        let ids = job.source("ids", iterator(0..count)).rebalance();
        ids.map(hit).sink("hits", hits.batch_records_max(300));
    });
    report.unwrap();
    assert_eq!(server.sql(COUNT), "5000|5000|12497500");
    assert_eq!(
        server.sql("SELECT url = E'/\"7\"\\n' FROM hits WHERE id = 7"),
        "t"
    );
    assert_eq!(server.sql("SELECT count(*) FROM levada_staged"), "0");
    assert_eq!(
        server.sql("SELECT sink, subtask, epoch FROM levada_epochs ORDER BY 2"),
        "hits|0|0\nhits|1|0"
    );
}

#[test]
fn an_epoch_becomes_rows_once_whoever_commits_it() {
    let mut server = Postgres::start();
    server.sql(HITS);
    let mut writer = started(&server, 1, None);
    let first = prepared(&mut writer, 0..25);
    let second = prepared(&mut writer, 25..30);
    // What is written for an epoch that never gets its checkpoint.
    let dead = prepared(&mut writer, 30..40);
    assert_eq!(server.sql(COUNT), "0|0|0");
    assert_eq!(server.sql("SELECT count(*) FROM levada_staged"), "5");
    Writer::<Hit>::commit(&mut writer, first.clone()).unwrap();
    assert_eq!(server.sql(COUNT), "25|25|300");
    drop(writer);

    // The machine of the server stops, and another process goes on.
    server.kill();
    server.restart();
    let pending = vec![first.clone(), second.clone()];
    let mut writer = started(&server, 2, Some(pending));
    assert_eq!(server.sql(COUNT), "30|30|435");
    assert_eq!(server.sql("SELECT count(*) FROM levada_staged"), "0");
    for epoch in [first, second] {
        Writer::<Hit>::commit(&mut writer, epoch).unwrap();
    }
    assert_eq!(server.sql(COUNT), "30|30|435");
    let error = Writer::<Hit>::commit(&mut writer, dead).unwrap_err();
    assert!(error.to_string().contains("0 of its 1 batches"), "{error}");
    let next = prepared(&mut writer, 30..31);
    Writer::<Hit>::commit(&mut writer, next).unwrap();
    assert_eq!(server.sql(COUNT), "31|31|465");
}

#[test]
fn an_epoch_with_a_row_that_the_table_does_not_take_leaves_none() {
    let server = Postgres::start();
    server.sql(HITS);
    let mut writer = started(&server, 1, None);
    let epoch = prepared(&mut writer, -1..25);
    let error = Writer::<Hit>::commit(&mut writer, epoch.clone()).unwrap_err();
    let source = std::error::Error::source(&*error).unwrap().to_string();
    assert!(source.contains("hits_id_check"), "{error}: {source}");
    assert_eq!(server.sql(COUNT), "0|0|0");
    // It is still there for whoever repairs the table.
    server.sql("ALTER TABLE hits DROP CONSTRAINT hits_id_check");
    Writer::<Hit>::commit(&mut writer, epoch).unwrap();
    assert_eq!(server.sql(COUNT), "26|26|299");
}

#[test]
fn with_a_key_the_last_row_of_an_epoch_stays() {
    let server = Postgres::start();
    server.sql("CREATE TABLE hits (id bigint PRIMARY KEY, url text)");
    let sink = sink(&server).key(["id"]);
    let context = context(1, false);
    Sink::<Hit>::start(&sink, &context).unwrap();
    let mut writer = Sink::<Hit>::open(&sink, &context).unwrap();
    for _ in 0..2 {
        // The same keys in several batches.
        writer.write(&mut Hits(0..15)).unwrap();
    }
    let epoch = prepared(&mut writer, 3..4);
    Writer::<Hit>::commit(&mut writer, epoch).unwrap();
    assert_eq!(server.sql(COUNT), "15|15|105");
}

/// The sessions that have a name.
const HOLDERS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";

const END_HOLDERS: &str =
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted";

#[test]
fn a_second_job_of_one_name_is_refused_while_the_first_one_lives() {
    let server = Postgres::start();
    server.sql(HITS);
    let mut writer = started(&server, 1, None);
    let epoch = prepared(&mut writer, 0..25);
    let job = |name: &'static str| {
        let address = server.address();
        Runner::new().parallelism(2).run(move |job: &Job| {
            let hits = postgres::postgres(address.clone(), "hits").exactly_once(name);
            let ids = job.source("ids", iterator(100..110)).rebalance();
            ids.map(hit).sink("second", hits);
        })
    };
    let error = format!("{:?}", job("hits").unwrap_err());
    for part in [
        "`second` (counterparts/tests/postgres_epochs.rs:",
        "another job, or another sink of this one, has the name 'hits' at ",
        "/postgres (process ",
        " of the server, there since 2",
        "give `.exactly_once(..)` a name of its own",
    ] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    // Another name is free, and the first job has lost nothing.
    job("others").unwrap();
    Writer::<Hit>::commit(&mut writer, epoch).unwrap();
    assert_eq!(server.sql(COUNT), "35|35|1345");
    drop(writer);
    job("hits").unwrap();
    assert_eq!(server.sql(COUNT), "45|35|2390");
    await_until("all sessions have ended", || server.sql(HOLDERS) == "0");
}

#[test]
fn a_job_whose_session_is_cut_off_takes_its_name_again_unless_another_has_it() {
    let server = Postgres::start();
    server.sql(HITS);
    let mut writer = started(&server, 1, None);
    let epoch = prepared(&mut writer, 0..25);
    assert_eq!(server.sql(HOLDERS), "1");
    server.sql(END_HOLDERS);
    assert_eq!(server.sql(HOLDERS), "0");
    Writer::<Hit>::commit(&mut writer, epoch).unwrap();
    assert_eq!(server.sql(COUNT), "25|25|300");
    assert_eq!(server.sql(HOLDERS), "1");

    let epoch = prepared(&mut writer, 25..30);
    server.sql(END_HOLDERS);
    let mut second = started(&server, 2, Some(Vec::new()));
    let error = Writer::<Hit>::commit(&mut writer, epoch).unwrap_err();
    let source = std::error::Error::source(&*error).unwrap().to_string();
    assert!(source.contains("has the name 'hits'"), "{error}: {source}");
    let epoch = prepared(&mut second, 25..30);
    Writer::<Hit>::commit(&mut second, epoch).unwrap();
    assert_eq!(server.sql(COUNT), "30|30|435");
}

/// Where the process to be killed finds the server, and where it writes what its checkpoint has kept.
const VICTIM: &str = "LEVADA_VICTIM";

#[test]
fn a_job_that_was_killed_is_started_again_at_once() {
    if let Ok(place) = std::env::var(VICTIM) {
        let (address, kept) = place.split_once('|').unwrap();
        let sink = postgres::postgres(address, "hits").exactly_once("hits");
        let context = context(1, false);
        Sink::<Hit>::start(&sink, &context).unwrap();
        let mut writer = Sink::<Hit>::open(&sink, &context).unwrap();
        let epoch = prepared(&mut writer, 0..25);
        let unfinished = format!("{kept}.tmp");
        std::fs::write(&unfinished, serde_json::to_vec(&epoch).unwrap()).unwrap();
        std::fs::rename(unfinished, kept).unwrap();
        loop {
            std::thread::park();
        }
    }
    let server = Postgres::start();
    server.sql(HITS);
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("epoch");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_job_that_was_killed_is_started_again_at_once"])
        .env(VICTIM, format!("{}|{}", server.address(), kept.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    await_until("an epoch is prepared", || {
        assert_eq!(victim.try_wait().unwrap(), None);
        kept.exists()
    });
    assert_eq!(server.sql(HOLDERS), "1");
    victim.kill().unwrap();
    let epoch: Option<PreparedEpoch> =
        serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    let mut writer = started(&server, 2, Some(vec![epoch]));
    victim.wait().unwrap();
    assert_eq!(server.sql(COUNT), "25|25|300");
    assert_eq!(server.sql(HOLDERS), "1");
    let next = prepared(&mut writer, 25..30);
    Writer::<Hit>::commit(&mut writer, next).unwrap();
    assert_eq!(server.sql(COUNT), "30|30|435");
}

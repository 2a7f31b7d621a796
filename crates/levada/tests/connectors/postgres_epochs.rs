//! The PostgreSQL sink with epochs: every row once, also without a key, against a table in memory that loses connections.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::panic::Location;
use std::sync::Arc;

use levada::connectors::postgres::{Postgres, PostgresWriter, PreparedEpoch};
use levada::prelude::*;
use levada::{BoxError, Drain, Environment, ReaderContext, Sink, SinkContext, Timestamp, Writer};
use levada_core::random::SplitMix64;
use levada_core::{Origin, Wake};
use levada_testing::Simulation;
use serde::Serialize;

use crate::postgres_model::{Model, State, column};

#[derive(Clone, Serialize)]
struct Hit {
    id: u64,
    weight: i64,
}

fn hit(id: u64) -> Hit {
    Hit { id, weight: 1 }
}

fn hits(seed: u64) -> Model {
    Model::new(
        seed,
        &[column("id", "bigint"), column("weight", "positive")],
    )
}

fn sink(model: &Model) -> Postgres<Model> {
    let sink = Postgres::with_database(model.clone(), "items");
    sink.exactly_once("hits").batch_records_max(4)
}

/// The ids of all rows, sorted.
fn ids(model: &Model) -> Vec<u64> {
    let mut ids: Vec<u64> = model.read(|state| {
        let ids = state.rows.iter().map(|row| row["id"].as_u64().unwrap());
        ids.collect()
    });
    ids.sort_unstable();
    ids
}

#[test]
fn a_row_without_a_key_is_there_once_whatever_is_lost() {
    let (mut lost, mut lost_claims) = (0, 0);
    for seed in 0..100 {
        let model = hits(seed);
        model.change(|state| state.losses = seed % 4 * 10);
        let database = model.clone();
        let run = Simulation::new(seed).run(move |job: &Job| {
            let numbers = job.source("numbers", iterator(0..300u64)).rebalance();
            numbers.map(hit).sink("hits", sink(&database));
        });
        run.unwrap().expect_finished();
        assert_eq!(ids(&model), (0..300).collect::<Vec<_>>(), "seed {seed}");
        model.read(|state| {
            assert!(state.staged.is_empty(), "seed {seed}");
            lost += state.lost_before + state.lost_after;
            lost_claims += state.lost_claims;
            assert!(state.claims.is_empty(), "seed {seed}");
        });
    }
    assert!(lost > 1_000, "{lost} connections were lost");
    assert!(
        lost_claims > 10,
        "{lost_claims} sessions with the name were lost"
    );
}

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

struct Hits(std::ops::Range<u64>);

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

type Out = PostgresWriter<Model>;
type Pending = Option<PreparedEpoch>;

fn start(sink: &Postgres<Model>, context: &SinkContext) -> Result<(), BoxError> {
    Sink::<Hit>::start(sink, context)
}

fn recover(
    sink: &Postgres<Model>,
    pending: Vec<Pending>,
    context: &SinkContext,
) -> Result<(), BoxError> {
    Sink::<Hit>::recover(sink, pending, context)
}

fn open(sink: &Postgres<Model>, context: &SinkContext) -> Out {
    Sink::<Hit>::open(sink, context).unwrap()
}

fn prepared(writer: &mut Out, numbers: std::ops::Range<u64>) -> Pending {
    writer.write(&mut Hits(numbers)).unwrap();
    assert!(Writer::<Hit>::is_drained(writer).unwrap());
    Writer::<Hit>::prepare(writer).unwrap()
}

fn commit(writer: &mut Out, pending: Pending) -> Result<(), BoxError> {
    Writer::<Hit>::commit(writer, pending)
}

/// Jobs that die anywhere, and go on from their last complete checkpoint.
#[test]
fn a_job_that_dies_anywhere_loses_no_row_and_repeats_none() {
    const END: u64 = 60;
    let (mut deaths, mut recovered) = (0, 0);
    for seed in 0..200 {
        let model = hits(seed);
        let mut random = SplitMix64::new(seed);
        let (mut position, mut pending, mut run) = (0, Vec::<Vec<u8>>::new(), 0);
        let mut has_checkpoint = false;
        'attempts: loop {
            run += 1;
            let context = context(run, has_checkpoint);
            let sink = sink(&model);
            start(&sink, &context).unwrap();
            if has_checkpoint {
                let kept = pending.iter();
                let kept = kept.map(|bytes| serde_json::from_slice(bytes).unwrap());
                recover(&sink, kept.collect(), &context).unwrap();
                recovered += pending.len();
                pending.clear();
                assert_eq!(
                    ids(&model),
                    (0..position).collect::<Vec<_>>(),
                    "seed {seed}"
                );
            }
            let mut writer = open(&sink, &context);
            let mut uncommitted: Vec<Pending> = Vec::new();
            while position < END {
                // Some epochs have no rows.
                let end = END.min(position + random.below(12));
                let epoch = prepared(&mut writer, position..end);
                assert_eq!(epoch.is_some(), end > position);
                if random.below(6) == 0 {
                    deaths += 1;
                    continue 'attempts;
                }
                uncommitted.push(epoch);
                let kept = uncommitted.iter();
                pending = kept.map(|one| serde_json::to_vec(one).unwrap()).collect();
                (position, has_checkpoint) = (end, true);
                if random.below(3) == 0 && position < END {
                    continue;
                }
                for epoch in uncommitted.drain(..) {
                    if random.below(8) == 0 {
                        deaths += 1;
                        continue 'attempts;
                    }
                    commit(&mut writer, epoch.clone()).unwrap();
                    commit(&mut writer, epoch).unwrap();
                }
                assert_eq!(
                    ids(&model),
                    (0..position).collect::<Vec<_>>(),
                    "seed {seed}"
                );
            }
            break;
        }
        assert_eq!(ids(&model), (0..END).collect::<Vec<_>>(), "seed {seed}");
        assert!(model.read(|state| state.staged.is_empty()), "seed {seed}");
    }
    assert!(deaths > 200 && recovered > 100, "{deaths}, {recovered}");
}

#[test]
fn what_is_lost_is_named_and_a_fresh_start_removes_what_it_finds() {
    let model = hits(1);
    let first = sink(&model);
    start(&first, &context(1, false)).unwrap();
    let mut writer = open(&first, &context(1, false));
    let pending = prepared(&mut writer, 0..10);
    assert_eq!(model.read(|state| state.staged.len()), 3, "batches of 4");
    assert!(ids(&model).is_empty());
    // A job with another name leaves them alone.
    let other = sink(&model).exactly_once("others");
    start(&other, &context(2, false)).unwrap();
    recover(&other, Vec::new(), &context(2, true)).unwrap();
    assert_eq!(model.read(|state| state.staged.len()), 3);
    drop(writer);
    start(&sink(&model), &context(3, false)).unwrap();
    assert!(model.read(|state| state.staged.is_empty()));
    let error = recover(&sink(&model), vec![pending], &context(4, true)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "epoch 0 of subtask 0 for the table \"items\" is lost: the checkpoint has prepared it, and 0 of its 3 batches are \
         in levada_staged under sink 'hits', run '0000000000000001'"
    );
}

const IN_USE: &str =
    "another job, or another sink of this one, has the name 'hits' at memory:5432/model (session";

#[test]
fn a_second_job_of_one_name_is_refused_while_the_first_one_lives() {
    let model = hits(1);
    let first = sink(&model);
    start(&first, &context(1, false)).unwrap();
    let mut writer = open(&first, &context(1, false));
    let pending = prepared(&mut writer, 0..10);
    for is_restored in [false, true] {
        let error = start(&sink(&model), &context(2, is_restored)).unwrap_err();
        assert!(error.to_string().starts_with(IN_USE), "{error}");
    }
    // It has removed nothing.
    commit(&mut writer, pending).unwrap();
    assert_eq!(ids(&model), (0..10).collect::<Vec<_>>());
    // The name is free when the last writer has gone, though the sink is there.
    drop(writer);
    start(&sink(&model), &context(3, false)).unwrap();
    // An attempt that came no further than its start can be begun again.
    for run in 4..6 {
        start(&first, &context(run, false)).unwrap();
    }
}

#[test]
fn a_job_whose_session_has_ended_takes_its_name_again_unless_another_has_it() {
    let model = hits(1);
    let first = sink(&model);
    start(&first, &context(1, false)).unwrap();
    let mut writer = open(&first, &context(1, false));
    let pending = prepared(&mut writer, 0..10);
    model.change(State::end_claims);
    commit(&mut writer, pending).unwrap();
    assert_eq!(ids(&model), (0..10).collect::<Vec<_>>());
    assert_eq!(model.read(|state| state.claims.len()), 1);

    let pending = prepared(&mut writer, 10..20);
    model.change(State::end_claims);
    let second = sink(&model);
    start(&second, &context(2, true)).unwrap();
    let error = commit(&mut writer, pending).unwrap_err();
    let source = std::error::Error::source(&*error).unwrap().to_string();
    assert!(source.starts_with(IN_USE), "{error}: {source}");
    assert_eq!(ids(&model), (0..10).collect::<Vec<_>>());
}

//! Barriers that overtake, on every kind of edge: with a sink that takes nothing a checkpoint is complete all the same, what it
//! overtook is in it, and a job of another parallelism goes on with that.

use std::collections::BTreeSet;
use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, CheckpointSummary, Runner, StartAt};
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Ledger, LedgerSink, MemoryDisk, Simulated, Simulation, ledger};
use serde::{Deserialize, Serialize};

use crate::dense::dense;

type Out = LedgerSink<u64>;

const COUNT: u64 = 3_000;

fn runner() -> Runner {
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = None;
    options.alignment_timeout = Some(Duration::ZERO);
    Runner::new().checkpoints(options).start_at(StartAt::Latest)
}

fn start(seed: u64, disk: &MemoryDisk, parallelism: usize, job: &dyn Fn(&Job)) -> Simulated {
    let simulation = Simulation::new(seed)
        .with_disk(disk.clone())
        .parallelism(parallelism)
        .runner(runner());
    match simulation.start(job) {
        Ok(simulated) => simulated,
        Err(error) => panic!("seed {seed}: {error:?}"),
    }
}

/// Takes a checkpoint of a job that cannot move.
fn checkpoint(simulated: &mut Simulated, seed: u64) -> CheckpointSummary {
    let before = simulated.checkpoints().completed;
    simulated.checkpoint(Purpose::Recovery, false);
    let is_complete = simulated.run_until(|simulated| simulated.checkpoints().completed > before);
    let events = simulated.events();
    assert!(
        is_complete,
        "seed {seed}: {:?}, {events:?}",
        simulated.checkpoints()
    );
    let last = simulated.checkpoints().last;
    last.expect("one has just been completed")
}

/// Fills a job up, takes a checkpoint, kills it, and lets the next one go on, at each of some parallelisms. The last one comes to
/// its end; `expected` says what must come out of it.
#[expect(clippy::print_stdout, reason = "it shows that it has happened")]
fn edge(name: &str, job: impl Fn(&Job, Out), parallelisms: &[usize], expected: &[u64]) {
    let (mut in_flight, mut overtaken) = (0, 0);
    for seed in 0..20 {
        let (sink, ledger) = ledger();
        let building = |building: &Job| job(building, sink.clone());
        let disk = MemoryDisk::default();
        ledger.hold();
        let (last, before) = parallelisms.split_last().expect("there are some");
        for parallelism in before {
            let mut simulated = start(seed, &disk, *parallelism, &building);
            simulated.settle();
            assert!(
                !simulated.is_done(),
                "{name}, seed {seed}: the sink takes nothing"
            );
            let taken = checkpoint(&mut simulated, seed);
            assert!(taken.overtaken > 0, "{name}, seed {seed}: {taken:?}");
            assert!(taken.in_flight_bytes > 0, "{name}, seed {seed}: {taken:?}");
            in_flight += taken.in_flight_records;
            overtaken += taken.overtaken;
            simulated.kill();
            disk.crash(seed);
        }
        finish(name, seed, &disk, *last, &building, &ledger, expected);
    }
    println!("{name}: {in_flight} records in flight, overtaken in {overtaken} tasks");
    assert!(in_flight > 0);
}

fn finish(
    name: &str,
    seed: u64,
    disk: &MemoryDisk,
    parallelism: usize,
    job: &dyn Fn(&Job),
    ledger: &Ledger<u64>,
    expected: &[u64],
) {
    ledger.release();
    let mut simulated = start(seed + 1, disk, parallelism, job);
    assert!(simulated.checkpoints().restored.is_some());
    while !simulated.is_done() {
        assert!(simulated.step(), "{name}, seed {seed}: stuck");
    }
    simulated.finish().expect_finished();
    let found = ledger.sorted();
    let lost: Vec<_> = expected.iter().filter(|n| !found.contains(n)).collect();
    assert!(
        found == expected,
        "{name}, seed {seed}: {} instead of {}; lost: {lost:?}",
        found.len(),
        expected.len()
    );
}

fn numbers(job: &Job) -> Stream<u64> {
    let numbers = job.source("numbers", dense(COUNT, 5));
    numbers.map(|event| event.id).stream()
}

fn all() -> Vec<u64> {
    (0..COUNT).collect()
}

#[test]
fn edges_without_keys() {
    let there_and_back = [2, 3, 1, 4];
    edge(
        "rebalance",
        |job, out| {
            numbers(job).rebalance().sink("out", out);
        },
        &there_and_back[..2],
        &all(),
    );
    edge(
        "rescale",
        |job, out| {
            numbers(job).rescale().sink("out", out);
        },
        &[2, 4, 3],
        &all(),
    );
    edge(
        "shuffle",
        |job, out| {
            numbers(job).shuffle().sink("out", out);
        },
        &[3, 2],
        &all(),
    );
    edge(
        "partition",
        |job, out| {
            let chosen = numbers(job).partition(|n, subtasks| *n as usize % subtasks);
            chosen.sink("out", out);
        },
        &[3, 4, 2],
        &all(),
    );
    edge(
        "union of two",
        |job, out| {
            let numbers = numbers(job);
            let even = numbers.clone().filter(|n| n % 2 == 0).rebalance();
            let odd = numbers.filter(|n| n % 2 == 1).shuffle();
            even.union(odd).rebalance().sink("out", out);
        },
        &[2, 4, 3],
        &all(),
    );
}

/// What a suspended iterator has left goes on when all routes behind it are full: it cannot be saved.
#[test]
fn edges_behind_an_iterator() {
    let hundreds = |job: &Job| {
        let first = numbers(job).filter(|n| n % 100 == 0);
        first.flat_map(|n| n..n + 100)
    };
    edge(
        "iterator, rebalance",
        |job, out| {
            hundreds(job).rebalance().sink("out", out);
        },
        &[2, 3, 2],
        &all(),
    );
    edge(
        "iterator, shuffle",
        |job, out| {
            hundreds(job).shuffle().sink("out", out);
        },
        &[2, 3, 2],
        &all(),
    );
}

/// Each key counted: the number of a record is the key times a thousand and its count.
fn counted(job: &Job, out: Out) {
    let counts = numbers(job).key_by(|n| n % 10).count("counts");
    counts
        .map(|(key, count)| 1_000 * key + count)
        .rebalance()
        .sink("out", out);
}

fn counts() -> Vec<u64> {
    (0..10)
        .flat_map(|key| (1..=COUNT / 10).map(move |count| 1_000 * key + count))
        .collect()
}

#[test]
fn edges_with_keys() {
    edge("hash", counted, &[2, 3, 4], &counts());
    edge("hash, fewer", counted, &[4, 2], &counts());
}

/// Every subtask has its own copy; of the copies of one record one is committed.
#[test]
fn broadcast_edges() {
    let job = |job: &Job, out: Out| {
        let copies = numbers(job).broadcast().map(|n| (n, ())).stream();
        let once = copies.key_by(|(n, ())| *n).deduplicate("once");
        once.map(|(n, ())| n).rebalance().sink("out", out);
    };
    edge("broadcast", job, &[2, 3, 2], &all());
}

const KEYS: u64 = 50;
const RULES: u64 = 120;

/// What comes out when something is wrong.
const WRONG: u64 = 9_000_000;

/// Passes numbers on, and says so when a key has met all rules: those that were known when it came, and each later one.
#[derive(Clone)]
struct Meeting;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Met {
    is_there: bool,
    rules: BTreeSet<u64>,
}

impl BroadcastProcess for Meeting {
    type Key = u64;
    type In = u64;
    type Broadcast = u64;
    type State = Met;
    type Shared = BTreeSet<u64>;
    type Out = u64;

    fn element(&self, n: &u64, known: &BTreeSet<u64>, context: &mut BroadcastContext<'_, Self>) {
        context.emit(*n);
        let met = context.state();
        if !met.is_there {
            met.is_there = true;
            met.rules.clone_from(known);
            if is_complete(known) {
                context.emit(COUNT + n % KEYS);
            }
        } else if met.rules != *known {
            context.emit(WRONG + n);
        }
    }

    fn broadcast(
        &self,
        rule: &u64,
        known: &mut BTreeSet<u64>,
        context: &mut SharedContext<'_, Self>,
    ) {
        let is_new = known.insert(*rule);
        context.for_each_key(|key, met, out| {
            if !is_new || !met.rules.insert(*rule) {
                out.emit(WRONG + rule);
            } else if is_complete(&met.rules) {
                out.emit(COUNT + key);
            }
        });
    }
}

fn is_complete(rules: &BTreeSet<u64>) -> bool {
    rules.iter().copied().eq(0..RULES)
}

/// What was in flight of a broadcast finds the keys that it had not met, wherever these are now, and with them the shared state
/// that they had.
#[test]
fn a_broadcast_beside_keys() {
    let job = |job: &Job, out: Out| {
        let rules = job.source("rules", dense(RULES, 3)).map(|event| event.id);
        let keyed = numbers(job).key_by(|n| n % KEYS);
        let met = keyed.connect_broadcast(rules).process("met", Meeting);
        met.rebalance().sink("out", out);
    };
    let all: Vec<_> = (0..COUNT + KEYS).collect();
    edge("broadcast beside keys", job, &[2, 3], &all);
    edge("broadcast beside keys, fewer", job, &[4, 1], &all);
    edge(
        "broadcast beside keys, there and back",
        job,
        &[2, 5, 3, 2],
        &all,
    );
}

/// With one subtask the exchange is not there, and what was in flight on it has its place all the same: also when the next
/// checkpoint comes before all of it has been replayed.
#[test]
fn an_edge_that_is_elided_and_comes_back() {
    let (mut replayed, mut total) = (0, 0);
    for seed in 0..30 {
        let (sink, ledger) = ledger();
        let building = |job: &Job| counted(job, sink.clone());
        let disk = MemoryDisk::default();
        ledger.hold();
        let mut two = start(seed, &disk, 2, &building);
        two.settle();
        total += checkpoint(&mut two, seed).in_flight_records;
        two.kill();
        disk.crash(seed);

        ledger.release();
        let mut one = start(seed, &disk, 1, &building);
        replayed += checkpoint(&mut one, seed).in_flight_records;
        one.kill();
        disk.crash(seed);

        finish("elided", seed, &disk, 2, &building, &ledger, &counts());
    }
    println!("{total} records in flight with 2 subtasks, {replayed} of them still with 1");
    assert!(replayed > 0 && total > replayed);
}

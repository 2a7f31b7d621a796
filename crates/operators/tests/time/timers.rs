//! Timers of processes: by event time and by processing time, against a model, saved and restored at any moment.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use levada::prelude::*;
use levada_testing::{Harness, Simulation};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};

/// What a record asks of the process.
#[derive(Clone, Debug, Deserialize, Serialize)]
enum Command {
    /// Everything older has come: makes the watermark.
    Mark,
    Set(i64),
    Delete(i64),
    Clear,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Record {
    key: u8,
    at: i64,
    command: Command,
}

/// One call of a timer, as it saw its world.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Fired {
    key: u8,
    at: i64,
    timestamp: i64,
    watermark: i64,
    /// How many records the key has had since it was cleared, none if it has no state.
    records: Option<u64>,
}

/// The watermark is the time of the last mark.
#[derive(Default)]
struct Marks(Option<Timestamp>);

impl WatermarkGenerator<Record> for Marks {
    fn record(&mut self, record: &Record, time: Timestamp) {
        if let Command::Mark = record.command {
            self.0 = self.0.max(Some(time));
        }
    }

    fn watermark(&self) -> Timestamp {
        self.0.unwrap_or(Timestamp::MIN)
    }
}

/// What a timer does besides saying that it has fired: some set others, at times before and after their own.
fn then(at: i64) -> Option<i64> {
    match at.rem_euclid(5) {
        0 => Some(at + 7),
        1 => Some(at - 3),
        _ => None,
    }
}

#[derive(Clone)]
struct Scripted;

impl Process for Scripted {
    type Key = u8;
    type In = Record;
    type State = u64;
    type Out = Fired;

    fn element(&self, record: &Record, context: &mut Context<'_, Self>) {
        match record.command {
            Command::Mark => return,
            Command::Set(at) => context.set_timer(Timestamp(at)),
            Command::Delete(at) => context.delete_timer(Timestamp(at)),
            Command::Clear => return context.clear(),
        }
        *context.state() += 1;
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        let Timer::Event(Timestamp(at)) = timer else {
            unreachable!("no other timer is set")
        };
        if let Some(next) = then(at) {
            context.set_timer(Timestamp(next));
        }
        context.emit(Fired {
            key: *context.key(),
            at,
            timestamp: context.timestamp().0,
            watermark: context.watermark().0,
            records: context.existing_state().copied(),
        });
    }
}

fn scripted(records: Stream<Record>) -> Stream<Fired> {
    records
        .timestamps(|record| record.at, Watermarks::custom(Marks::default))
        .key_by(|record| record.key)
        .process("scripted", Scripted)
}

/// The process as a loop over one key after the other.
#[derive(Default)]
struct Model {
    timers: BTreeMap<u8, BTreeSet<i64>>,
    records: BTreeMap<u8, u64>,
    watermark: Option<i64>,
    fired: Vec<Fired>,
}

impl Model {
    fn record(&mut self, record: &Record) {
        let timers = self.timers.entry(record.key).or_default();
        match record.command {
            Command::Mark => return self.raise(record.at),
            Command::Set(at) => {
                timers.insert(at);
            }
            Command::Delete(at) => {
                timers.remove(&at);
            }
            Command::Clear => {
                self.records.remove(&record.key);
                return;
            }
        }
        *self.records.entry(record.key).or_default() += 1;
        self.fire(record.key);
    }

    fn raise(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(Some(watermark));
        for key in 0..=u8::MAX {
            self.fire(key);
        }
    }

    fn fire(&mut self, key: u8) {
        let (Some(watermark), Some(timers)) = (self.watermark, self.timers.get_mut(&key)) else {
            return;
        };
        while let Some(at) = timers.first().copied().filter(|at| *at <= watermark) {
            timers.remove(&at);
            timers.extend(then(at));
            self.fired.push(Fired {
                key,
                at,
                timestamp: at,
                watermark,
                records: self.records.get(&key).copied(),
            });
        }
    }
}

fn record() -> impl Strategy<Value = Record> {
    let command = prop_oneof![
        12 => (-40..60i64).prop_map(Command::Set),
        2 => (-40..60i64).prop_map(Command::Delete),
        1 => Just(Command::Clear),
        1 => Just(Command::Mark),
    ];
    (0..5u8, -40..30i64, command).prop_map(|(key, at, command)| Record { key, at, command })
}

/// By key, in the order in which each key's timers fired: there is none between keys.
fn by_key(fired: Vec<Fired>) -> BTreeMap<u8, Vec<Fired>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for fired in fired {
        keys.entry(fired.key).or_default().push(fired);
    }
    keys
}

fn simulation(seed: u64, parallelism: usize) -> Simulation {
    let simulation = Simulation::new(seed).parallelism(parallelism);
    if seed.is_multiple_of(2) {
        simulation.one_credit()
    } else {
        simulation
    }
}

/// When the operators are saved, and with how many subtasks they run before and after it.
#[derive(Clone, Debug)]
struct Cut {
    /// A mark that comes at this place among the records.
    at: prop::sample::Index,
    mark: i64,
    /// How many of the timers that it fires have fired by then, at least.
    fired: usize,
    before: usize,
    after: usize,
}

fn cut() -> impl Strategy<Value = Cut> {
    let before = prop_oneof![Just(1), 2..5usize];
    let at = any::<prop::sample::Index>();
    (at, 0..70i64, 0..6usize, before, 1..5usize).prop_map(|(at, mark, fired, before, after)| Cut {
        at,
        mark,
        fired,
        before,
        after,
    })
}

/// Lets the operators come so far that a mark has fired some timers, and goes on with what is saved then. Whether there
/// were others that it had not fired.
fn cut_half_way(
    harness: &mut Harness<Record, Fired>,
    cut: &Cut,
    seed: u64,
    fired: &mut Vec<Fired>,
) -> bool {
    let mark = Record {
        key: 0,
        at: cut.mark,
        command: Command::Mark,
    };
    harness.feed([mark.clone()]);
    let so_far = harness.simulated().metrics().records_written();
    let until = so_far + cut.fired as u64;
    harness
        .simulated()
        .run_until(|simulated| simulated.metrics().records_written() >= until);
    let snapshot = harness.snapshot().unwrap();
    let before = harness.output();
    let simulation = simulation(seed ^ 1, cut.after);
    *harness = Harness::restored(&simulation, &snapshot, scripted).unwrap();
    // A mark that may be on its way to some subtask comes again. To the only one it has come: the rest fires by itself.
    let has_come = cut.before == 1 && !before.is_empty();
    if !has_come {
        harness.push([mark]);
    }
    harness.simulated().settle();
    let after = harness.output();
    let half_way = has_come && !after.is_empty();
    fired.extend(before);
    fired.extend(after);
    half_way
}

/// One record after the other; at some point the operators are saved while a mark fires timers, and go on at another
/// parallelism.
#[test]
fn timers_of_event_time_fire_as_in_the_model() {
    let config = ProptestConfig {
        failure_persistence: None,
        cases: 400,
        ..ProptestConfig::default()
    };
    let records = prop::collection::vec(record(), 10..80);
    let half_ways = Cell::new(0);
    let tried = TestRunner::new(config).run(&(records, cut(), any::<u64>()), |case| {
        let (records, cut, seed) = case;
        let cut_at = cut.at.index(records.len());
        let mut model = Model::default();
        let mut harness = Harness::new(&simulation(seed, cut.before), scripted).unwrap();
        let mut fired = Vec::new();
        for (i, record) in records.iter().enumerate() {
            if i == cut_at {
                model.raise(cut.mark);
                let half_way = cut_half_way(&mut harness, &cut, seed, &mut fired);
                half_ways.set(half_ways.get() + u32::from(half_way));
            }
            model.record(record);
            harness.push([record.clone()]);
            fired.extend(harness.output());
        }
        prop_assert_eq!(by_key(fired), by_key(model.fired), "seed {}", seed);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    assert!(half_ways.get() > 10, "{} cuts half-way", half_ways.get());
}

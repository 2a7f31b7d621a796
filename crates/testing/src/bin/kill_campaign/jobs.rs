//! The jobs.

use std::path::Path;
use std::time::Duration;

use levada::prelude::*;
use levada::{BoxError, after, before};
use serde::{Deserialize, Serialize};

use crate::ids::Ids;
use crate::pace::Pace;
use crate::row::Row;
use crate::story::{
    AFTER, BEFORE, GAP, JITTER, Kind, RULES, Record, SLIDE, Side, Story, WINDOW, mix,
};

/// Builds the job of a story, which writes into a directory.
pub(crate) fn build(story: Story, pace: &Pace, out: &Path, job: &Job) {
    let builder = Builder { story, pace, job };
    let lines = builder.rows().map(|row| row.to_line());
    let sink = files(out);
    if story.is_spread {
        lines.rebalance().sink("out", sink);
    } else {
        lines.sink("out", sink);
    }
}

struct Builder<'a> {
    story: Story,
    pace: &'a Pace,
    job: &'a Job,
}

impl Builder<'_> {
    fn rows(&self) -> Stream<Row> {
        match self.story.kind {
            Kind::Counts => self.counts(),
            Kind::Tumbling => self.tumbling(),
            Kind::Sliding => self.sliding(),
            Kind::Sessions => self.sessions(),
            Kind::IntervalJoin => self.interval_join(),
            Kind::WindowJoin => self.window_join(),
            Kind::Join => self.join(),
            Kind::Timers => self.timers(),
            Kind::Calls => self.calls(),
            Kind::Connect => self.connect(),
            Kind::Broadcast => self.broadcast(),
        }
    }

    fn records(&self, name: &str, side: Side) -> Stream<Record> {
        let story = self.story;
        let ids = Ids {
            count: story.count,
            splits: story.splits,
            pause: Duration::ZERO,
            make: move |id| story.record(side, id),
        };
        self.job
            .source(name, ids)
            .timestamps(|record: &Record| record.at, wide(JITTER))
            .stream()
    }

    fn keyed(&self, name: &str, side: Side) -> Keyed<u64, Record> {
        self.records(name, side).key_by(|record| record.key)
    }

    fn counts(&self) -> Stream<Row> {
        let pace = self.pace.clone();
        self.keyed("records", Side::Left)
            .fold("counts", move |(count, hash): &mut (u64, u64), record| {
                pace.work();
                *count += 1;
                *hash = mix(*hash ^ record.id);
            })
            .map(|(key, (count, hash))| Row::new(format!("{key}/{count}"), hash, key, count))
            .stream()
    }

    fn sum(&self) -> Sum {
        Sum(self.pace.clone())
    }

    fn tumbling(&self) -> Stream<Row> {
        let sum = self.sum();
        self.keyed("records", Side::Left)
            .window(tumbling(wide(WINDOW)))
            .aggregate("sums", |_| sum)
            .map(of_window)
            .stream()
    }

    fn sliding(&self) -> Stream<Row> {
        let sum = self.sum();
        self.keyed("records", Side::Left)
            .window(sliding(wide(WINDOW), wide(SLIDE)))
            .aggregate("sums", |_| sum)
            .map(of_window)
            .stream()
    }

    fn sessions(&self) -> Stream<Row> {
        let sum = self.sum();
        self.keyed("records", Side::Left)
            .window(session(wide(GAP)))
            .aggregate("sums", |_| sum)
            .map(|(key, span, sum)| {
                let identity = format!("{key}/{}-{}", span.start.0, span.end.0);
                Row::new(identity, sum, key, span.end.0.unsigned_abs())
            })
            .stream()
    }

    fn interval_join(&self) -> Stream<Row> {
        let pace = self.pace.clone();
        self.keyed("left", Side::Left)
            .interval_join(
                self.keyed("right", Side::Right),
                before(wide(BEFORE)),
                after(wide(AFTER)),
            )
            .inner("pairs", move |left, right| pair(&pace, left, right))
    }

    fn window_join(&self) -> Stream<Row> {
        let pace = self.pace.clone();
        self.keyed("left", Side::Left)
            .window_join(self.keyed("right", Side::Right), tumbling(wide(SLIDE)))
            .inner("pairs", move |left, right| pair(&pace, left, right))
            .map(|(_, _, row)| row)
            .stream()
    }

    fn join(&self) -> Stream<Row> {
        let pace = self.pace.clone();
        self.keyed("left", Side::Left)
            .join(self.keyed("right", Side::Right))
            .inner("pairs", move |left, right| pair(&pace, left, right))
    }

    fn timers(&self) -> Stream<Row> {
        let buckets = Buckets(self.pace.clone());
        let keyed = self.keyed("records", Side::Left);
        keyed.process("buckets", buckets)
    }

    fn calls(&self) -> Stream<Row> {
        let calls = match self.story.seed.is_multiple_of(2) {
            true => Calls::ordered(24),
            false => Calls::unordered(24),
        };
        let (pace, is_slow) = (self.pace.clone(), self.pace.is_slow());
        self.records("records", Side::Left)
            .rebalance()
            .call("calls", calls, move |record: Record| async move {
                if is_slow && record.value.is_multiple_of(16) {
                    levada::sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, BoxError>(record)
            })
            .map(move |record| {
                pace.work();
                Row::alone(record.id.to_string(), record.value)
            })
            .stream()
    }

    fn connect(&self) -> Stream<Row> {
        let both = Both(self.pace.clone());
        self.keyed("left", Side::Left)
            .connect(self.keyed("right", Side::Right))
            .process("both", both)
    }

    fn broadcast(&self) -> Stream<Row> {
        let story = self.story;
        let rules = Ids {
            count: RULES,
            splits: 2,
            pause: match self.pace.is_slow() {
                true => Duration::from_millis(20),
                false => Duration::from_millis(1),
            },
            make: move |rule| (rule, story.factor(rule)),
        };
        let rules = self.job.source("rules", rules);
        self.records("records", Side::Left)
            .key_by(|record| record.key % RULES)
            .connect_broadcast(rules)
            .process("priced", Priced(self.pace.clone()))
    }
}

fn wide(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn of_window((key, span, sum): (u64, Span, u64)) -> Row {
    let start = span.start.0.unsigned_abs();
    Row::new(format!("{key}/{start}"), sum, key, start)
}

fn pair(pace: &Pace, left: &Record, right: &Record) -> Row {
    pace.work();
    Row::alone(
        format!("{}+{}", left.id, right.id),
        left.value ^ mix(right.value),
    )
}

/// A number that tells which records were added, whatever their order.
#[derive(Clone)]
struct Sum(Pace);

impl Aggregate<Record> for Sum {
    type Accumulator = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, sum: &mut u64, record: &Record) {
        self.0.work();
        *sum = sum.wrapping_add(mix(record.id));
    }

    fn merge(&self, sum: &mut u64, other: u64) {
        *sum = sum.wrapping_add(other);
    }

    fn finish(&self, sum: u64) -> u64 {
        sum
    }
}

/// Tumbling windows by hand: a sum for each of them, which a timer emits.
#[derive(Clone)]
struct Buckets(Pace);

impl Process for Buckets {
    type Key = u64;
    type In = Record;
    type State = MapState<u64, u64>;
    type Out = Row;

    fn element(&self, record: &Record, context: &mut Context<'_, Self>) {
        self.0.work();
        let bucket = record.at / WINDOW;
        let sum = context.state().get_or_default(bucket);
        *sum = sum.wrapping_add(mix(record.id));
        // A time that is set already stays.
        context.set_timer(Timestamp((bucket + 1) as i64 * WINDOW as i64));
    }

    fn timer(&self, timer: Timer, context: &mut Context<'_, Self>) {
        let bucket = timer.at().0.unsigned_abs() / WINDOW - 1;
        let key = *context.key();
        // The judge misses the row if the sum is not there.
        if let Some(sum) = context.state().remove(&bucket) {
            let start = bucket * WINDOW;
            context.emit(Row::new(format!("{key}/{start}"), sum, key, start));
        }
        if context.state().is_empty() {
            context.clear();
        }
    }
}

/// Numbers the records of each side of a key, and remembers what it saw of the side.
#[derive(Clone)]
struct Both(Pace);

/// How many records, and a number that depends on all of them and their order.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
struct Seen {
    count: u64,
    hash: u64,
}

impl Seen {
    fn see(&mut self, record: &Record) -> Self {
        self.count += 1;
        self.hash = mix(self.hash ^ record.id);
        *self
    }
}

impl CoProcess for Both {
    type Key = u64;
    type First = Record;
    type Second = Record;
    type State = (Seen, Seen);
    type Out = Row;

    fn first(&self, record: &Record, context: &mut CoContext<'_, Self>) {
        self.0.work();
        let seen = context.state().0.see(record);
        context.emit(numbered("left", record.key, seen, 2 * record.key));
    }

    fn second(&self, record: &Record, context: &mut CoContext<'_, Self>) {
        self.0.work();
        let seen = context.state().1.see(record);
        context.emit(numbered("right", record.key, seen, 2 * record.key + 1));
    }
}

fn numbered(side: &str, key: u64, seen: Seen, lane: u64) -> Row {
    let identity = format!("{side}/{key}/{}", seen.count);
    Row::new(identity, seen.hash, lane, seen.count)
}

/// Multiplies by a rule's factor; a record waits until its rule is known.
#[derive(Clone)]
struct Priced(Pace);

impl BroadcastProcess for Priced {
    type Key = u64;
    type In = Record;
    type Broadcast = (u64, u64);
    type State = ListState<Record>;
    type Shared = MapState<u64, u64>;
    type Out = Row;

    fn element(
        &self,
        record: &Record,
        rules: &MapState<u64, u64>,
        context: &mut BroadcastContext<'_, Self>,
    ) {
        self.0.work();
        match rules.get(context.key()) {
            Some(factor) => context.emit(priced(record, *factor)),
            None => context.state().add(*record),
        }
    }

    fn broadcast(
        &self,
        (rule, factor): &(u64, u64),
        rules: &mut MapState<u64, u64>,
        context: &mut SharedContext<'_, Self>,
    ) {
        rules.insert(*rule, *factor);
        context.for_each_key(|key, waiting, out| {
            if key == rule {
                for record in waiting.clear() {
                    out.emit(priced(&record, *factor));
                }
            }
        });
    }
}

fn priced(record: &Record, factor: u64) -> Row {
    Row::alone(record.id.to_string(), record.value.wrapping_mul(factor))
}

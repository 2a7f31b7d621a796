//! Event time where splits, operators and silences meet: nothing is late that need not be, and nobody works in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levada::prelude::*;
use levada::{Runner, sleep};
use levada_core::sync::Mutex;
use levada_core::{BoxError, Moment};
use levada_runtime::{Intake, Reader, ReaderContext, Source, SourceContext, Status};
use levada_testing::{Harness, Simulation, collect};

use crate::scripted::{Act, Scripted};

fn records(times: impl IntoIterator<Item = i64>) -> Vec<Act> {
    times.into_iter().map(Act::Record).collect()
}

fn late(metrics: &levada::metrics::JobMetrics) -> u64 {
    let operators = metrics.operators.iter();
    operators
        .map(levada::metrics::OperatorMetrics::sum_late)
        .sum()
}

/// A source of splits whose readers say at once that a split has ended, with its last record.
#[derive(Clone)]
struct Prompt(Arc<Vec<Vec<i64>>>);

struct PromptReader {
    rest: std::vec::IntoIter<i64>,
}

impl Source for Prompt {
    type Out = i64;
    type Split = usize;
    type Reader = PromptReader;

    fn splits(&self, _: &SourceContext) -> Result<Vec<usize>, BoxError> {
        Ok((0..self.0.len()).collect())
    }

    fn open(
        &self,
        split: usize,
        _: Option<usize>,
        _: &ReaderContext,
    ) -> Result<PromptReader, BoxError> {
        let rest = self.0[split].clone().into_iter();
        Ok(PromptReader { rest })
    }
}

impl Reader for PromptReader {
    type Out = i64;
    type Position = usize;

    fn read(&mut self, intake: &mut impl Intake<i64>) -> Result<Status, BoxError> {
        while !intake.is_full()
            && let Some(record) = self.rest.next()
        {
            intake.push(record);
        }
        Ok(if self.rest.len() == 0 {
            Status::Done
        } else {
            Status::More
        })
    }

    fn position(&self) -> usize {
        self.rest.len()
    }
}

#[test]
fn what_is_made_of_the_last_record_of_a_split_is_not_late() {
    let splits = vec![(0..40).map(|n| 1_000_000 + n * 1_000).collect(), vec![0]];
    for seed in 0..100 {
        let source = Prompt(Arc::new(splits.clone()));
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .one_credit()
            .parallelism(1)
            .run(|job: &Job| {
                let apart = Watermarks::ascending().max_drift(hours(1));
                job.source("events", source.clone())
                    .flat_map(|at: i64| (0..400).map(move |n| at + n))
                    .timestamps(|at| *at, apart)
                    .rebalance()
                    .key_by(|_| 0u64)
                    .window(tumbling(millis(100)))
                    .count("counts")
                    .map(|(_, span, count)| (span.start.0, count))
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(late(&run.metrics), 0, "seed {seed}");
        assert_eq!(collected.take().len(), 41 * 4, "seed {seed}");
    }
}

#[test]
fn an_input_that_is_idle_is_not_looked_at_again_and_again() {
    for seed in 0..20 {
        let timed = |numbers: Stream<u64>| {
            let watermarks = Watermarks::ascending().idle_after(seconds(2));
            let timed = numbers.timestamps(|n| *n, watermarks);
            timed.rebalance().key_by(|n| n % 3).count("counts")
        };
        let mut harness = Harness::new(&Simulation::new(seed), timed).unwrap();
        harness.push_at([(7, 7)]);
        harness.idle();
        let before = harness.simulated().polls();
        harness.advance(minutes(10));
        let polls = harness.simulated().polls() - before;
        assert!(polls < 1_000, "seed {seed}: {polls} polls");
        assert!(harness.output_is_idle(), "seed {seed}");
    }
}

#[test]
fn a_split_that_may_not_be_read_yet_makes_no_work() {
    for seed in 0..20 {
        let splits = vec![
            records((0..1_000).map(|n| n * 10)),
            vec![Act::Nothing(seconds(1)), Act::Record(5)],
        ];
        let mut simulated = Simulation::new(seed)
            .runner(Runner::new().throttle(0.1))
            .parallelism(1)
            .start(|job: &Job| {
                let watermarks = Watermarks::ascending().idle_after(seconds(2));
                job.source("events", Scripted::endless(splits.clone()))
                    .timestamps(|(_, at)| *at, watermarks)
                    .sink("out", for_each(|_| ()));
            })
            .unwrap();
        simulated.advance(minutes(5));
        let polls = simulated.polls();
        assert!(polls < 5_000, "seed {seed}: {polls} polls");
        assert!(simulated.metrics().records_read() > 10, "seed {seed}");
    }
}

#[test]
fn a_split_that_is_held_back_makes_no_work() {
    for seed in 0..20 {
        // The second one is far ahead, and is asked now and then whether it has something.
        let mut ahead = records([1_000_000]);
        ahead.extend([Act::Nothing(seconds(1)), Act::Record(1_000_001)]);
        let slow = [0, 1].into_iter().flat_map(|at| {
            let rest = Act::NothingUntil(minutes(4));
            [Act::Record(at), rest]
        });
        let splits = vec![slow.collect(), ahead];
        let mut simulated = Simulation::new(seed)
            .parallelism(1)
            .start(|job: &Job| {
                let watermarks = Watermarks::ascending().max_drift(seconds(2));
                job.source("events", Scripted::endless(splits.clone()))
                    .timestamps(|(_, at)| *at, watermarks)
                    .sink("out", for_each(|_| ()));
            })
            .unwrap();
        simulated.advance(minutes(3));
        let held = simulated.metrics();
        let held = held.operator("events").unwrap().sum_splits_held();
        assert!(held > 0, "seed {seed}");
        let polls = simulated.polls();
        assert!(polls < 1_000, "seed {seed}: {polls} polls");
    }
}

/// A window's results get times of their own: these have no split, however many there are before the window.
#[test]
fn results_of_an_operator_are_of_no_split() {
    for (parallelism, seed) in [1, 2]
        .into_iter()
        .flat_map(|p| (0..30).map(move |s| (p, s)))
    {
        // Of two subtasks, one has no results.
        let watermarks = || match parallelism {
            1 => Watermarks::ascending(),
            _ => Watermarks::ascending().idle_after(seconds(1)),
        };
        let fired = Arc::new(Mutex::new(Vec::new()));
        let mut simulated = Simulation::new(seed)
            .parallelism(parallelism)
            .start(|job: &Job| {
                let fired = Arc::clone(&fired);
                let splits = vec![records((0..400).map(|n| n * 10)); 3];
                job.source("events", Scripted::endless(splits))
                    .timestamps(|(_, at)| *at, millis(0))
                    .key_by(|_| 0u64)
                    .window(tumbling(millis(100)))
                    .count("first")
                    .timestamps(|(_, span, _)| span.start, watermarks())
                    .key_by(|_| 0u64)
                    .window(tumbling(millis(1_000)))
                    .count("second")
                    .sink(
                        "out",
                        for_each(move |(_, span, count): (u64, Span, u64)| {
                            fired.lock().push((span.start.0, count));
                        }),
                    );
            })
            .unwrap();
        simulated.advance(seconds(60));
        let fired = fired.lock();
        let whole = [(0, 10), (1_000, 10), (2_000, 10)];
        assert_eq!(*fired, whole, "seed {seed} at {parallelism}");
    }
}

#[test]
fn results_of_calls_are_of_no_split() {
    for seed in 0..50 {
        let fired = Arc::new(Mutex::new(Vec::new()));
        let mut simulated = Simulation::new(seed)
            .parallelism(1 + seed as usize % 2)
            .start(|job: &Job| {
                let fired = Arc::clone(&fired);
                let splits = vec![records((0..300).map(|n| n * 10)); 2];
                let watermarks = Watermarks::bounded(seconds(10)).idle_after(seconds(60));
                job.source("events", Scripted::endless(splits))
                    .call(
                        "slow",
                        Calls::unordered(3),
                        |(_, at): (usize, i64)| async move {
                            sleep(Duration::from_millis(at as u64 % 7)).await;
                            Ok::<_, String>(at)
                        },
                    )
                    .timestamps(|at| *at, watermarks)
                    .key_by(|_| 0u64)
                    .window(tumbling(millis(1_000)))
                    .count("counts")
                    .sink(
                        "out",
                        for_each(move |(_, span, count): (u64, Span, u64)| {
                            fired.lock().push((span.start.0, count));
                        }),
                    );
            })
            .unwrap();
        simulated.advance(seconds(30));
        assert!(fired.lock().is_empty(), "seed {seed}: the bound");
        let metrics = simulated.metrics();
        let out = metrics.operator("slow").unwrap().sum_out();
        assert_eq!((out, late(&metrics)), (600, 0), "seed {seed}");
        let watermarks = &metrics.operator("counts").unwrap().watermark;
        assert!(
            watermarks.iter().all(|at| *at == Some(2_990 - 10_001)),
            "seed {seed}: {watermarks:?}"
        );
    }
}

/// Says from its second record on that time has ended.
#[derive(Default)]
struct Hasty(u32);

impl WatermarkGenerator<u64> for Hasty {
    fn record(&mut self, _: &u64, _: Timestamp) {
        self.0 += 1;
    }

    fn watermark(&self) -> Timestamp {
        if self.0 > 1 {
            Timestamp::MAX
        } else {
            Timestamp::MIN
        }
    }
}

#[test]
fn a_generator_does_not_end_time() {
    let timed = |numbers: Stream<u64>| {
        let timed = numbers.timestamps(|n| *n, Watermarks::custom(Hasty::default));
        timed.key_by(|n| n % 3).count("counts")
    };
    let mut harness = Harness::new(&Simulation::new(3), timed).unwrap();
    harness.push([1, 2, 3]);
    let last = Timestamp(i64::MAX - 1);
    assert_eq!(harness.output_watermarks(), [last]);
    harness.push([4]);
    assert!(harness.output_watermarks().is_empty());
    harness.end();
    harness.simulated().settle();
    assert_eq!(harness.output_watermarks(), [Timestamp::MAX]);
}

/// Both with an exchange before them and without.
#[test]
fn processes_and_joins_show_their_watermark() {
    #[derive(Clone)]
    struct Pass;

    impl Process for Pass {
        type Key = u64;
        type In = (usize, i64);
        type State = u64;
        type Out = (usize, i64);

        fn element(&self, record: &(usize, i64), context: &mut Context<'_, Self>) {
            context.emit(*record);
        }
    }

    for parallelism in [1, 2] {
        let mut simulated = Simulation::new(1)
            .parallelism(parallelism)
            .start(|job: &Job| {
                let splits = vec![records((0..=40).map(|n| n * 10))];
                let events = job
                    .source("events", Scripted::endless(splits))
                    .timestamps(|(_, at)| *at, millis(0))
                    .stream();
                let passed = events.key_by(|(_, at)| *at as u64).process("pass", Pass);
                let other = passed.clone().key_by(|(_, at)| *at as u64);
                passed
                    .key_by(|(_, at)| *at as u64)
                    .interval_join(other, millis(0), millis(1))
                    .inner("join", |a, _| *a)
                    .sink("out", for_each(|_| ()));
            })
            .unwrap();
        simulated.advance(seconds(10));
        let metrics = simulated.metrics();
        for name in ["pass", "join"] {
            let shown = &metrics.operator(name).unwrap().watermark;
            assert_eq!(
                *shown,
                vec![Some(399); parallelism],
                "{name} at {parallelism}"
            );
        }
    }
}

/// A source that has nothing, and is to be asked again at a time that has passed.
#[derive(Clone)]
struct Impatient(Arc<AtomicU64>);

struct ImpatientReader(Arc<AtomicU64>);

impl Source for Impatient {
    type Out = u64;
    type Split = ();
    type Reader = ImpatientReader;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(&self, (): (), _: Option<u64>, _: &ReaderContext) -> Result<ImpatientReader, BoxError> {
        Ok(ImpatientReader(Arc::clone(&self.0)))
    }
}

impl Reader for ImpatientReader {
    type Out = u64;
    type Position = u64;

    fn read(&mut self, _: &mut impl Intake<u64>) -> Result<Status, BoxError> {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(asked < 1_000_000, "nobody else could run");
        Ok(Status::Idle(Some(Moment::ZERO)))
    }

    fn position(&self) -> u64 {
        0
    }
}

#[test]
fn a_reader_that_has_nothing_lets_others_run() {
    let asked = Arc::new(AtomicU64::new(0));
    let mut simulated = Simulation::new(5)
        .parallelism(1)
        .start(|job: &Job| {
            job.source("events", Impatient(Arc::clone(&asked)))
                .sink("out", for_each(|_| ()));
        })
        .unwrap();
    for _ in 0..100 {
        simulated.step();
    }
    simulated.cancel();
    simulated.settle();
    assert!(simulated.is_done());
    let asked = asked.load(Ordering::Relaxed);
    assert!((100..1_000_000).contains(&asked), "{asked}");
}

//! Tumbling and sliding windows against a model that keeps every record.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use levada::prelude::*;
use levada_testing::{Harness, Simulation};
use proptest::prelude::*;

/// A key and a number.
type Event = (u8, u64);
/// A window's result: the sum of its numbers.
type Row = (u8, Span, u64);

/// Windows of a width, a slide and an offset, which take records for a while after their end.
#[derive(Clone, Copy, Debug)]
struct Shape {
    width: i64,
    slide: i64,
    offset: i64,
    lateness: i64,
}

/// What windows do, written down without any thought of speed.
struct Model {
    shape: Shape,
    watermark: i64,
    records: Vec<(u8, i64, u64)>,
    /// Windows that had fired before a record was added to them.
    changed: BTreeSet<(u8, i64)>,
    late: Vec<Event>,
}

impl Model {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            watermark: i64::MIN,
            records: Vec::new(),
            changed: BTreeSet::new(),
            late: Vec::new(),
        }
    }

    fn starts(&self, at: i64) -> Vec<i64> {
        let Shape {
            width,
            slide,
            offset,
            ..
        } = self.shape;
        let last = (at - offset).div_euclid(slide) * slide + offset;
        let starts = (0..).map(|n| last - n * slide);
        starts.take_while(|start| start + width > at).collect()
    }

    fn record(&mut self, (key, n): Event, at: i64) {
        let starts = self.starts(at);
        let Shape {
            width, lateness, ..
        } = self.shape;
        let watermark = self.watermark;
        let takes = |start: &i64| start + width - 1 + lateness > watermark;
        if starts.is_empty() {
            return;
        }
        if !starts.iter().any(takes) {
            self.late.push((key, n));
            return;
        }
        self.records.push((key, at, n));
        for start in starts.into_iter().filter(takes) {
            if start + width - 1 <= watermark {
                self.changed.insert((key, start));
            }
        }
    }

    /// The results of a watermark, sorted.
    fn watermark(&mut self, watermark: i64) -> Vec<Row> {
        let before = std::mem::replace(&mut self.watermark, watermark);
        let mut firing = std::mem::take(&mut self.changed);
        for (key, at, _) in &self.records {
            for start in self.starts(*at) {
                let last = start + self.shape.width - 1;
                if before < last && last <= watermark {
                    firing.insert((*key, start));
                }
            }
        }
        firing
            .into_iter()
            .map(|(key, start)| {
                let end = start + self.shape.width;
                let records = self.records.iter();
                let inside =
                    records.filter(|(other, at, _)| *other == key && (start..end).contains(at));
                let span = Span {
                    start: Timestamp(start),
                    end: Timestamp(end),
                };
                (key, span, inside.map(|(_, _, n)| n).sum())
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Act {
    Record(Event, i64),
    /// A watermark so much later.
    Watermark(i64),
    /// A watermark so much later; then again and again, after some polls, a snapshot, a restore at this parallelism, and a
    /// watermark that is so much earlier.
    Interrupted(i64, Vec<(u64, usize, i64)>),
    Restore(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => ((0..4u8, 1..9u64), -60..60i64).prop_map(|(event, at)| Act::Record(event, at)),
        4 => (1..25i64).prop_map(Act::Watermark),
        3 => (1..40i64, prop::collection::vec((0..30u64, 1..5usize, 0..20i64), 1..4))
            .prop_map(|(by, cuts)| Act::Interrupted(by, cuts)),
        1 => (1..5usize).prop_map(Act::Restore),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        1..20i64,
        1..20i64,
        0..20i64,
        prop_oneof![Just(0), 1..30i64],
        any::<bool>(),
    )
        .prop_map(|(width, slide, offset, lateness, tumbling)| Shape {
            width,
            slide: if tumbling { width } else { slide },
            offset,
            lateness,
        })
}

/// Late records, as they come.
type Late = Arc<Mutex<Vec<Event>>>;

fn sums(shape: Shape, late: &Late) -> impl Fn(Stream<Event>) -> Stream<Row> {
    let late = Arc::clone(late);
    move |events| {
        let windows = sliding(millis(shape.width as u64), millis(shape.slide as u64))
            .offset(millis(shape.offset as u64));
        let (windows, too_late) = events
            .key_by(|(key, _)| *key)
            .window(windows)
            .allowed_lateness(millis(shape.lateness as u64))
            .late();
        let late = Arc::clone(&late);
        too_late.sink(
            "late",
            for_each(move |event| late.lock().expect("nobody panics with it").push(event)),
        );
        windows.aggregate("sums", |events| events.sum(|(_, n)| *n))
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, at whatever parallelism, and however often it is saved and restored.
    #[test]
    fn windows_do_what_the_model_does(
        shape in shape(),
        acts in prop::collection::vec(act(), 0..60),
        seed in any::<u64>(),
    ) {
        let mut model = Model::new(shape);
        let late = Late::default();
        let mut harness = Harness::new(&Simulation::new(seed), sums(shape, &late)).unwrap();
        let mut now = -70;
        for (i, act) in acts.into_iter().enumerate() {
            let simulation = Simulation::new(seed.wrapping_add(i as u64));
            match act {
                Act::Record(event, at) => {
                    model.record(event, at);
                    harness.push_at([(event, at)]);
                    prop_assert_eq!(&*late.lock().unwrap(), &model.late);
                    if i % 3 == 0 {
                        harness.checkpoint(0).unwrap();
                    }
                }
                Act::Watermark(by) => {
                    now += by;
                    harness.watermark(now);
                    prop_assert_eq!(sorted(harness.output()), model.watermark(now), "at {}", now);
                }
                Act::Interrupted(by, cuts) => {
                    now += by;
                    harness.feed_watermark(now);
                    let mut rows = Vec::new();
                    for (polls, parallelism, behind) in cuts {
                        for _ in 0..polls {
                            harness.simulated().step();
                        }
                        // What comes and fires while it is saved is not in the snapshot.
                        harness.feed_at([((0, 1_000), now.saturating_add(5))]);
                        let snapshot = harness.checkpoint(2 * polls).unwrap();
                        rows.extend(harness.output());
                        let simulation = simulation.clone().parallelism(parallelism);
                        harness = Harness::restored(&simulation, &snapshot, sums(shape, &late)).unwrap();
                        harness.feed_watermark(now - behind);
                    }
                    harness.watermark(now);
                    rows.extend(harness.output());
                    prop_assert_eq!(sorted(rows), model.watermark(now), "interrupted at {}", now);
                }
                Act::Restore(parallelism) => {
                    harness.feed_at([((0, 1_000), now.saturating_add(5))]);
                    let snapshot = harness.checkpoint(i as u64 % 8).unwrap();
                    let simulation = simulation.parallelism(parallelism);
                    harness = Harness::restored(&simulation, &snapshot, sums(shape, &late)).unwrap();
                }
            }
        }
        prop_assert_eq!(sorted(harness.finish()), model.watermark(i64::MAX - 1));
    }
}

/// One watermark completes very many windows: they fire in slices, between which others run, and a snapshot taken half-way
/// holds exactly those that have not fired.
#[test]
fn many_windows_at_once_fire_in_slices_and_survive_a_restore_half_way() {
    const WINDOWS: u64 = 150_000;
    for (slide, results) in [(10, WINDOWS), (5, 2 * WINDOWS)] {
        let counts = |events: Stream<u64>| {
            events
                .key_by(|n| n % 1_000)
                .window(sliding(millis(10), millis(slide)))
                .count("counts")
        };
        let simulation = |seed, parallelism| Simulation::new(seed).parallelism(parallelism);
        let mut harness = Harness::new(&simulation(7, 2), counts).unwrap();
        harness.push_at((0..WINDOWS).map(|n| (n, n as i64 * 10)));
        let last = WINDOWS as i64 * 10 + 10;
        harness.feed_watermark(last);
        let mut rows = Vec::new();
        let mut polls = 0;
        while rows.len() < 2 * WINDOWS as usize / 5 {
            harness.simulated().step();
            polls += 1;
            rows.extend(harness.output());
        }
        assert!(
            rows.len() < 4 * WINDOWS as usize / 5,
            "{} at once",
            rows.len()
        );
        assert!(polls > 20, "{polls} polls for {} results", rows.len());
        let snapshot = harness.checkpoint(200).unwrap();
        let mut restored = Harness::restored(&simulation(8, 3), &snapshot, counts).unwrap();
        restored.watermark(last);
        rows.extend(restored.output());
        assert_eq!(restored.output_watermarks(), [Timestamp(last)]);
        rows.sort_unstable();
        assert_eq!(rows.len() as u64, results);
        assert!(rows.iter().all(|(.., count)| *count == 1));
        rows.dedup();
        assert_eq!(rows.len() as u64, results, "no window fires twice");
    }
}

/// A window of very many keys has fired for some of them when it is saved. By the time it is written, all is over and its
/// slices are forgotten.
#[test]
fn a_great_window_is_saved_half_way_while_it_fires_to_its_end() {
    const KEYS: u64 = 20_000;
    let counts = |events: Stream<u64>| {
        events
            .key_by(|n| n % KEYS)
            .window(sliding(millis(10), millis(5)))
            .count("counts")
    };
    let simulation = |seed, parallelism| Simulation::new(seed).parallelism(parallelism);
    let mut harness = Harness::new(&simulation(7, 2), counts).unwrap();
    harness.push_at((0..KEYS).map(|n| (n, 7)));
    harness.checkpoint(0).unwrap();
    harness.feed_watermark(100);
    let mut rows = Vec::new();
    while rows.len() < KEYS as usize / 3 {
        harness.simulated().step();
        rows.extend(harness.output());
    }
    let first = rows.len();
    assert!(first < KEYS as usize, "{first} at once");
    let snapshot = harness.checkpoint(1_000).unwrap();
    assert_eq!(harness.output_watermarks(), [Timestamp(100)]);
    let mut restored = Harness::restored(&simulation(8, 3), &snapshot, counts).unwrap();
    restored.watermark(100);
    rows.extend(restored.output());
    rows.sort_unstable();
    assert_eq!(rows.len() as u64, 2 * KEYS, "{first} before");
    rows.dedup();
    assert_eq!(rows.len() as u64, 2 * KEYS, "no window fires twice");
}

#[test]
fn windows_that_are_gone_are_in_no_restored_state() {
    for slide in [5, 10] {
        let counts = |events: Stream<u64>| {
            let windows = sliding(millis(10), millis(slide));
            events.key_by(|n| n % 50).window(windows).count("counts")
        };
        let saved = |harness: &mut Harness<_, _>| -> usize {
            let snapshot = harness.snapshot().unwrap();
            snapshot.groups("counts").map(|(_, bytes)| bytes).sum()
        };
        let mut harness = Harness::new(&Simulation::new(1), counts).unwrap();
        for at in 0..20 {
            harness.push_at((0..50).map(|n| (n, at * 10)));
            harness.checkpoint(0).unwrap();
            harness.watermark(at * 10);
        }
        let chain = harness.checkpoint(0).unwrap();
        let expected = saved(&mut harness);
        let simulation = Simulation::new(2).parallelism(3);
        let mut restored = Harness::restored(&simulation, &chain, counts).unwrap();
        let found = saved(&mut restored);
        assert!(found <= expected, "{found} of {expected} bytes");
        drop(harness.output());
        assert_eq!(restored.finish().len(), harness.finish().len());
    }
}

/// What may come without event time must not come here.
#[test]
fn a_record_without_event_time_is_refused_by_name() {
    let failure = Simulation::new(1).failure(|job: &Job| {
        job.source("numbers", iterator(0..3u64))
            .key_by(|n| *n)
            .window(tumbling(seconds(1)))
            .count("per-second")
            .sink("out", for_each(|_| {}));
    });
    let failure = failure.expect("there is no event time");
    assert!(
        failure.contains("per-second") && failure.contains("a record has no event time"),
        "{failure}"
    );
}

#[test]
fn times_at_the_ends_of_the_range_have_windows() {
    for (at, start, end) in [
        (i64::MAX - 1, i64::MAX - 7, i64::MAX),
        (i64::MIN + 1, i64::MIN, i64::MIN + 8),
        (-1, -10, 0),
        (0, 0, 10),
    ] {
        let mut harness = Harness::new(&Simulation::new(1), |events: Stream<u8>| {
            events.global().window(tumbling(millis(10))).count("counts")
        })
        .unwrap();
        harness.push_at([(1, at)]);
        let span = Span {
            start: Timestamp(start),
            end: Timestamp(end),
        };
        assert_eq!(harness.finish(), [((), span, 1)], "{at}");
    }
}

#[test]
fn an_event_time_out_of_range_is_refused_by_name() {
    for at in [i64::MIN, i64::MAX] {
        let failure = Simulation::new(1).failure(move |job: &Job| {
            job.source("numbers", iterator([at]))
                .timestamps(|at| *at, seconds(1))
                .sink("out", for_each(|_| {}));
        });
        let failure = failure.expect("it is no event time");
        assert!(failure.contains("ms is no event time"), "{failure}");
        assert!(failure.contains("timestamps"), "{failure}");
        assert!(failure.contains("windows.rs"), "{failure}");
    }
}

#[test]
fn windows_of_no_width_are_refused_with_their_line() {
    let refused = levada::Runner::new().run(|job: &Job| {
        job.source("numbers", iterator(0..3u64))
            .key_by(|n| *n)
            .window(tumbling(std::time::Duration::from_micros(10)))
            .count("counts")
            .sink("out", for_each(|_| {}));
    });
    let error = format!(
        "{:?}",
        refused.expect_err("event time is counted in milliseconds")
    );
    assert!(error.contains("less than a millisecond"), "{error}");
    assert!(error.contains("windows.rs"), "{error}");
}

#[test]
fn late_records_without_windows_are_refused_with_their_line() {
    let refused = levada::Runner::new().run(|job: &Job| {
        let (_, late) = job
            .source("numbers", iterator(0..3u64))
            .key_by(|n| *n)
            .window(tumbling(seconds(1)))
            .late();
        late.sink("out", for_each(|_| {}));
    });
    let error = format!("{:?}", refused.expect_err("nothing is made of the windows"));
    assert!(error.contains("call `aggregate`"), "{error}");
    assert!(error.contains("windows.rs"), "{error}");
}

#[test]
fn late_records_and_two_phases_are_refused_with_their_line() {
    let refused = levada::Runner::new().run(|job: &Job| {
        let numbers = job.source("numbers", iterator(0..3u64));
        let (windows, late) = numbers.global().window(tumbling(seconds(1))).late();
        late.sink("late-out", for_each(|_| {}));
        windows
            .pre_aggregate()
            .count("counts")
            .sink("out", for_each(|_| {}));
    });
    let error = format!("{:?}", refused.expect_err("they cannot be told apart"));
    assert!(
        error.contains("use `late` without `pre_aggregate`"),
        "{error}"
    );
    assert!(error.contains("windows.rs"), "{error}");
}

//! State whose type changes from one version of a program to the next: migrated where there is a way, and refused where
//! there is none, before anything is read as what it is not.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use levada::prelude::*;
use levada::{CheckpointOptions, Restart, Runner, StartAt};

use crate::dense::{Event, dense};

use world::{Flavour, Kept, Out, V1, V2, V3, World, counting, flying, v2, v3};

/// What each job of a test keeps, without and with a time-to-live, in operators of all kinds.
#[test]
fn values_of_an_older_version_become_values_of_the_present_one_at_any_parallelism() {
    for (seed, flavour) in Flavour::ALL.into_iter().cycle().take(40).enumerate() {
        let seed = seed as u64;
        let world = World::new(seed);
        let parallelism = 1 + seed as usize % 4;
        let taken = world.killed_after(2, 3, |job, out| {
            counting::<V1>(job, flavour, version(1), out);
        });
        assert!(taken.chain > 1, "{flavour:?}, seed {seed}: {taken:?}");
        world.run(world.latest(), parallelism, |job, out| {
            counting::<V3>(job, flavour, v3(), out);
        });
        world.expect_as_without_break(flavour);
    }
}

/// Through two versions one after the other, and from the first one at once.
#[test]
fn the_first_checkpoint_after_a_migration_is_a_full_one_of_the_new_version() {
    for (seed, flavour) in Flavour::ALL.into_iter().enumerate() {
        let world = World::new(seed as u64);
        world.killed_after(2, 2, |job, out| {
            counting::<V1>(job, flavour, version(1), out);
        });
        let first = world.went_on_and_killed(1, 3, |job, out| {
            counting::<V2>(job, flavour, v2(), out);
        });
        assert_eq!(first.chain, 1, "{flavour:?}: it needs nothing of the old");
        let state = world.manifest(first.number).operators;
        let state = state.iter().find(|operator| operator.name == "counted");
        let state = state.unwrap().state.clone().unwrap();
        assert_eq!(state.version, 2);
        assert!(state.types["value"].fields.contains("doubled"), "{state:?}");
        let manifest = world.manifest(first.number);
        assert_eq!(manifest.own_bytes(), manifest.bytes());
        world.run(world.latest(), 1 + seed % 4, |job, out| {
            counting::<V3>(job, flavour, v3(), out);
        });
        world.expect_as_without_break(flavour);
    }
}

/// What the program keeps that wrote the checkpoint.
fn first(job: &Job, out: Out) {
    counting::<V1>(job, Flavour::Process, version(1), out);
}

/// The line of this file's `.process("counted", ..)` is in the message, with the name.
#[track_caller]
fn expect(text: &str, parts: &[&str]) {
    for part in ["`counted` (", "tests/checkpoints/versions/world.rs:"]
        .iter()
        .chain(parts)
    {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn state_that_looks_different_in_the_same_version_is_refused_with_the_way_out() {
    let world = World::new(1);
    world.killed_after(1, 2, first);
    let text = world.refused(world.latest(), |job, out| {
        counting::<V2>(job, Flavour::Process, version(1), out);
    });
    expect(
        &text,
        &[
            "value: `count` was u32 and is u64 now, `doubled` (u64) is new",
            "`.state(version(2).from(1, |old: ..| ..))`",
            "another name",
            "`--allow-dropped` alone does not help",
        ],
    );
    // Nor does it.
    let allowing = world.afresh().args(["--from", "latest", "--allow-dropped"]);
    let again = world.refused(allowing, |job, out| {
        counting::<V2>(job, Flavour::Process, version(1), out);
    });
    expect(&again, &["`count` was u32"]);
    // Another type of the same fields is the same state.
    #[derive(Clone, Default, serde::Deserialize, serde::Serialize)]
    struct Renamed {
        count: u32,
    }
    impl Kept for Renamed {
        fn add(&mut self, count: u64) {
            self.count += u32::try_from(count).unwrap();
        }
        fn count(&self) -> u64 {
            self.count.into()
        }
    }
    world.run(world.latest(), 3, |job, out| {
        counting::<Renamed>(job, Flavour::Process, version(1), out);
    });
    world.expect_as_without_break(Flavour::Process);
}

#[test]
fn a_version_without_a_way_from_the_old_one_is_refused_and_so_is_an_older_one() {
    let world = World::new(2);
    let taken = world.killed_after(1, 2, first);
    let text = world.refused(world.latest(), |job, out| {
        let from_2 = version(3).from(2, |old: V2| V3 {
            doubled: old.doubled,
            ..V3::default()
        });
        counting::<V3>(job, Flavour::Process, from_2, out);
    });
    expect(
        &text,
        &[
            "has version 1 in the checkpoint and version 3 in the program",
            "no way from 1",
            "add `.from(1, |old: ..| ..)` to `version(3)` (it has one from 2)",
        ],
    );
    // What the way is from must be what is there.
    let text = world.refused(world.latest(), |job, out| {
        let wrong = version(2).from(1, |old: V2| old);
        counting::<V2>(job, Flavour::Process, wrong, out);
    });
    expect(
        &text,
        &[
            "looks different there than what `.from(1, |old: ..| ..)` takes",
            "`count` was u32",
        ],
    );
    world.went_on_and_killed(1, 2, |job, out| {
        counting::<V2>(job, Flavour::Process, v2(), out);
    });
    let text = world.refused(world.latest(), first);
    expect(
        &text,
        &[
            "has version 2 in the checkpoint and version 1 in the program",
            "is older than",
        ],
    );
    // Nobody but the program that asks is told so: the first one is still readable.
    assert_eq!(world.manifest(taken.number).number, taken.number);
}

#[test]
fn other_keys_are_refused_whatever_the_version() {
    let world = World::new(3);
    world.killed_after(1, 2, first);
    for version in [version(1), version(2).from(1, |old: V1| old)] {
        let text = world.refused(world.latest(), |job, out| {
            let numbers = job.source("numbers", dense(world::COUNT, 5));
            let keyed = numbers.key_by(|event| (event.id % 10) as u32);
            let version = version.clone();
            let counts = keyed
                .state(version)
                .process("counted", OtherKey)
                .rebalance();
            counts.map(|n| (n, n)).sink("out", out);
        });
        for part in [
            "the keys of `counted` (",
            "it was u64 and is u32 now",
            "cannot be migrated",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[derive(Clone)]
struct OtherKey;

impl Process for OtherKey {
    type Key = u32;
    type In = Event;
    type State = V1;
    type Out = u64;

    fn element(&self, _: &Event, context: &mut Context<'_, Self>) {
        context.state().add(1);
    }
}

#[test]
fn a_time_to_live_that_was_not_there_is_refused() {
    let world = World::new(4);
    world.killed_after(1, 2, first);
    let text = world.refused(world.latest(), |job, out| {
        counting::<V1>(job, Flavour::Dated, version(1), out);
    });
    expect(&text, &["there was no time of last use then"]);
}

#[test]
fn a_way_that_panics_fails_the_restore_by_the_operator_s_name() {
    let world = World::new(5);
    let taken = world.killed_after(1, 2, first);
    let panicking = |job: &Job, out: Out| {
        let panicking = version(2).from(1, |old: V1| -> V2 {
            panic!("{} is not a count", old.count);
        });
        counting::<V2>(job, Flavour::Process, panicking, out);
    };
    for text in [
        world.failed(world.latest(), panicking),
        format!("{:?}", world.exported(taken.number, panicking).unwrap_err()),
    ] {
        assert!(text.contains("`counted` ("), "{text}");
        assert!(text.contains("panicked: "), "{text}");
        assert!(text.contains(" is not a count"), "{text}");
    }
    // Nothing has happened to the checkpoint.
    world.run(world.latest(), 4, first);
    world.expect_as_without_break(Flavour::Process);
}

#[test]
fn versions_that_make_no_sense_are_refused_when_the_job_is_built() {
    let world = World::new(6);
    for (version, expected) in [
        (version(0), "counted from 1"),
        (
            version(2).from(2, |old: V1| old),
            "no way from version 2 of a state to version 2",
        ),
        (
            version(2).from(0, |old: V1| old),
            "no way from version 0 of a state to version 2",
        ),
        (
            version(2).from(1, |old: V1| old).from(1, |old: V1| old),
            "two ways from version 1 of a state to version 2",
        ),
    ] {
        for flavour in Flavour::ALL {
            let text = world.refused(world.afresh(), |job, out| {
                counting::<V1>(job, flavour, version.clone(), out);
            });
            assert!(text.contains(expected), "{flavour:?}: {text}");
            assert!(
                text.contains("tests/checkpoints/versions/world.rs:"),
                "{flavour:?}: {text}"
            );
        }
    }
}

#[test]
fn records_in_flight_of_another_type_are_refused_and_without_any_the_type_may_change() {
    let narrow = |job: &Job, out: Out| flying(job, |id| id as u32, |id| u64::from(*id), out);
    let wide = |job: &Job, out: Out| flying(job, |id| id, |id| *id, out);
    let world = World::new(7);
    let taken = world.killed_in_flight(narrow);
    assert!(taken.in_flight_records > 0, "{taken:?}");
    let text = world.refused(world.latest(), wide);
    expect(
        &text,
        &[
            "records for `counted`",
            "were in flight on `numbers -> counted",
            "was u32 and is u64 now",
            "savepoint",
        ],
    );
    world.run(world.latest(), 3, narrow);
    // An aligned checkpoint has none.
    let world = World::new(8);
    let taken = world.killed_after(1, 2, narrow);
    assert_eq!(taken.in_flight_records, 0, "{taken:?}");
    world.run(world.latest(), 3, wide);
}

#[test]
fn what_is_exported_of_an_old_checkpoint_is_migrated() {
    for (seed, flavour) in [Flavour::Process, Flavour::Clearing, Flavour::Fold]
        .into_iter()
        .enumerate()
    {
        let world = World::new(10 + seed as u64);
        let taken = world.killed_after(2, 3, |job, out| {
            counting::<V1>(job, flavour, version(1), out);
        });
        let as_it_was = world.exported(taken.number, |job, out| {
            counting::<V1>(job, flavour, version(1), out);
        });
        let migrated = world.exported(taken.number, |job, out| {
            counting::<V3>(job, flavour, v3(), out);
        });
        let (as_it_was, migrated) = (as_it_was.unwrap(), migrated.unwrap());
        assert!(as_it_was.len() >= 10, "{as_it_was:?}");
        let expected: BTreeMap<_, _> = as_it_was
            .into_iter()
            .map(|(key, value)| {
                let count = value["count"].as_u64().unwrap();
                let now = V3 {
                    doubled: 2 * count,
                    count: Some(count),
                    note: "from 1".to_owned(),
                };
                (key, serde_json::to_value(now).unwrap())
            })
            .collect();
        assert_eq!(migrated, expected);
        let refused = world.exported(taken.number, |job, out| {
            counting::<V2>(job, flavour, version(1), out);
        });
        expect(&format!("{:?}", refused.unwrap_err()), &["`count` was u32"]);
    }
}

/// The state of a reduce is a record, so both change together.
#[test]
fn the_records_that_a_reduce_keeps_are_migrated() {
    fn reduced<R: levada::Exchange + Clone>(
        job: &Job,
        version: StateVersion<R>,
        make: fn(u64) -> R,
        sum: fn(&mut R, &R),
        value: fn(&R) -> u64,
        out: Out,
    ) {
        let numbers = job.source("numbers", dense(world::COUNT, 5));
        let numbers = numbers.timestamps(|event| event.at, seconds(1_000));
        let records = numbers.map(move |event| (event.id % 10, make(1))).stream();
        let running = records.clone().keyed().state(version.clone());
        let running = running
            .reduce("running", sum)
            .map(move |(key, row)| (key, value(&row)));
        let windows = records.keyed().window(tumbling(seconds(7))).state(version);
        let windows = windows.reduce("windows", sum);
        let windows = windows.map(move |(key, span, row)| (key, span.end.0 as u64 + value(&row)));
        running
            .stream()
            .union(windows.stream())
            .rebalance()
            .sink("out", out);
    }
    fn narrow(job: &Job, out: Out) {
        let sum = |into: &mut u32, other: &u32| *into += other;
        reduced(job, version(1), |n| n as u32, sum, |n| u64::from(*n), out);
    }
    fn wide(job: &Job, out: Out) {
        let sum = |into: &mut (u64, u8), other: &(u64, u8)| into.0 += other.0;
        let version = version(2).from(1, |old: u32| (u64::from(old), 7));
        reduced(job, version, |n| (n, 7), sum, |(n, _)| *n, out);
    }
    for seed in 0..4 {
        let world = World::new(20 + seed);
        let taken = world.killed_after(2, 2, narrow);
        assert!(taken.chain > 1 && taken.in_flight_records == 0, "{taken:?}");
        world.run(world.latest(), 1 + seed as usize, wide);
        let alone = World::new(30);
        alone.run(Runner::new(), 2, wide);
        assert!(world.rows() == alone.rows(), "seed {seed}");
        assert!(world.rows().len() > world::COUNT as usize);
    }
}

/// It goes on from the old checkpoint again, since there is no newer one.
#[test]
fn a_job_that_fails_before_its_first_checkpoint_migrates_again() {
    let dir = tempfile::tempdir().unwrap();
    let savepoint = dir.path().join("savepoint");
    let mut options = CheckpointOptions::new(dir.path().join("checkpoints"));
    options.every = None;
    let runner = Runner::new().parallelism(2).checkpoints(options);
    let numbers = |job: &Job| {
        let numbers = job.source("numbers", generator(|n| n).count(5_000));
        numbers.key_by(|n| n % 10)
    };
    let (seen, was_seen) = std::sync::mpsc::sync_channel(1);
    let old = |job: &Job| {
        let seen = seen.clone();
        let counted = numbers(job).fold("counted", move |state: &mut V1, n| {
            state.add(1);
            if *n == 200 {
                seen.send(()).unwrap();
            }
        });
        counted.at_end().sink("out", for_each(|_| {}));
    };
    let handle = runner.clone().throttle(5_000.0).start(old).unwrap();
    was_seen.recv().unwrap();
    handle.stop_with_savepoint(&savepoint).unwrap();
    handle.wait().unwrap();

    let failed = Arc::new(AtomicBool::new(false));
    let migrated = Arc::new(AtomicU64::new(0));
    let (sink, collected) = levada_testing::collect();
    let new = |job: &Job| {
        let (failed, migrated) = (Arc::clone(&failed), Arc::clone(&migrated));
        let version = version(2).from(1, move |old: V1| {
            migrated.fetch_add(1, Ordering::Relaxed);
            V2 {
                count: old.count.into(),
                doubled: 2 * u64::from(old.count),
            }
        });
        let counted = numbers(job)
            .state(version)
            .fold("counted", move |state, n| {
                if *n == 4_999 && !failed.swap(true, Ordering::Relaxed) {
                    panic!("once");
                }
                state.add(1);
            });
        let counts = counted.at_end().map(|(key, state)| (key, state.count()));
        counts.sink("out", sink.clone());
    };
    let restart = Restart::Fixed {
        delay: std::time::Duration::ZERO,
        restarts_max: 1,
    };
    let runner = runner.start_at(StartAt::Path(savepoint)).restart(restart);
    runner.run(new).unwrap();
    assert!(failed.load(Ordering::Relaxed));
    let migrated = migrated.load(Ordering::Relaxed);
    assert!(migrated > 0 && migrated.is_multiple_of(2), "{migrated}");
    assert_eq!(
        collected.sorted(),
        (0..10).map(|key| (key, 500)).collect::<Vec<_>>()
    );
}

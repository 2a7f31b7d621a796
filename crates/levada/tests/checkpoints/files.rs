//! Jobs that write files and lose their power in the middle: what they commit in the end is what an undisturbed run commits.
//!
//! `LEVADA_STORIES=10000` tells more stories than the few hundred of every test run.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, Event, Runner, StartAt};
use levada_core::random::SplitMix64;
use levada_testing::{MemoryDisk, Simulated, Simulation};

const OUT: &str = "/out";
const COUNT: u64 = 300;

/// What happened in one story of a job.
#[derive(Clone, Copy, Debug, Default)]
struct Story {
    /// How often the power was lost.
    lost: u64,
    completed: u64,
    restored: u64,
    in_flight: u64,
    rescaled: u64,
}

/// How many stories are told.
fn stories() -> u64 {
    let stories = env::var("LEVADA_STORIES").ok();
    stories.map_or(300, |stories| stories.parse().expect("a number of stories"))
}

fn options(random: &mut SplitMix64) -> CheckpointOptions {
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = Some(Duration::from_micros(300 + random.below(5_000)));
    options.alignment_timeout = match random.below(3) {
        0 => None,
        1 => Some(Duration::ZERO),
        _ => Some(Duration::from_micros(random.below(2_000))),
    };
    options.chain_max = 1 + random.below(5) as usize;
    options
}

fn simulation(
    disk: &MemoryDisk,
    random: &mut SplitMix64,
    options: CheckpointOptions,
    parallelism: usize,
) -> Simulation {
    let runner = Runner::new().checkpoints(options).start_at(StartAt::Latest);
    Simulation::new(random.next())
        .with_disk(disk.clone())
        .parallelism(parallelism)
        .runner(runner)
}

/// Runs a job whose power is lost now and then, in the middle of whatever is done to the disk, until it comes to its end.
fn live(seed: u64, disk: &MemoryDisk, job: &dyn Fn(&Job)) -> Story {
    let mut random = SplitMix64::new(seed ^ 0xf11e5);
    let losses_max = 1 + random.below(5);
    let mut story = Story::default();
    let mut before = None;
    loop {
        let parallelism = 1 + random.below(4) as usize;
        let options = options(&mut random);
        let simulation = simulation(disk, &mut random, options, parallelism);
        let is_last = story.lost >= losses_max;
        if !is_last {
            disk.power_off_after(1 + random.below(60));
        }
        // Without power a job may not even start.
        match simulation.start(job) {
            Err(error) => assert!(disk.is_dark(), "seed {seed}, {story:?}: {error:?}"),
            Ok(mut simulated) => {
                go_on(seed, &mut simulated, disk);
                let checkpoints = simulated.checkpoints();
                story.completed += checkpoints.completed;
                story.restored += u64::from(checkpoints.restored.is_some());
                story.rescaled += u64::from(
                    checkpoints.restored.is_some() && before.is_some_and(|p| p != parallelism),
                );
                if let Some(last) = checkpoints.last {
                    story.in_flight += last.in_flight_records;
                }
                before = Some(parallelism);
                if !disk.is_dark() {
                    simulated.finish().expect_finished();
                    return story;
                }
                simulated.kill();
            }
        }
        disk.crash(random.next());
        story.lost += 1;
    }
}

/// Until the job is at its end, or in the dark.
fn go_on(seed: u64, simulated: &mut Simulated, disk: &MemoryDisk) {
    while !simulated.is_done() && !disk.is_dark() {
        assert!(simulated.step(), "seed {seed}: the job is stuck");
        assert!(
            simulated.polls() < 20_000_000,
            "seed {seed}: the job does not end"
        );
    }
}

/// The lines that are committed, sorted.
fn lines(disk: &MemoryDisk) -> Vec<String> {
    let mut lines = Vec::new();
    for path in disk.paths() {
        let name = path.file_name().expect("a file has a name");
        let is_committed = name.to_string_lossy().starts_with("part-");
        if path.starts_with(OUT) && is_committed {
            let text = disk.get(&path).expect("it is listed");
            let text = String::from_utf8(text).expect("parts are text");
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines.sort_unstable();
    lines
}

/// Tells the stories of a job, and compares each with the lines that are expected.
#[track_caller]
#[expect(clippy::print_stdout, reason = "it shows that it has happened")]
fn check(job: &dyn Fn(&Job), expected: &[String]) {
    let mut all = Story::default();
    for seed in 0..stories() {
        let disk = MemoryDisk::default();
        let story = live(seed, &disk, job);
        let found = lines(&disk);
        assert!(
            found == expected,
            "seed {seed}, {story:?}: {} lines, {} expected",
            found.len(),
            expected.len()
        );
        let hidden =
            |path: &Path| path.starts_with(OUT) && path.to_string_lossy().contains("/.part-");
        let left: Vec<_> = disk
            .paths()
            .into_iter()
            .filter(|path| hidden(path))
            .collect();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
        all.lost += story.lost;
        all.completed += story.completed;
        all.restored += story.restored;
        all.in_flight += story.in_flight;
        all.rescaled += story.rescaled;
    }
    println!("{} stories: {all:?}", stories());
    assert!(all.lost > 0 && all.completed > 0 && all.restored > 0);
    assert!(all.in_flight > 0 && all.rescaled > 0);
}

/// The running count of each key.
fn counts(job: &Job) {
    job.source("numbers", iterator(0..COUNT))
        .rebalance()
        .flat_map(|n| [n % 7, 100 + n % 3])
        .key_by(|n| *n)
        .count("counts")
        .map(|(key, count)| format!("{key} {count}"))
        .rebalance()
        .sink("out", files(OUT));
}

#[test]
fn counts_are_committed_once_whenever_the_power_is_lost() {
    let mut counts_of = BTreeMap::new();
    let mut expected = Vec::new();
    for n in 0..COUNT {
        for key in [n % 7, 100 + n % 3] {
            let count = counts_of.entry(key).or_insert(0);
            *count += 1;
            expected.push(format!("{key} {count}"));
        }
    }
    expected.sort_unstable();
    check(&counts, &expected);
}

/// Sums in windows, written by the task that keeps the state.
fn windows(job: &Job) {
    job.source("numbers", iterator(0..COUNT))
        .timestamps(|n| *n * 10, millis(0))
        .key_by(|n| n % 5)
        .window(tumbling(millis(100)))
        .fold("sums", |sum: &mut u64, n| *sum += n)
        .map(|(key, span, sum)| format!("{key} {} {sum}", span.start.0))
        .sink("out", files(OUT));
}

fn expected_windows() -> Vec<String> {
    let mut sums = BTreeMap::new();
    for n in 0..COUNT {
        *sums.entry((n % 5, n * 10 / 100 * 100)).or_insert(0) += n;
    }
    let lines = sums.into_iter();
    let lines = lines.map(|((key, start), sum)| format!("{key} {start} {sum}"));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines
}

#[test]
fn windows_are_committed_once_whenever_the_power_is_lost() {
    check(&windows, &expected_windows());
}

/// As [`windows`], but the state is gone before the sink has ended: its task ends before the last checkpoint.
fn windows_before_an_exchange(job: &Job) {
    job.source("numbers", iterator(0..COUNT))
        .timestamps(|n| *n * 10, millis(0))
        .key_by(|n| n % 5)
        .window(tumbling(millis(100)))
        .fold("sums", |sum: &mut u64, n| *sum += n)
        .map(|(key, span, sum)| format!("{key} {} {sum}", span.start.0))
        .rebalance()
        .sink("out", files(OUT));
}

/// What a task that has ended kept in an earlier checkpoint does not come back.
#[test]
fn a_job_that_is_at_its_end_changes_nothing_when_it_is_started_again() {
    let mut based = 0;
    for seed in 0..stories().min(100) {
        let mut random = SplitMix64::new(seed);
        let disk = MemoryDisk::default();
        for parallelism in [1 + seed as usize % 3, 1 + seed as usize % 4] {
            let mut options = options(&mut random);
            options.every = Some(Duration::from_micros(300));
            options.chain_max = 16;
            let simulation = simulation(&disk, &mut random, options, parallelism);
            let mut simulated = simulation.start(windows_before_an_exchange).unwrap();
            go_on(seed, &mut simulated, &disk);
            let last = simulated.checkpoints().last;
            based += u64::from(last.is_some_and(|last| last.chain > 1));
            simulated.finish().expect_finished();
            assert!(lines(&disk) == expected_windows(), "seed {seed}");
        }
    }
    assert!(based > 0, "some last checkpoint is based on another");
}

type Trouble = fn(&MemoryDisk, u64);

/// What is wrong with a disk, after so much has been done to it.
const TROUBLES: [(&str, Trouble); 2] = [
    ("full", |disk, n| disk.fill_after(n as usize * 100)),
    ("unsynced", |disk, n| disk.fail_syncs_after(n)),
];

/// A job that writes nothing but checkpoints goes on when they fail, and takes others when the disk is well again.
#[test]
fn checkpoints_fail_for_a_while_and_the_job_goes_on() {
    for (name, trouble) in TROUBLES {
        let (mut failed, mut recovered) = (0, 0);
        for seed in 0..stories().min(100) {
            let mut random = SplitMix64::new(seed);
            let disk = MemoryDisk::default();
            let mut options = options(&mut random);
            options.every = Some(Duration::from_micros(200));
            let parallelism = 1 + random.below(4) as usize;
            let simulation = simulation(&disk, &mut random, options, parallelism);
            let job = |job: &Job| {
                let numbers = generator(|n| n).count(10 * COUNT).rate(100_000.0);
                let numbers = job.source("numbers", numbers).rebalance();
                numbers.key_by(|n| n % 7).count("counts").discard();
            };
            let mut simulated = simulation.start(job).unwrap();
            trouble(&disk, 1 + random.below(10));
            let mut before = None;
            while !simulated.is_done() {
                assert!(simulated.step(), "{name}, seed {seed}: the job is stuck");
                let checkpoints = simulated.checkpoints();
                if before.is_none() && checkpoints.failed > 0 {
                    before = Some(checkpoints.completed);
                    disk.heal();
                }
            }
            let after = simulated.checkpoints();
            let run = simulated.finish();
            run.expect_finished();
            let told = run.events.iter();
            let told = told.filter(|event| matches!(event, Event::CheckpointFailed { .. }));
            assert_eq!(told.count() as u64, after.failed, "{name}, seed {seed}");
            failed += after.failed;
            recovered += u64::from(before.is_some_and(|before| after.completed > before + 1));
        }
        println!("{name}: {failed} checkpoints failed, {recovered} jobs took some after that");
        assert!(failed > 0 && recovered > 0, "{name}");
    }
}

/// A sink that cannot write fails the job. What was complete before is as good as it was: the job goes on from there.
#[test]
fn a_job_that_failed_for_want_of_a_disk_goes_on_from_its_last_checkpoint() {
    for (name, trouble) in TROUBLES {
        let (mut failed, mut restored) = (0, 0);
        for seed in 0..stories().min(100) {
            let mut random = SplitMix64::new(seed ^ 0xd15c);
            let disk = MemoryDisk::default();
            trouble(&disk, 1 + random.below(150));
            loop {
                let options = options(&mut random);
                let parallelism = 1 + random.below(4) as usize;
                let simulation = simulation(&disk, &mut random, options, parallelism);
                // A sink that cannot take its directory is opened by nobody.
                let is_well = match simulation.start(windows) {
                    Err(_) => false,
                    Ok(mut simulated) => {
                        while !simulated.is_done() {
                            assert!(simulated.step(), "{name}, seed {seed}: the job is stuck");
                        }
                        restored += u64::from(simulated.checkpoints().restored.is_some());
                        let run = simulated.finish();
                        run.expect_empty();
                        run.outcome.is_ok()
                    }
                };
                if is_well {
                    break;
                }
                failed += 1;
                assert!(
                    failed < 1_000,
                    "{name}, seed {seed}: it fails on a disk that is well"
                );
                disk.heal();
            }
            assert!(lines(&disk) == expected_windows(), "{name}, seed {seed}");
        }
        println!("{name}: {failed} jobs failed, {restored} went on");
        assert!(failed > 0 && restored > 0, "{name}");
    }
}

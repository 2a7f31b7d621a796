//! The limit of the memory for keyed state: a job whose state grows fails before it has taken much more, what is estimated is
//! about what the process takes, and state that shrinks is counted down.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::process::Command;
use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, Event, Restart, Runner, StartAt};
use levada_core::Timestamp;
use levada_runtime::checkpoint::Purpose;
use levada_testing::{MemoryDisk, Simulation};

const MIB: u64 = 1 << 20;

/// A key for each record, and a list of a few numbers.
fn growing(job: &Job) {
    job.source("numbers", iterator(0..u64::MAX))
        .key_by(|n| format!("a key that is somewhat longer: {n}"))
        .fold("lists", |list: &mut Vec<u64>, n| list.push(*n))
        .sink("out", for_each(|_| {}));
}

#[test]
fn a_job_whose_state_grows_fails_and_says_of_what() {
    for parallelism in [1, 3] {
        let limit = 32 * MIB;
        let handle = Runner::new()
            .parallelism(parallelism)
            .args(["--state-memory", "32MiB"])
            .restart(Restart::Fixed {
                delay: Duration::ZERO,
                restarts_max: 1_000,
            })
            .start(growing)
            .unwrap();
        while !handle.wait_for(Duration::from_secs(1)) {}
        let restarts = (handle.events().try_iter())
            .filter(|event| matches!(event, Event::Restarting { .. }))
            .count();
        assert_eq!(restarts, 0, "it would fail again");
        let (report, result) = handle.end();
        let error = format!("{:?}", result.unwrap_err());
        println!("{error}");
        for part in [
            "`lists` (",
            "state_memory.rs:",
            "keyed state takes 3",
            "more than the 32 MiB that it may: `lists`",
            "`--state-memory`",
            "time-to-live",
        ] {
            assert!(error.contains(part), "no {part} in: {error}");
        }
        let most = report
            .metrics
            .operator("lists")
            .unwrap()
            .sum_state_bytes_max();
        assert!(most > limit && most < limit + limit / 4, "{most}");
        assert!(
            report.to_string().contains("state of lists: at most 3"),
            "{report}"
        );
    }
}

/// What a child of this test does, by its name: it tells what was estimated, and what its memory grew by.
fn shape(name: &str) -> (u64, u64) {
    let before = of_status("VmRSS:");
    let run = |job: &dyn Fn(&Job)| {
        let runner = Runner::new().parallelism(1).state_memory(u64::MAX);
        runner.run(job).unwrap()
    };
    let report = match name {
        "numbers" => run(&|job: &Job| {
            let numbers = job.source("numbers", iterator(0..1_000_000u64));
            let keyed = numbers.key_by(|n| *n);
            keyed.count("state").at_end().sink("out", for_each(|_| {}));
        }),
        "many" => run(&|job: &Job| {
            let numbers = job.source("numbers", iterator(0..1_500_000u64));
            let keyed = numbers.key_by(|n| format!("the key of a customer {}", n % 300_000));
            keyed
                .fold("state", |list: &mut Vec<u64>, n| list.push(*n))
                .at_end()
                .sink("out", for_each(|_| {}));
        }),
        "few" => run(&|job: &Job| {
            let numbers = job.source("numbers", iterator(0..8_000_000u64));
            let keyed = numbers.key_by(|n| n % 3);
            keyed
                .fold("state", |list: &mut Vec<u64>, n| list.push(*n))
                .at_end()
                .sink("out", for_each(|_| {}));
        }),
        // One of many has nearly everything.
        "uneven" => run(&|job: &Job| {
            let numbers = job.source("numbers", iterator(0..5_000_000u64));
            let keyed = numbers.key_by(|n| if n % 50 == 0 { n / 50 } else { u64::MAX });
            keyed
                .fold("state", |list: &mut Vec<u64>, n| list.push(*n))
                .at_end()
                .sink("out", for_each(|_| {}));
        }),
        "windows" => run(&|job: &Job| {
            let numbers = job.source("numbers", iterator(0..1_000_000u64));
            let timed = numbers.timestamps(|n: &u64| Timestamp((*n / 100) as i64), Duration::ZERO);
            timed
                .key_by(|n| format!("the key of a customer {}", n % 200_000))
                .window(tumbling(seconds(6)))
                .fold("state", |list: &mut Vec<u64>, n| list.push(*n))
                .sink("out", for_each(|_| {}));
        }),
        "sessions" => run(&|job: &Job| {
            let numbers = job.source("numbers", iterator(0..500_000u64));
            let timed = numbers.timestamps(|n: &u64| Timestamp((*n / 100) as i64), Duration::ZERO);
            timed
                .key_by(|n| format!("the key of a customer {n}"))
                .window(session(seconds(60)))
                .count("state")
                .sink("out", for_each(|_| {}));
        }),
        "join" => run(&|job: &Job| {
            let left = job.source("left", iterator(0..300_000u64));
            let right = job.source("right", iterator(0..300_000u64));
            let keyed = |side: Stream<u64>| {
                side.map(|n| (n % 100_000, format!("the row of a customer {n}")))
                    .keyed()
            };
            keyed(left.stream())
                .join(keyed(right.stream()))
                .inner("state", |left: &String, right: &String| {
                    left.len() + right.len()
                })
                .sink("out", for_each(|_| {}));
        }),
        other => panic!("no shape {other}"),
    };
    let estimated = report
        .metrics
        .operator("state")
        .unwrap()
        .sum_state_bytes_max();
    (estimated, of_status("VmHWM:") - before)
}

/// A line of what the system knows of this process, in bytes.
fn of_status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    let kib: u64 = line
        .trim()
        .strip_suffix("kB")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kib * 1024
}

#[test]
fn what_is_estimated_is_about_what_the_process_takes() {
    if let Ok(name) = std::env::var("LEVADA_SHAPE") {
        let (estimated, taken) = shape(&name);
        println!("estimated={estimated} taken={taken}");
        return;
    }
    for name in [
        "numbers", "many", "few", "uneven", "windows", "sessions", "join",
    ] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "state_memory::what_is_estimated_is_about_what_the_process_takes",
                "--nocapture",
            ])
            .env("LEVADA_SHAPE", name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        let number = |of: &str| -> u64 {
            let found = text
                .split_whitespace()
                .find_map(|word| word.strip_prefix(of));
            found
                .unwrap_or_else(|| panic!("{name}: {text}"))
                .parse()
                .unwrap()
        };
        let (estimated, taken) = (number("estimated="), number("taken="));
        println!(
            "{name}: estimated {} KiB, taken {} KiB",
            estimated >> 10,
            taken >> 10
        );
        assert!(taken > 16 * MIB, "{name} takes only {taken}");
        let ratio = estimated as f64 / taken as f64;
        assert!(
            (0.5..2.0).contains(&ratio),
            "{name}: {estimated} of {taken}"
        );
    }
}

/// Takes checkpoints when it is asked to.
fn checkpoints() -> CheckpointOptions {
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = None;
    options
}

fn lists(job: &Job) {
    let numbers = job.source("numbers", iterator(0..60_000u64));
    numbers
        .key_by(|n| format!("the key of a customer {n}"))
        .fold("lists", |list: &mut Vec<u64>, n| list.push(*n))
        .sink("out", for_each(|_| {}));
}

#[test]
fn a_checkpoint_whose_state_is_too_large_is_not_gone_on_from() {
    for seed in 0..4 {
        let disk = MemoryDisk::default();
        let simulation = |seed: u64, limit: u64| {
            let runner = Runner::new()
                .checkpoints(checkpoints())
                .start_at(StartAt::Latest)
                .state_memory(limit);
            let simulation = Simulation::new(seed).with_disk(disk.clone());
            simulation
                .parallelism(1 + (seed % 3) as usize)
                .runner(runner)
        };
        let mut before = simulation(seed, u64::MAX).start(lists).unwrap();
        assert!(before.run_until(|job| job.metrics().records_written() > 50_000));
        before.checkpoint(Purpose::Recovery, false);
        assert!(before.run_until(|job| job.checkpoints().completed == 1));
        let taken = before
            .metrics()
            .operator("lists")
            .unwrap()
            .sum_state_bytes();
        before.kill();
        disk.crash(seed);
        assert!(taken > 4 * MIB, "seed {seed}: {taken}");

        let error = simulation(seed + 1, taken / 4).start(lists).err().unwrap();
        let error = format!("{error:?}");
        assert!(
            error.contains("`lists` (") && error.contains("keyed state takes "),
            "seed {seed}: {error}"
        );
        // With enough of it the job goes on. It takes less than it took: tables are made for what is in them, and lists have no
        // spare room.
        let mut after = simulation(seed + 2, 2 * taken).start(lists).unwrap();
        let restored = after.metrics().operator("lists").unwrap().sum_state_bytes();
        assert!(
            restored > taken / 4 && restored < taken + taken / 4,
            "seed {seed}: {restored}, not {taken}"
        );
        while !after.is_done() {
            after.step();
        }
        after.finish().expect_finished();
    }
}

#[test]
fn state_that_shrinks_is_counted_down() {
    for seed in 0..4 {
        // A burst of keys, then very few; time goes on.
        let job = |job: &Job| {
            let numbers = job.source("numbers", iterator(0..400_000u64));
            let timed = numbers.timestamps(|n: &u64| Timestamp(*n as i64), Duration::ZERO);
            let keyed = timed.key_by(|n| if *n < 50_000 { *n } else { n % 10 });
            keyed
                .window(sliding(seconds(60), seconds(10)))
                .count("windows")
                .sink("out", for_each(|_| {}));
        };
        let mut run = Simulation::new(seed).start(job).unwrap();
        let of = |metrics: &levada_runtime::metrics::JobMetrics| {
            metrics.operator("windows").unwrap().sum_state_bytes()
        };
        let mut most = 0;
        assert!(run.run_until(|job| {
            let metrics = job.metrics();
            most = most.max(of(&metrics));
            metrics.records_read() > 390_000
        }));
        let left = of(&run.metrics());
        assert!(
            most > MIB && left < most / 4,
            "seed {seed}: {left} of {most}"
        );
    }
}

//! What a job logs says which operator logged it, on worker threads and in the simulator.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use levada::Runner;
use levada::prelude::*;
use levada_testing::Simulation;
use tracing_subscriber::fmt;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn talking(job: &Job) {
    job.source("words", iterator(["to", "be"].map(String::from)))
        .rebalance()
        .map(|word: String| {
            tracing::info!(word, "seen");
            word.len()
        })
        .key_by(|length| *length)
        .fold("lengths", |sum: &mut usize, length| {
            tracing::info!(length, "added");
            *sum += length;
        })
        .sink("out", for_each(|_| tracing::info!("written")));
}

/// Every line of each kind names the task that it is of.
fn check(lines: &Lines, what: &str) {
    let text = String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap();
    let of = |message: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains(message));
        lines.map(str::to_owned).collect()
    };
    // The steps behind `rebalance` run in the task that sends on to `lengths`; the sink runs in the task of `lengths`.
    let seen = of("seen");
    assert_eq!(seen.len(), 2, "{what}: {text}");
    assert!(
        seen.iter()
            .all(|line| line.contains("task{operator=") && line.contains("subtask="))
    );
    for message in ["added", "written"] {
        let lines = of(message);
        assert_eq!(lines.len(), 2, "{what}: {text}");
        for line in lines {
            assert!(
                line.contains("task{operator=\"lengths\" subtask="),
                "{what}: {line}"
            );
        }
    }
}

#[test]
fn a_line_of_a_closure_names_its_task() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = fmt().with_writer(move || writer.clone()).with_ansi(false);
    // For all threads: the workers' too. So all of this is one test.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();

    Runner::new()
        .parallelism(2)
        .threads(2)
        .run(talking)
        .unwrap();
    check(&lines, "embedded");
    for seed in 0..10 {
        let run = Simulation::new(seed).parallelism(2).run(talking).unwrap();
        run.expect_finished();
        check(&lines, &format!("seed {seed}"));
    }

    // Outside of the tasks there is no operator.
    tracing::info!("outside");
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("task{"), "{text}");
}

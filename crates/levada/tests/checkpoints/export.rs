//! The state in checkpoints as text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, Environment, Runner};
use levada_core::Span;
use levada_runtime::checkpoint::Purpose;
use levada_testing::{LedgerSink, MemoryDisk, Simulation, ledger};

use crate::dense::dense;

fn job(sink: LedgerSink<String>) -> impl Fn(&Job) {
    move |job: &Job| {
        let events = job
            .source("events", dense(400, 3))
            .timestamps(|event| event.at, Duration::from_secs(1_000))
            .stream();
        let counts = events.clone().key_by(|event| event.id % 7).count("counts");
        let windows = events
            .key_by(|event| event.id % 5)
            .window(session(seconds(1)));
        let windows = windows.count("sessions");
        let rows = counts.map(|row| format!("{row:?}")).stream();
        let sessions = windows.map(|row: (u64, Span, u64)| format!("{row:?}"));
        rows.union(sessions.stream()).sink("out", sink.clone());
    }
}

/// After several checkpoints on top of each other: what is exported is the sum of them.
#[test]
fn what_is_exported_is_the_state_when_the_checkpoint_was_taken() {
    let disk = MemoryDisk::default();
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = None;
    options.retained = 10;
    let (sink, ledger) = ledger();
    let mut simulated = Simulation::new(3)
        .with_disk(disk.clone())
        .parallelism(3)
        .runner(Runner::new().checkpoints(options))
        .start(job(sink.clone()))
        .unwrap();
    let mut taken = Vec::new();
    for _ in 0..4 {
        for _ in 0..60 {
            simulated.step();
        }
        let before = simulated.checkpoints().completed;
        simulated.checkpoint(Purpose::Recovery, false);
        assert!(simulated.run_until(|simulated| simulated.checkpoints().completed > before));
        taken.push(simulated.checkpoints().last.unwrap());
    }
    assert!(taken.iter().any(|taken| taken.chain > 1), "{taken:?}");
    simulated.settle();
    simulated.finish().expect_finished();
    assert!(!ledger.sorted().is_empty());

    let environment = Environment {
        disk: Arc::new(disk),
        ..Environment::system()
    };
    let prepared = Runner::new()
        .environment(environment)
        .prepare(job(sink))
        .unwrap();
    let mut sums = Vec::new();
    for taken in &taken {
        let mut counts = BTreeMap::new();
        let mut sessions = 0;
        let take = &mut |row: levada_runtime::checkpoint::Exported| {
            let Some(json) = row.json else { return };
            let entry: serde_json::Value = serde_json::from_str(&json).unwrap();
            let key = entry["key"].as_u64().unwrap();
            match &*row.operator {
                "counts" => assert!(
                    counts
                        .insert(key, entry["value"].as_u64().unwrap())
                        .is_none()
                ),
                "sessions" => sessions += 1,
                other => panic!("{other}"),
            }
        };
        prepared.export(Path::new(&taken.path), take).unwrap();
        sums.push(counts.values().sum::<u64>());
        assert!(
            counts.len() <= 7 && sessions <= 5,
            "{counts:?}, {sessions} keys"
        );
    }
    assert!(sums.is_sorted() && sums[0] < sums[3], "{sums:?}");
}

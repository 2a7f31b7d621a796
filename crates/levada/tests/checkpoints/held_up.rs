//! What is said of a checkpoint that is late: who holds it up, and why.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::time::Duration;

use levada::prelude::*;
use levada::{
    BoxError, CheckpointOptions, Drain, Event, HeldUp, Hold, Runner, Sink, SinkContext, Writer,
};
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Simulation, ledger};

use crate::dense::dense;

/// What is said of a job's first checkpoint, a tenth of the timeout after it began, which is when so many records have been read.
/// Nothing if it is complete by then.
fn held_up(
    seed: u64,
    runner: Runner,
    options: CheckpointOptions,
    records: u64,
    job: impl Fn(&Job),
) -> Vec<HeldUp> {
    let runner = runner.checkpoints(options);
    let simulation = Simulation::new(seed).parallelism(1).runner(runner);
    let mut simulated = simulation.start(job).unwrap();
    assert!(
        simulated.run_until(|simulated| simulated.metrics().records_read() >= records),
        "seed {seed}"
    );
    simulated.checkpoint(Purpose::Recovery, false);
    let mut said = None;
    simulated.run_until(|simulated| {
        said = simulated.events().iter().find_map(|event| match event {
            Event::CheckpointLate { held_up, .. } => Some(held_up.clone()),
            _ => None,
        });
        said.is_some() || simulated.checkpoints().completed > 0
    });
    said.unwrap_or_default()
}

/// Takes none by itself.
fn options(timeout: Duration) -> CheckpointOptions {
    let mut options = CheckpointOptions::new("/checkpoints");
    options.every = None;
    options.timeout = timeout;
    options
}

/// The operators at the heads of the tasks, and what each waits for.
fn holds(held: &[HeldUp]) -> Vec<(Option<&str>, &Hold)> {
    let named = held.iter().map(|of| {
        let operator = of.operator.as_ref();
        (operator.map(levada_core::Origin::name), &of.hold)
    });
    named.collect()
}

const COUNT: u64 = 100_000;
const KEYS: u64 = 10_000;

/// State that takes many slices, of which the disk is behind with one.
#[test]
fn state_that_is_being_written_and_a_disk_that_is_behind() {
    for seed in 0..10 {
        for (queue_bytes, expected) in [(u64::MAX, Hold::State), (1, Hold::Disk)] {
            let mut options = options(Duration::from_millis(1));
            options.queue_bytes = queue_bytes;
            let held = held_up(seed, Runner::new(), options, KEYS, |job| {
                job.source("numbers", dense(COUNT, 5))
                    .key_by(|event| event.id % KEYS)
                    .fold("texts", |text: &mut String, event| {
                        *text = format!("{:>100}", event.id);
                    })
                    .sink("out", for_each(|_| {}));
            });
            // It is all one task.
            assert_eq!(holds(&held), [(Some("numbers"), &expected)], "seed {seed}");
        }
    }
}

/// A sink that waits for somebody outside to confirm what it has sent, who never does.
struct Unconfirmed;

struct UnconfirmedWriter;

impl<T: Send + 'static> Sink<T> for Unconfirmed {
    type Writer = UnconfirmedWriter;

    fn open(&self, _: &SinkContext) -> Result<UnconfirmedWriter, BoxError> {
        Ok(UnconfirmedWriter)
    }
}

impl<T> Writer<T> for UnconfirmedWriter {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        records.for_each(drop);
        Ok(())
    }

    fn is_drained(&mut self) -> Result<bool, BoxError> {
        Ok(false)
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_sink_that_has_not_prepared() {
    for seed in 0..10 {
        for runner in [Runner::new(), Runner::new().force_exchange()] {
            let options = options(Duration::from_secs(5));
            let held = held_up(seed, runner, options, 100, |job| {
                job.source("numbers", dense(COUNT, 5))
                    .sink("queue", Unconfirmed);
            });
            let holds: Vec<_> = held.iter().map(|of| of.hold.clone()).collect();
            assert_eq!(holds, [Hold::Sink("queue".to_owned())], "seed {seed}");
            let text = held[0].to_string();
            let expected = "[0] waits for the sink `queue`, which has not prepared what it commits";
            assert!(text.ends_with(expected), "seed {seed}: {text}");
        }
    }
}

#[test]
fn a_barrier_that_waits_for_room() {
    let mut waited = 0;
    for seed in 0..60 {
        let (sink, ledger) = ledger();
        ledger.hold();
        let mut options = options(Duration::from_secs(5));
        // It waits behind the records that nobody takes.
        options.alignment_timeout = None;
        let runner = Runner::new().force_exchange();
        let held = held_up(seed, runner, options, 1, |job| {
            job.source("numbers", dense(COUNT, 5))
                .map(|event| event.id)
                .rebalance()
                .sink("out", sink.clone());
        });
        let blocked = Hold::Barriers {
            edges: vec!["numbers -> out #0".into()],
            is_blocked: true,
        };
        let room = Hold::Room("rebalance".to_owned());
        let rest = Hold::Unfinished { operator: None };
        let holds: Vec<_> = held.iter().map(|of| &of.hold).collect();
        match holds[..] {
            // The barrier has been sent, or could not even be made: there was no room for what is before it.
            [behind] => assert_eq!(*behind, blocked, "seed {seed}"),
            [behind, source] => {
                assert_eq!(*behind, blocked, "seed {seed}");
                assert!([&room, &rest].contains(&source), "seed {seed}: {source:?}");
                waited += u32::from(*source == room);
            }
            _ => panic!("seed {seed}: {held:?}"),
        }
    }
    println!("{waited} barriers waited for room");
    assert!(waited > 5);
}

#[test]
fn files_that_are_not_on_the_disk() {
    let mut waited = 0;
    for seed in 0..20 {
        let options = options(Duration::from_micros(500));
        let held = held_up(seed, Runner::new(), options, 100, |job| {
            job.source("numbers", dense(COUNT, 5))
                .sink("out", for_each(|_| {}));
        });
        if !held.is_empty() {
            assert_eq!(holds(&held), [(None, &Hold::Files)], "seed {seed}");
            waited += 1;
        }
    }
    println!("{waited} checkpoints waited for the disk");
    assert!(waited > 10);
}

//! A source that keeps by itself how far it was read is told so once, after every sink has committed, and not at all if
//! the job fails.

use std::sync::Arc;

use levada::prelude::*;
use levada::{
    BoxError, CheckpointOptions, Drain, Intake, Reader, ReaderContext, Runner, Sink, SinkContext,
    Source, SourceContext, Status, Writer,
};
use levada_core::sync::Mutex;
use levada_runtime::checkpoint::Purpose;
use levada_testing::{Simulation, campaign, collect};

/// What has happened, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Act {
    SinkCommitted,
    /// A split, and how far it was read.
    SourceCommitted(u64, u64),
}

type Acts = Arc<Mutex<Vec<Act>>>;

/// Some splits of numbers.
struct Kept {
    splits: u64,
    acts: Acts,
    fails: bool,
}

impl Source for Kept {
    type Out = u64;
    type Split = u64;
    type Reader = Counting;

    fn splits(&self, _: &SourceContext) -> Result<Vec<u64>, BoxError> {
        Ok((0..self.splits).collect())
    }

    fn open(
        &self,
        split: u64,
        position: Option<u64>,
        _: &ReaderContext,
    ) -> Result<Counting, BoxError> {
        let next = position.unwrap_or(0);
        let end = 10 + split;
        Ok(Counting { next, end })
    }

    fn commits(&self) -> bool {
        true
    }

    fn commit(&self, read: &[(u64, u64)], _: &ReaderContext) -> Result<(), BoxError> {
        if self.fails {
            return Err("no pencil to write it down".into());
        }
        let acts = read
            .iter()
            .map(|(split, end)| Act::SourceCommitted(*split, *end));
        self.acts.lock().extend(acts);
        Ok(())
    }
}

struct Counting {
    next: u64,
    end: u64,
}

impl Reader for Counting {
    type Out = u64;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<u64>) -> Result<Status, BoxError> {
        while self.next < self.end {
            if intake.is_full() {
                return Ok(Status::More);
            }
            intake.push(self.next);
            self.next += 1;
        }
        Ok(Status::Done)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// A sink that notes its commits, or fails at them.
#[derive(Clone)]
struct Noting {
    acts: Acts,
    fails: bool,
}

impl Sink<u64> for Noting {
    type Writer = Self;

    fn open(&self, _: &SinkContext) -> Result<Self, BoxError> {
        Ok(self.clone())
    }
}

impl Writer<u64> for Noting {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<u64>) -> Result<(), BoxError> {
        records.for_each(drop);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        if self.fails {
            return Err("the vault is shut".into());
        }
        self.acts.lock().push(Act::SinkCommitted);
        Ok(())
    }
}

#[test]
fn positions_are_kept_once_and_after_all_sinks() {
    let campaign = campaign(0..300, |seed| {
        let acts = Acts::default();
        let splits = 1 + seed % 5;
        let (sink, collected) = collect();
        let noted = Arc::clone(&acts);
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                let acts = Arc::clone(&noted);
                let kept = Kept {
                    splits,
                    acts,
                    fails: false,
                };
                let numbers = job.source("numbers", kept).stream();
                let noting = Noting {
                    acts: Arc::clone(&noted),
                    fails: false,
                };
                // One sink in the task of the source, one behind an exchange, and a source that ends long before.
                numbers.clone().sink("near", noting.clone());
                numbers.rebalance().sink("far", noting);
                job.source("others", iterator(0..500u64))
                    .sink("others-out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(collected.take().len(), 500);
        let acts = acts.lock().clone();
        let sinks = acts
            .iter()
            .take_while(|act| **act == Act::SinkCommitted)
            .count();
        assert!(sinks >= 2, "seed {seed}: {acts:?}");
        let mut kept = acts[sinks..].to_vec();
        kept.sort_by_key(|act| format!("{act:?}"));
        let expected: Vec<_> = (0..splits)
            .map(|n| Act::SourceCommitted(n, 10 + n))
            .collect();
        assert_eq!(kept, expected, "seed {seed}");
        run
    });
    println!("{campaign}");
}

#[test]
fn a_job_that_stops_at_a_checkpoint_keeps_how_far_it_was_read() {
    for seed in 0..50 {
        let acts = Acts::default();
        let runner = Runner::new()
            .throttle(10.0)
            .checkpoints(CheckpointOptions::new("/checkpoints"));
        let simulation = Simulation::new(seed).parallelism(2).runner(runner);
        let mut simulated = simulation
            .start(|job: &Job| {
                let acts = Arc::clone(&acts);
                let kept = Kept {
                    splits: 1,
                    acts: Arc::clone(&acts),
                    fails: false,
                };
                let noting = Noting { acts, fails: false };
                job.source("numbers", kept).rebalance().sink("out", noting);
            })
            .unwrap();
        assert!(simulated.run_until(|simulated| simulated.metrics().records_read() >= 4));
        simulated.checkpoint(Purpose::Recovery, true);
        simulated.settle();
        assert!(simulated.checkpoints().stopped, "seed {seed}");
        let run = simulated.finish();
        run.expect_finished();
        let read = run.metrics.records_read();
        assert!(read < 10, "seed {seed}: it has stopped before its end");
        let acts = acts.lock().clone();
        let sink = Act::SinkCommitted;
        let source = Act::SourceCommitted(0, read);
        assert_eq!(acts, [sink.clone(), sink, source], "seed {seed}");
    }
}

#[test]
fn nothing_is_kept_when_the_job_fails() {
    type Build = fn(Stream<u64>);
    let failing: [(&str, Build); 3] = [
        ("a step behind an exchange", |numbers| {
            numbers
                .rebalance()
                .inspect(|n| assert!(*n != 9, "nine"))
                .sink("out", for_each(|_| {}));
        }),
        ("an operator that closes", |numbers| {
            numbers
                .key_by(|n| *n)
                .fold("sums", |sum: &mut u64, n| {
                    *sum += 9u64.checked_sub(*n).expect("ten");
                })
                .at_end()
                .sink("out", for_each(|_| {}));
        }),
        ("a sink that cannot commit", |numbers| {
            let noting = Noting {
                acts: Acts::default(),
                fails: true,
            };
            numbers.rebalance().sink("out", noting);
        }),
    ];
    for (name, build) in failing {
        campaign(0..60, |seed| {
            let acts = Acts::default();
            let noted = Arc::clone(&acts);
            let run = Simulation::new(seed)
                .run(move |job: &Job| {
                    let acts = Arc::clone(&noted);
                    let kept = Kept {
                        splits: 3,
                        acts,
                        fails: false,
                    };
                    build(job.source("numbers", kept).stream());
                })
                .unwrap();
            assert!(run.outcome.is_err(), "seed {seed}, {name}");
            run.expect_empty();
            assert_eq!(*acts.lock(), [], "seed {seed}, {name}");
            run
        });
    }
}

#[test]
fn nothing_is_kept_when_the_job_is_cancelled() {
    let mut cancelled = 0;
    campaign(0..200, |seed| {
        let acts = Acts::default();
        let noted = Arc::clone(&acts);
        let run = Simulation::new(seed)
            .cancel_after(seed % 40)
            .run(move |job: &Job| {
                let acts = Arc::clone(&noted);
                let kept = Kept {
                    splits: 3,
                    acts,
                    fails: false,
                };
                job.source("numbers", kept)
                    .rebalance()
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        match run.outcome {
            Ok(()) => assert_eq!(acts.lock().len(), 3, "seed {seed}"),
            Err(_) => {
                cancelled += 1;
                assert_eq!(*acts.lock(), [], "seed {seed}");
            }
        }
        run
    });
    assert!(cancelled > 20, "{cancelled} jobs were cancelled in time");
}

#[test]
fn a_position_that_cannot_be_kept_fails_the_job() {
    for seed in 0..20 {
        let run = Simulation::new(seed)
            .run(move |job: &Job| {
                let kept = Kept {
                    splits: 3,
                    acts: Acts::default(),
                    fails: true,
                };
                job.source("numbers", kept)
                    .rebalance()
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        let error = format!("{:?}", levada::Error::Run(run.outcome.unwrap_err()));
        assert!(
            error.contains("`numbers`") && error.contains("no pencil"),
            "{error}"
        );
    }
}

#[test]
fn it_works_on_threads_as_well() {
    let acts = Acts::default();
    let noted = Arc::clone(&acts);
    levada::Runner::new()
        .parallelism(3)
        .run(move |job: &Job| {
            let kept = Kept {
                splits: 5,
                acts: Arc::clone(&noted),
                fails: false,
            };
            let noting = Noting {
                acts: Arc::clone(&noted),
                fails: false,
            };
            job.source("numbers", kept).rebalance().sink("out", noting);
        })
        .unwrap();
    let acts = acts.lock();
    assert_eq!(acts.len(), 3 + 5);
    assert!(
        acts[..3].iter().all(|act| *act == Act::SinkCommitted),
        "{acts:?}"
    );
}

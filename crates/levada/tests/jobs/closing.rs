//! What is told to give up or to close when a job fails, whatever else goes wrong meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use levada::prelude::*;
use levada::{BoxError, Drain, Runner, Sink, SinkContext, Writer};
use levada_testing::Simulation;

/// Counts the writers that have been opened, and takes one off for each that was told to give up.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Sink<u64> for Counted {
    type Writer = Self;

    fn open(&self, _: &SinkContext) -> Result<Self, BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(self.clone())
    }
}

impl Writer<u64> for Counted {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<u64>) -> Result<(), BoxError> {
        records.for_each(drop);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.0.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_process_that_panics_in_its_close_does_not_keep_sinks_from_giving_up() {
    #[derive(Clone)]
    struct Slams;

    impl Process for Slams {
        type Key = u64;
        type In = u64;
        type State = u64;
        type Out = u64;

        fn element(&self, record: &u64, context: &mut Context<'_, Self>) {
            assert!(*record < 900, "too many");
            context.emit(*record);
        }

        fn close(&mut self) -> Result<(), BoxError> {
            panic!("the door is stuck")
        }
    }

    for seed in 0..12 {
        let sink = Counted::default();
        let run = Simulation::new(seed)
            .run(|job: &Job| {
                job.source("numbers", iterator(0..1_000u64))
                    .key_by(|n| n % 10)
                    .process("slams", Slams)
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_empty();
        let said = run.outcome.unwrap_err().to_string();
        assert!(said.contains("`slams`"), "seed {seed}: {said}");
        assert_eq!(sink.0.load(Ordering::Relaxed), 0, "seed {seed}");
    }
}

#[test]
fn what_was_opened_is_closed_when_another_subtask_cannot_be() {
    #[derive(Clone)]
    struct SecondFails {
        opened: Arc<AtomicUsize>,
        closed: Arc<AtomicUsize>,
    }

    impl Process for SecondFails {
        type Key = u64;
        type In = u64;
        type State = ();
        type Out = u64;

        fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
            if context.subtask() == 1 {
                return Err("one cellar is enough".into());
            }
            self.opened.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn element(&self, _: &u64, _: &mut Context<'_, Self>) {}

        fn close(&mut self) -> Result<(), BoxError> {
            self.closed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    let process = SecondFails {
        opened: Arc::default(),
        closed: Arc::default(),
    };
    let error = Runner::new()
        .parallelism(2)
        .start(|job: &Job| {
            job.source("numbers", iterator(0..1_000u64))
                .key_by(|n| n % 3)
                .process("cellar", process.clone())
                .sink("out", for_each(|_| {}))
        })
        .err()
        .expect("the job does not start");
    assert!(format!("{error:?}").contains("one cellar is enough"));
    assert_eq!(process.opened.load(Ordering::Relaxed), 1);
    assert_eq!(process.closed.load(Ordering::Relaxed), 1);
}

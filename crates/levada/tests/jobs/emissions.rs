//! Operators that emit far more than there is room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use levada::prelude::*;
use levada::{BoxError, Intake, Reader, ReaderContext, Runner, Source, SourceContext, Status};
use levada_testing::{Simulation, valve};

const OUTPUTS: u64 = 1_000_000;

/// Two nested `flat_map`s of a million outputs each: a million million records from one.
fn nested(job: &Job) -> impl Flow<Item = u64> {
    job.source("one", iterator([0u64]))
        .flat_map(|_| 0..OUTPUTS)
        .flat_map(|outer| (0..OUTPUTS).map(move |inner| outer * OUTPUTS + inner))
}

#[test]
fn nested_flat_maps_stop_where_there_is_no_room_and_go_on_where_they_were() {
    for seed in 0..20 {
        let (sink, valve) = valve();
        let mut simulated = Simulation::new(seed)
            .start(move |job: &Job| nested(job).rebalance().sink("out", sink.clone()))
            .unwrap();
        simulated.settle();
        let metrics = simulated.metrics();
        assert!(!simulated.is_done(), "seed {seed}");
        for edge in &metrics.edges {
            assert!(edge.held <= edge.bound, "seed {seed}: {edge:?}");
        }
        assert_eq!(
            metrics.overdraft.bytes_max, 0,
            "nothing of it is kept elsewhere"
        );
        valve.open();
        let written = |simulated: &levada_testing::Simulated| simulated.metrics().records_written();
        assert!(simulated.run_until(|simulated| written(simulated) > 20_000));
        valve.close();
        simulated.settle();
        let mut records = valve.take();
        records.sort_unstable();
        // What has come out, and what is in the buffers, is the beginning of the sequence.
        let distinct = records.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(distinct, "seed {seed}: nothing is doubled");
        let in_buffers: u64 = metrics.edges.iter().map(|edge| edge.bound / 16).sum();
        let last = records[records.len() - 1];
        assert!(
            last < records.len() as u64 + in_buffers,
            "seed {seed}: nothing is lost"
        );
        simulated.cancel();
        simulated.settle();
        assert!(simulated.is_done(), "seed {seed}");
        simulated.finish().expect_empty();
    }
}

#[test]
fn they_can_be_cancelled_on_threads_whether_or_not_anything_comes_out() {
    let (sink, receiver) = sink_channel(10);
    let handle = Runner::new()
        .parallelism(2)
        .start(move |job: &Job| nested(job).rebalance().sink("out", sink.clone()))
        .unwrap();
    assert_eq!(receiver.iter().take(10_000).count(), 10_000);
    handle.cancel();
    assert_eq!(handle.wait().unwrap_err().exit_code(), 130);

    // A filter drops everything: the task still gives way, so that it hears of the cancel.
    let handle = Runner::new()
        .threads(1)
        .start(|job: &Job| nested(job).filter(|_| false).sink("out", for_each(|_| {})))
        .unwrap();
    while handle.metrics().tasks.iter().all(|task| task.polls < 3) {
        assert!(!handle.wait_for(std::time::Duration::from_millis(1)));
    }
    handle.cancel();
    assert_eq!(handle.wait().unwrap_err().exit_code(), 130);
}

#[test]
fn a_closure_that_emits_more_than_there_is_room_for_loses_nothing() {
    for seed in 0..50 {
        let (sink, valve) = valve();
        let mut simulated = Simulation::new(seed)
            .start(move |job: &Job| {
                job.source("some", iterator(0..20u64))
                    .expand(|n, out| (0..1_000).for_each(|i| out.emit(n * 1_000 + i)))
                    .rebalance()
                    .sink("out", sink.clone());
            })
            .unwrap();
        simulated.settle();
        valve.open();
        simulated.settle();
        simulated.finish().expect_finished();
        let mut records = valve.take();
        records.sort_unstable();
        assert!(records == (0..20_000).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// A closure cannot be suspended, but as long as there are credits nothing of what it emits has to wait.
#[test]
fn what_a_closure_emits_is_no_overdraft_while_there_are_credits() {
    let (sink, valve) = valve();
    let handle = Runner::new()
        .parallelism(1)
        .force_exchange()
        .start(move |job: &Job| {
            job.source("one", iterator([()]))
                // Some nine batches; the exchange takes twelve.
                .expand(|(), out| (0..4_000u64).for_each(|n| out.emit([n; 8])))
                .rebalance()
                .sink("out", sink.clone())
        })
        .unwrap();
    while handle.metrics().edges[0].records < 4_000 {
        assert!(!handle.wait_for(std::time::Duration::from_millis(1)));
    }
    assert!(handle.metrics().edges[0].batches >= 8);
    assert_eq!(handle.metrics().overdraft.bytes_max, 0);
    valve.open();
    handle.wait().unwrap();
    assert_eq!(valve.take().len(), 4_000);
}

/// A source of splits with nothing in them; counts those that were opened.
struct Empty(Arc<AtomicUsize>);

struct NoRecords;

impl Source for Empty {
    type Out = u64;
    type Split = usize;
    type Reader = NoRecords;

    fn splits(&self, _: &SourceContext) -> Result<Vec<usize>, BoxError> {
        Ok((0..100_000).collect())
    }

    fn open(&self, _: usize, _: Option<()>, _: &ReaderContext) -> Result<NoRecords, BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(NoRecords)
    }
}

impl Reader for NoRecords {
    type Out = u64;
    type Position = ();

    fn read(&mut self, _: &mut impl Intake<u64>) -> Result<Status, BoxError> {
        Ok(Status::Done)
    }

    fn position(&self) {}
}

#[test]
fn a_source_of_many_empty_splits_lets_others_run() {
    for seed in 0..10 {
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let mut simulated = Simulation::new(seed)
            .start(move |job: &Job| {
                job.source("empty", Empty(Arc::clone(&counted)))
                    .sink("out", for_each(|_| {}));
            })
            .unwrap();
        while simulated.step() && !simulated.is_done() {
            let in_a_poll = opened.swap(0, Ordering::Relaxed);
            assert!(in_a_poll < 50_000, "seed {seed}: {in_a_poll} in one poll");
        }
    }
}

//! Streams and sinks of the `futures` crates in a job: nothing is lost, nothing is polled against its contract, and no
//! wake-up is missed.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_channel::mpsc;
use futures_core::Stream as FuturesStream;
use futures_util::{SinkExt, StreamExt, stream};
use levada::prelude::*;
use levada::{Error, Result};
use levada_core::random::SplitMix64;
use levada_testing::{Simulation, collect, valve};

/// A stream that is pending at random, and then wakes its reader.
struct Hesitant<S> {
    stream: S,
    random: SplitMix64,
    ended: bool,
}

impl<S> Hesitant<S> {
    fn new(seed: u64, stream: S) -> Self {
        Self {
            stream,
            random: SplitMix64::new(seed),
            ended: false,
        }
    }
}

impl<S: FuturesStream + Unpin> FuturesStream for Hesitant<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        assert!(!self.ended, "a stream that has ended is not polled again");
        if self.random.below(3) == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.stream.poll_next_unpin(context);
        self.ended = matches!(polled, Poll::Ready(None));
        polled
    }
}

/// What a [`Lazy`] sink has flushed, and how often it said that it is pending.
#[derive(Default)]
struct Flushed {
    records: Vec<u64>,
    pending: u64,
    closed: u64,
}

/// A sink that shows what it was given when it has been flushed, is pending at random, and insists on its contract.
struct Lazy {
    out: Arc<Mutex<Flushed>>,
    buffer: Vec<u64>,
    random: SplitMix64,
    ready: bool,
    closing: bool,
    closed: bool,
}

impl Lazy {
    fn new(seed: u64, out: &Arc<Mutex<Flushed>>) -> Self {
        Self {
            out: Arc::clone(out),
            buffer: Vec::new(),
            random: SplitMix64::new(seed),
            ready: false,
            closing: false,
            closed: false,
        }
    }

    fn hesitate(&mut self, context: &Context<'_>) -> bool {
        let pending = self.random.below(3) == 0;
        if pending {
            self.out.lock().unwrap().pending += 1;
            context.waker().wake_by_ref();
        }
        pending
    }
}

type Polled = Poll<std::result::Result<(), Full>>;

impl futures_sink::Sink<u64> for Lazy {
    type Error = Full;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        assert!(!self.closing, "a sink that closes is not asked for room");
        if self.hesitate(context) {
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, record: u64) -> std::result::Result<(), Full> {
        assert!(self.ready, "a sink is ready before it is given a record");
        self.ready = false;
        self.buffer.push(record);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        assert!(!self.closing, "a sink that closes is not flushed");
        if self.hesitate(context) {
            return Poll::Pending;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.out.lock().unwrap().records.append(&mut buffer);
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        assert!(!self.closed, "a sink is closed once");
        self.closing = true;
        if self.hesitate(context) {
            return Poll::Pending;
        }
        self.closed = true;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut out = self.out.lock().unwrap();
        out.records.append(&mut buffer);
        out.closed += 1;
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shelf is full")
    }
}

impl std::error::Error for Full {}

#[test]
fn every_record_of_a_pending_stream_arrives_in_order() {
    for seed in 0..100 {
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .parallelism(1)
            .run(move |job: &Job| {
                let numbers = from_stream(move || Hesitant::new(seed, stream::iter(0..500u64)));
                job.source("numbers", numbers).sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert!(collected.take().into_iter().eq(0..500), "seed {seed}");
    }
}

#[test]
fn a_pending_sink_holds_up_the_job_and_loses_nothing() {
    for seed in 0..100 {
        let flushed = Arc::new(Mutex::new(Flushed::default()));
        let out = Arc::clone(&flushed);
        let run = Simulation::new(seed)
            .one_credit()
            .run(move |job: &Job| {
                let out = Arc::clone(&out);
                job.source("numbers", iterator(0..500u64))
                    .rebalance()
                    .sink("out", into_sink(move || Lazy::new(seed, &out)));
            })
            .unwrap();
        run.expect_finished();
        let mut flushed = flushed.lock().unwrap();
        flushed.records.sort_unstable();
        assert!(flushed.records.iter().copied().eq(0..500), "seed {seed}");
        assert!(
            flushed.pending > 0,
            "seed {seed}: the sink has been pending"
        );
        let subtasks = run.metrics.operator("out").unwrap().parallelism;
        assert_eq!(flushed.closed, subtasks as u64, "seed {seed}");
    }
}

#[test]
fn what_a_sink_was_given_is_flushed_although_nothing_follows() {
    for seed in 0..100 {
        let flushed = Arc::new(Mutex::new(Flushed::default()));
        let out = Arc::clone(&flushed);
        let simulation = Simulation::new(seed);
        let mut simulated = simulation
            .start(move |job: &Job| {
                let out = Arc::clone(&out);
                let endless = || stream::iter(0..20u64).chain(stream::pending());
                job.source("numbers", from_stream(endless))
                    .sink("out", into_sink(move || Lazy::new(seed, &out)));
            })
            .unwrap();
        simulated.settle();
        assert!(!simulated.is_done());
        let records = std::mem::take(&mut flushed.lock().unwrap().records);
        assert!(records.into_iter().eq(0..20), "seed {seed}");

        simulated.cancel();
        simulated.settle();
        let run = simulated.finish();
        assert!(matches!(run.outcome, Err(levada_runtime::Error::Cancelled)));
        run.expect_empty();
        assert_eq!(flushed.lock().unwrap().closed, 0, "seed {seed}");
    }
}

/// Two pipelines of one job with a channel of the `futures` crates between them: each wakes the other.
#[test]
fn a_channel_between_two_tasks_wakes_both() {
    for seed in 0..100 {
        let (sender, receiver) = mpsc::channel::<u64>(1);
        let receiver = Arc::new(Mutex::new(Some(receiver)));
        let sender = Arc::new(Mutex::new(Some(sender)));
        let (sink, collected) = collect();
        let run = Simulation::new(seed)
            .parallelism(1)
            .run(move |job: &Job| {
                let (sender, receiver) = (Arc::clone(&sender), Arc::clone(&receiver));
                let take_sender = move || sender.lock().unwrap().take().unwrap();
                let take_receiver = move || receiver.lock().unwrap().take().unwrap();
                job.source("numbers", iterator(0..300u64))
                    .sink("into", into_sink(take_sender));
                job.source("from", from_stream(take_receiver))
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert!(collected.take().into_iter().eq(0..300), "seed {seed}");
    }
}

#[test]
fn a_stream_is_polled_no_further_than_there_is_room() {
    let polled = Arc::new(Mutex::new(0u64));
    let seen = Arc::clone(&polled);
    let (sink, gate) = valve();
    let mut simulated = Simulation::new(7)
        .parallelism(1)
        .start(move |job: &Job| {
            let seen = Arc::clone(&seen);
            let counted = move || {
                let seen = Arc::clone(&seen);
                stream::iter(0..1_000_000u64).inspect(move |_| *seen.lock().unwrap() += 1)
            };
            job.source("numbers", from_stream(counted))
                .sink("out", sink.clone());
        })
        .unwrap();
    simulated.settle();
    let waiting = *polled.lock().unwrap();
    assert!(
        waiting < 10,
        "{waiting} records were polled for a sink that takes none"
    );
    gate.open();
    assert!(simulated.run_until(|_| *polled.lock().unwrap() > 1_000));
    drop(simulated);
}

#[test]
fn a_stream_of_results_is_a_stream_of_records() {
    let (sink, collected) = collect();
    let run = Simulation::new(0)
        .run(move |job: &Job| {
            let read = || stream::iter(["1", "x", "3"]).map(str::parse::<u64>);
            job.source("numbers", from_stream(read))
                .map(|read| read.map_err(|error| error.to_string()))
                .sink("out", sink.clone());
        })
        .unwrap();
    run.expect_finished();
    let expected = [
        Ok(1),
        Err("invalid digit found in string".to_owned()),
        Ok(3),
    ];
    assert_eq!(collected.take(), expected);
}

#[test]
fn a_stream_of_another_thread_ends_the_job_when_it_ends() {
    let (mut sender, receiver) = mpsc::channel::<u64>(4);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let (sink, collected) = collect();
    let handle = levada::Runner::new()
        .start(move |job: &Job| {
            let receiver = Arc::clone(&receiver);
            let numbers = from_stream(move || receiver.lock().unwrap().take().unwrap());
            job.source("numbers", numbers).sink("out", sink.clone());
        })
        .unwrap();
    for n in 0..1_000 {
        while let Err(error) = sender.try_send(n) {
            assert!(error.is_full(), "the job receives");
            std::thread::yield_now();
        }
    }
    drop(sender);
    handle.wait().unwrap();
    assert_eq!(collected.take().len(), 1_000);
}

/// The message of a job that fails.
fn failure(job: impl Fn(&Job) -> Result) -> String {
    let run = Simulation::new(3).run(job).unwrap();
    run.expect_empty();
    format!("{:?}", Error::Run(run.outcome.unwrap_err()))
}

#[test]
fn a_panic_of_the_stream_is_its_sources() {
    let message = failure(|job| {
        let broken = || stream::iter(0..10u64).inspect(|n| assert!(*n < 5, "no five"));
        job.source("numbers", from_stream(broken)).discard();
        Ok(())
    });
    assert!(message.contains("`numbers`"), "{message}");
    assert!(message.contains("panicked: no five"), "{message}");
    assert!(message.contains("connectors/futures.rs:"), "{message}");
}

#[test]
fn an_error_of_the_sink_fails_the_job() {
    let message = failure(|job| {
        let full = || {
            let sink = futures_util::sink::drain::<u64>().sink_map_err(|never| match never {});
            Box::pin(sink.with(|n: u64| std::future::ready(if n < 5 { Ok(n) } else { Err(Full) })))
        };
        job.source("numbers", iterator(0..10u64))
            .sink("shelf", into_sink(full));
        Ok(())
    });
    assert!(message.contains("`shelf`"), "{message}");
    assert!(message.contains("the shelf is full"), "{message}");
}

//! An operator on its own: records in, records out, its state saved and restored at any parallelism.

mod input;
mod output;

use std::mem;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use levada::{Flow, Job, Stream};
use levada_core::random::SplitMix64;
use levada_core::sync::Mutex;
use levada_core::{BoxError, Origin, Timestamp};
use levada_runtime::{StateError, Visitor};
use levada_state::{KeyedState, OperatorState, Rows, Saving, Snapshot};

use crate::harness::input::{Event, HarnessSource, Input, Unfolding};
use crate::harness::output::{HarnessSink, Output, Watching};
use crate::simulation::{Simulated, Simulation};

/// Runs operators between an input that the test fills and an output that it takes.
///
/// ```
/// use levada::prelude::*;
/// use levada_testing::{Harness, Simulation};
///
/// let counts = |words: Stream<String>| words.key_by(Clone::clone).count("counts");
/// let mut harness = Harness::new(&Simulation::new(1).parallelism(2), counts)?;
/// harness.push(["to", "be"].map(String::from));
/// assert_eq!(harness.output().len(), 2);
///
/// let snapshot = harness.snapshot()?;
/// let mut restored = Harness::restored(&Simulation::new(2).parallelism(3), &snapshot, counts)?;
/// restored.push(["be"].map(String::from));
/// assert_eq!(restored.output(), [("be".to_owned(), 2)]);
/// # Ok::<(), levada::BoxError>(())
/// ```
pub struct Harness<I, O> {
    input: Arc<Input<I>>,
    output: Arc<Mutex<Output<O>>>,
    simulated: Simulated,
    /// How many snapshots have been begun.
    begun: u64,
    /// The last checkpoint, with its number: the next one adds what has changed.
    last: Option<(u64, Snapshot)>,
}

impl<I, O> Harness<I, O>
where
    I: levada_core::Exchange,
    O: Send + 'static,
{
    /// Operators with no state yet.
    ///
    /// # Errors
    /// If the job around them cannot be built.
    pub fn new<F>(
        simulation: &Simulation,
        operators: impl Fn(Stream<I>) -> F,
    ) -> Result<Self, BoxError>
    where
        F: Flow<Item = O>,
    {
        let input = Arc::new(Input::default());
        let output = Output::new();
        let simulated = simulation.start(|job: &Job| {
            let place = Location::caller();
            let records = job
                .source("input", HarnessSource(Arc::clone(&input)))
                .open()
                .then("unfold", place, |steps, _| Unfolding(steps))
                .stream();
            operators(records)
                .open()
                .then("watch", place, |steps, _| {
                    Watching::new(steps, Arc::clone(&output))
                })
                .sink("output", HarnessSink(Arc::clone(&output)));
        })?;
        Ok(Self {
            input,
            output,
            simulated,
            begun: 0,
            last: None,
        })
    }

    /// Operators with the state of a snapshot, which may have been taken at another parallelism.
    ///
    /// # Errors
    /// If the job cannot be built, or the snapshot does not fit the operators.
    pub fn restored<F>(
        simulation: &Simulation,
        snapshot: &Snapshot,
        operators: impl Fn(Stream<I>) -> F,
    ) -> Result<Self, BoxError>
    where
        F: Flow<Item = O>,
    {
        let mut harness = Self::new(simulation, operators)?;
        harness.simulated.visit(&mut Restore(snapshot))?;
        Ok(harness)
    }

    /// Brings in records without event time, and lets the operators work until nothing moves: time passes until no timer is
    /// set. For operators that set timers again and again, or where it matters when one fires, there are
    /// [`feed`](Harness::feed) and [`advance`](Harness::advance).
    ///
    /// # Panics
    /// If the job ends, which it does only if it fails.
    pub fn push(&mut self, records: impl IntoIterator<Item = I>) {
        self.feed(records);
        self.settle();
    }

    /// Brings in records with their event times, and lets the operators work until nothing moves.
    ///
    /// # Panics
    /// As [`push`](Harness::push).
    pub fn push_at(&mut self, records: impl IntoIterator<Item = (I, i64)>) {
        self.feed_at(records);
        self.settle();
    }

    /// Says that no record with this timestamp or an earlier one follows, and lets the operators work until nothing moves.
    ///
    /// # Panics
    /// As [`push`](Harness::push).
    pub fn watermark(&mut self, at: i64) {
        self.feed_watermark(at);
        self.settle();
    }

    /// Says that there is nothing for now, and lets the operators work until nothing moves. The next record or watermark
    /// makes the input active again.
    ///
    /// # Panics
    /// As [`push`](Harness::push).
    pub fn idle(&mut self) {
        self.feed_idle();
        self.settle();
    }

    /// Brings in records without letting the operators work.
    pub fn feed(&mut self, records: impl IntoIterator<Item = I>) {
        let records = records.into_iter();
        self.input
            .add(records.map(|record| Event::Record(record, Timestamp::MIN)));
    }

    /// Brings in records with their event times, without letting the operators work.
    pub fn feed_at(&mut self, records: impl IntoIterator<Item = (I, i64)>) {
        let records = records.into_iter();
        self.input
            .add(records.map(|(record, at)| Event::Record(record, Timestamp(at))));
    }

    /// A watermark behind what has been brought in, without letting the operators work.
    pub fn feed_watermark(&mut self, at: i64) {
        self.input.add([Event::Watermark(Timestamp(at))]);
    }

    /// Idleness behind what has been brought in, without letting the operators work.
    pub fn feed_idle(&mut self) {
        self.input.add([Event::Idle]);
    }

    /// Lets virtual time pass, and the operators work meanwhile; the time of day moves with it, from the epoch on. What is
    /// due later does not happen. A record may wait for the buffer timeout (0.1 s) in each exchange.
    ///
    /// # Panics
    /// As [`push`](Harness::push).
    pub fn advance(&mut self, span: Duration) {
        self.simulated.advance(span);
        assert!(!self.simulated.is_done(), "the operators have failed");
    }

    fn settle(&mut self) {
        self.simulated.settle();
        assert!(!self.simulated.is_done(), "the operators have failed");
    }

    /// Ends the input.
    pub fn end(&mut self) {
        self.input.end();
    }

    /// Ends the input, and lets the operators come to their end.
    ///
    /// # Panics
    /// If the job does not end.
    pub fn finish(mut self) -> Vec<O> {
        self.end();
        self.simulated.settle();
        assert!(self.simulated.is_done(), "the operators have not ended");
        self.output()
    }

    /// Takes what has come out.
    pub fn output(&mut self) -> Vec<O> {
        let records = self.output_at().into_iter();
        records.map(|(record, _)| record).collect()
    }

    /// Takes what has come out, with its event times.
    pub fn output_at(&mut self) -> Vec<(O, Timestamp)> {
        mem::take(&mut self.output.lock().records)
    }

    /// Takes the watermarks that have come out, as somebody hears them who reads all subtasks: each is higher than the one
    /// before.
    pub fn output_watermarks(&mut self) -> Vec<Timestamp> {
        mem::take(&mut self.output.lock().watermarks)
    }

    /// Whether all subtasks say that there is nothing for now.
    #[must_use]
    pub fn output_is_idle(&self) -> bool {
        self.output.lock().is_idle()
    }

    /// The simulation, for a test that goes on step by step.
    pub fn simulated(&mut self) -> &mut Simulated {
        &mut self.simulated
    }

    /// Saves the state of all operators.
    ///
    /// # Errors
    /// If a key or a value cannot be encoded.
    pub fn snapshot(&mut self) -> Result<Snapshot, StateError> {
        self.begun += 1;
        let mut save = Save {
            saving: Saving {
                checkpoint: self.begun,
                base: None,
                confirmed: self.last.as_ref().map(|(checkpoint, _)| *checkpoint),
            },
            snapshot: Snapshot::new(),
            is_begun: false,
            is_done: false,
            room: usize::MAX,
        };
        while !save.is_done {
            save.go_on(&mut self.simulated)?;
        }
        Ok(save.snapshot)
    }

    /// Saves what has changed since the last checkpoint, in small slices. Between two of them the operators work for a poll, at
    /// most `polls` in all, which does not show in what is saved. What comes out meanwhile is dropped, as if they had failed
    /// then: a test that goes on with these operators lets them work for none.
    ///
    /// # Errors
    /// If a key or a value cannot be encoded.
    pub fn checkpoint(&mut self, polls: u64) -> Result<Snapshot, StateError> {
        self.begun += 1;
        let (base, snapshot) = self.last.take().unzip();
        let mut random = SplitMix64::new(self.begun ^ polls << 32);
        let mut save = Save {
            saving: Saving {
                checkpoint: self.begun,
                base,
                confirmed: base,
            },
            snapshot: snapshot.unwrap_or_default(),
            is_begun: false,
            is_done: false,
            room: 0,
        };
        save.go_on(&mut self.simulated)?;
        let before = self.output_at();
        let mut left = polls;
        while !save.is_done {
            if left > 0 {
                left -= 1;
                self.simulated.step();
            }
            save.room = 1 + (random.below(400)) as usize;
            save.go_on(&mut self.simulated)?;
        }
        if polls > 0 {
            self.output.lock().records = before;
        } else {
            self.output.lock().records.splice(0..0, before);
        }
        self.last = Some((self.begun, save.snapshot.clone()));
        Ok(save.snapshot)
    }
}

/// A snapshot that is being written.
struct Save {
    saving: Saving,
    snapshot: Snapshot,
    is_begun: bool,
    is_done: bool,
    /// The bytes of a slice.
    room: usize,
}

impl Save {
    /// Begins it, or writes another slice of each operator in each subtask.
    fn go_on(&mut self, simulated: &mut Simulated) -> Result<(), StateError> {
        self.is_done = self.is_begun;
        simulated.visit(self)?;
        self.is_begun = true;
        Ok(())
    }
}

impl Visitor for Save {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let mut rows = Rows::with_room(self.room);
        if self.is_begun {
            self.is_done &= state.save(&mut rows)?;
        } else {
            state.begin(&self.saving, &mut rows)?;
        }
        self.snapshot.add(operator.name(), rows.take())
    }

    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        _: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        if self.is_begun {
            return Ok(());
        }
        (self.snapshot).write_operator(operator.name(), subtask, state)
    }
}

struct Restore<'a>(&'a Snapshot);

impl Visitor for Restore<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        self.0.read(operator.name(), state)
    }

    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        parallelism: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        self.0
            .read_operator(operator.name(), subtask, parallelism, state)
    }
}

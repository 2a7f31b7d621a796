//! An operator on its own: records in, records out, its state saved and restored at any parallelism.

use std::collections::VecDeque;
use std::sync::Arc;

use levada::{Flow, Job, Stream};
use levada_core::sync::Mutex;
use levada_core::{BoxError, Origin, Wake};
use levada_runtime::{
    Intake, Reader, ReaderContext, Source, SourceContext, StateError, Status, Visitor,
};
use levada_state::{KeyedState, OperatorState, Snapshot};

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
    output: Arc<Mutex<Vec<O>>>,
    simulated: Simulated,
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
        let output = Arc::new(Mutex::new(Vec::new()));
        let simulated = simulation.start(|job: &Job| {
            let out = Arc::clone(&output);
            let records = job
                .source("input", HarnessSource(Arc::clone(&input)))
                .stream();
            operators(records).sink(
                "output",
                levada::connectors::for_each(move |record| out.lock().push(record)),
            );
        })?;
        Ok(Self {
            input,
            output,
            simulated,
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

    /// Brings in records, and lets the operators work until nothing moves.
    ///
    /// # Panics
    /// If the job ends, which it does only if it fails.
    pub fn push(&mut self, records: impl IntoIterator<Item = I>) {
        self.feed(records);
        self.simulated.settle();
        assert!(!self.simulated.is_done(), "the operators have failed");
    }

    /// Brings in records without letting the operators work.
    pub fn feed(&mut self, records: impl IntoIterator<Item = I>) {
        self.input.change(|state| state.records.extend(records));
    }

    /// Ends the input.
    pub fn end(&mut self) {
        self.input.change(|state| state.ended = true);
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
        std::mem::take(&mut *self.output.lock())
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
        let mut save = Save(Snapshot::new());
        self.simulated.visit(&mut save)?;
        Ok(save.0)
    }
}

struct Save(Snapshot);

impl Visitor for Save {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        self.0.write(operator.name(), state)
    }

    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        _: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        self.0.write_operator(operator.name(), subtask, state)
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

/// The records that the test brings in.
struct Input<T> {
    state: Mutex<InputState<T>>,
}

struct InputState<T> {
    records: VecDeque<T>,
    ended: bool,
    reader: Option<Arc<dyn Wake>>,
}

impl<T> Default for Input<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(InputState {
                records: VecDeque::new(),
                ended: false,
                reader: None,
            }),
        }
    }
}

impl<T> Input<T> {
    fn change(&self, change: impl FnOnce(&mut InputState<T>)) {
        let mut state = self.state.lock();
        change(&mut state);
        let reader = state.reader.clone();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

struct HarnessSource<T>(Arc<Input<T>>);

impl<T: Send + 'static> Source for HarnessSource<T> {
    type Out = T;
    type Split = ();
    type Reader = HarnessReader<T>;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(
        &self,
        (): (),
        _: Option<()>,
        context: &ReaderContext,
    ) -> Result<HarnessReader<T>, BoxError> {
        self.0.state.lock().reader = Some(Arc::clone(&context.waker));
        Ok(HarnessReader(Arc::clone(&self.0)))
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((1, "a test brings in its records one after the other"))
    }
}

struct HarnessReader<T>(Arc<Input<T>>);

impl<T: Send + 'static> Reader for HarnessReader<T> {
    type Out = T;
    type Position = ();

    fn read(&mut self, intake: &mut impl Intake<T>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            let mut state = self.0.state.lock();
            let record = state.records.pop_front();
            let ended = state.ended;
            drop(state);
            match record {
                Some(record) => intake.push(record),
                None if ended => return Ok(Status::Done),
                None => return Ok(Status::Idle(None)),
            }
        }
        Ok(Status::More)
    }

    fn position(&self) {}
}

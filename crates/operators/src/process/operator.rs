//! The operator around a process of any kind.

use levada_core::{BoxError, Key, Origin, State};
use levada_runtime::{
    Blame, Downstream, Ending, Failure, Push, Read, Room, Signal, StateError, Subtask, Turn,
    Visitor, blaming, closing,
};

use crate::process::OpenContext;
use crate::process::keyed::KeyedValues;
use crate::process::outputs::Outputs;
use crate::process::shared::SharedValue;
use crate::process::side::AnyPort;

/// What the kinds of processes have in common: one or two inputs, a state per key, perhaps one that all subtasks share.
pub trait Logic: Clone + Send + 'static {
    /// What is read, of all inputs.
    type Record: Send + Sync + 'static;
    /// What the state is kept by.
    type Key: Key;
    /// What is kept for each key.
    type State: State;
    /// What is kept in every subtask alike.
    type Shared: State;
    /// What is emitted.
    type Out: Send + 'static;

    /// Whether there is a keyed input, so that there is state by key.
    const KEYED: bool = true;
    /// Whether there is a state that all subtasks share.
    const SHARED: bool = false;

    /// Called once in each subtask, before the first record.
    ///
    /// # Errors
    /// If the process cannot work.
    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError>;

    /// Called for each record.
    fn run(&self, record: &Self::Record, parts: &mut Parts<'_, Self>, turn: &mut Turn);

    /// Called once in each subtask, at its end.
    ///
    /// # Errors
    /// If something is left behind.
    fn close(&mut self) -> Result<(), BoxError>;
}

/// State and outputs of a subtask.
pub struct Parts<'a, L: Logic> {
    pub(crate) values: &'a mut KeyedValues<L::Key, L::State>,
    pub(crate) shared: &'a mut SharedValue<L::Shared>,
    pub(crate) outputs: &'a mut Outputs<L::Out>,
}

/// Runs a process in one subtask.
pub(crate) struct Processing<L: Logic> {
    logic: L,
    values: KeyedValues<L::Key, L::State>,
    shared: SharedValue<L::Shared>,
    outputs: Outputs<L::Out>,
    operator: Origin,
}

impl<L: Logic> Processing<L> {
    /// Opens the process.
    pub(crate) fn open(
        mut logic: L,
        subtask: &Subtask,
        owner: u32,
        main: Box<dyn Push<L::Out>>,
        sides: Vec<Box<dyn AnyPort>>,
    ) -> Result<Self, Failure> {
        let context = OpenContext {
            operator: subtask.operator.clone(),
            subtask: subtask.index,
            parallelism: subtask.parallelism,
            metrics: subtask.metrics(),
        };
        blaming(&subtask.operator, || logic.open(&context))?;
        Ok(Self {
            logic,
            values: if L::KEYED {
                KeyedValues::owned(subtask)
            } else {
                KeyedValues::any(subtask)
            },
            shared: SharedValue::new(subtask),
            outputs: Outputs::new(main, sides, owner, subtask),
            operator: subtask.operator.clone(),
        })
    }

    #[inline(never)]
    fn check(&mut self, turn: &mut Turn) -> Room {
        match self.values.check().and_then(|()| self.shared.check()) {
            Ok(()) => self.outputs.room(),
            Err(error) => turn.fail(&self.operator, error),
        }
    }
}

impl<L: Logic> Downstream for Processing<L> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.outputs.resume(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.outputs.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.outputs.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.outputs.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        if L::KEYED {
            visitor.keyed(&self.operator, &mut self.values.table)?;
        }
        if L::SHARED {
            self.shared.visit(&self.operator, visitor)?;
        }
        self.outputs.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        let closed = closing(&self.operator, || self.logic.close());
        let outputs = self.outputs.close(ending);
        closed.and(outputs)
    }
}

impl<L: Logic> Read<L::Record> for Processing<L> {
    #[inline]
    fn read(&mut self, record: &L::Record, turn: &mut Turn) -> Room {
        let mut parts = Parts {
            values: &mut self.values,
            shared: &mut self.shared,
            outputs: &mut self.outputs,
        };
        let blame = Blame::on(&self.operator);
        self.logic.run(record, &mut parts, turn);
        blame.lift();
        if self.values.is_unchecked() || self.shared.is_unchecked() {
            return self.check(turn);
        }
        self.outputs.room()
    }
}

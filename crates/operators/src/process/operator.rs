//! The operator around a process of any kind.

use levada_core::{BoxError, Key, Origin, State, Timestamp, fault};
use levada_runtime::{
    Blame, Downstream, Ending, Failure, Push, Read, Room, Signal, StateError, Subtask, Turn,
    Visitor, blaming, closing,
};

use crate::process::keyed::KeyedValues;
use crate::process::outputs::Outputs;
use crate::process::shared::SharedValue;
use crate::process::side::AnyPort;
use crate::process::{OpenContext, Timer};

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

    /// Called for each timer that is due.
    fn timer(&self, key: &Self::Key, timer: Timer, parts: &mut Parts<'_, Self>, turn: &mut Turn);

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
    /// A watermark that is passed on when the timers before it have fired.
    passing: Option<Timestamp>,
    operator: Origin,
}

impl<L: Logic> Processing<L> {
    /// Opens the process.
    pub(crate) fn open(
        mut logic: L,
        subtask: &Subtask,
        owner: u32,
        values: KeyedValues<L::Key, L::State>,
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
            values,
            shared: SharedValue::new(subtask, L::KEYED),
            outputs: Outputs::new(main, sides, owner, subtask),
            passing: None,
            operator: subtask.operator.clone(),
        })
    }

    /// What is to be done after a call of the user's code, besides emitting: seldom anything.
    #[inline]
    fn is_unsettled(&self) -> bool {
        self.values.is_unchecked() || self.shared.is_unchecked() || self.values.times.is_due()
    }

    #[inline(never)]
    fn settle(&mut self, turn: &mut Turn) -> Room {
        if self.check(turn).is_full() {
            return Room::Full;
        }
        self.go_on(turn)
    }

    fn check(&mut self, turn: &mut Turn) -> Room {
        match self.values.check().and_then(|()| self.shared.check()) {
            Ok(()) => self.outputs.room(),
            Err(error) => turn.fail(&self.operator, error),
        }
    }

    /// Fires the timers that are due and frees what is gone, then passes on the watermark that has waited for it.
    fn go_on(&mut self, turn: &mut Turn) -> Room {
        self.values.prepare();
        let (timestamp, born) = (turn.timestamp, turn.born());
        let room = self.fire(turn);
        turn.timestamp = timestamp;
        if turn.born() != born {
            turn.set_born(born);
            self.outputs.mark(turn);
        }
        if room.is_full() || self.sweep(turn).is_full() {
            return Room::Full;
        }
        match self.passing.take() {
            Some(watermark) => self.outputs.signal(Signal::Watermark(watermark), turn),
            None => room,
        }
    }

    fn sweep(&mut self, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let room = self.values.sweep(self.passing, turn);
        blame.lift();
        room
    }

    /// One call after the other, as long as there is room.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        let mut room = self.outputs.room();
        while !room.is_full()
            && let Some((key, timer)) = self.values.take_due(turn.now())
        {
            if let Timer::Processing(_) = timer
                && turn.born() != turn.now()
            {
                turn.set_born(turn.now());
                self.outputs.mark(turn);
            }
            turn.timestamp = timer.timestamp();
            let mut parts = Parts {
                values: &mut self.values,
                shared: &mut self.shared,
                outputs: &mut self.outputs,
            };
            let blame = Blame::on(&self.operator);
            self.logic.timer(&key, timer, &mut parts, turn);
            drop(key);
            blame.lift();
            room = self.check(turn).and(turn.spend());
        }
        self.values.put_down_timer();
        room
    }
}

impl<L: Logic> Downstream for Processing<L> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        let room = self.outputs.resume(turn);
        self.values.settle();
        if self.shared.is_divided() && (!turn.is_replaying() || fault!("copies-united")) {
            self.shared.unite();
        }
        let waits = self.passing.is_some() || self.values.may_be_due(turn.now());
        if room.is_full() || !waits || turn.is_clearing() {
            return room;
        }
        self.go_on(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.outputs.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if let Signal::Watermark(watermark) = signal
            && self.values.raise(watermark)
        {
            self.passing = Some(watermark);
            return self.go_on(turn);
        }
        self.outputs.signal(signal, turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        let room = self.outputs.tend(turn);
        // Without room, whoever makes some wakes the task.
        if !room.is_full()
            && let Some(at) = self.values.wake_at()
        {
            turn.wake_at(at);
        }
        room
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        if L::KEYED {
            self.values.visit(&self.operator, visitor)?;
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
        if self.is_unsettled() {
            return self.settle(turn);
        }
        self.outputs.room()
    }
}

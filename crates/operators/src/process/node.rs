//! The node of a process.

use std::sync::{Mutex, PoisonError};

use levada_core::{Origin, Timestamp};
use levada_runtime::wiring::{AnyPush, AnyRead, Built, NodeFactory, Shared};
use levada_runtime::{Failure, Subtask};
use levada_state::{KEY, StateFields, StateVersion, VALUE};

use crate::process::keyed::KeyedValues;
use crate::process::operator::{Logic, Processing};
use crate::process::side::{AnyPort, Port};
use crate::ttl::Ttl;

/// Restores the types of an operator's side outputs.
#[derive(Default)]
pub struct SidePorts(Vec<Restore>);

/// The role of what says when state with a time-to-live was last used.
const TIME_OF_USE: &str = "time of last use";

/// The role of the state that all subtasks share.
const SHARED: &str = "shared value";

type Restore = Box<dyn Fn(AnyPush, &Origin, &Subtask) -> Box<dyn AnyPort> + Send + Sync>;

impl SidePorts {
    /// The next side output has records of type `T`.
    pub fn add<T: Send + 'static>(&mut self) {
        self.0.push(Box::new(|push, operator, subtask| {
            Box::new(Port::<T>::new(push.typed(operator), subtask.overdraft()))
        }));
    }
}

impl SidePorts {
    /// The side outputs of a subtask, with their types.
    pub(crate) fn restore(
        &self,
        outputs: impl Iterator<Item = AnyPush>,
        subtask: &Subtask,
    ) -> Vec<Box<dyn AnyPort>> {
        outputs
            .zip(&self.0)
            .map(|(output, restore)| restore(output, &subtask.operator, subtask))
            .collect()
    }
}

/// The node of a process, which is cloned for each subtask.
pub struct ProcessNode<L: Logic> {
    /// A process is `Send` but need not be `Sync`: it is cloned under the lock.
    logic: Mutex<L>,
    owner: u32,
    ttl: Option<Ttl>,
    sides: SidePorts,
    version: StateVersion<L::State>,
}

impl<L: Logic> ProcessNode<L> {
    /// The node numbered `owner`, with these side outputs. State is kept for ever if no time-to-live is given.
    pub fn new(logic: L, owner: u32, ttl: Option<Ttl>, sides: SidePorts) -> Self {
        Self {
            logic: Mutex::new(logic),
            owner,
            ttl,
            sides,
            version: StateVersion::default(),
        }
    }

    /// The state of each key has this version.
    #[must_use]
    pub fn versioned(self, version: StateVersion<L::State>) -> Self {
        Self { version, ..self }
    }
}

impl<L: Logic> NodeFactory for ProcessNode<L> {
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let mut outputs = outputs.into_iter();
        let main = outputs
            .next()
            .expect("a process has a main output")
            .typed::<L::Out>(&subtask.operator);
        let sides = self.sides.restore(outputs, subtask);
        let logic = self
            .logic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let values = if L::KEYED {
            KeyedValues::owned(self.ttl, &self.version, subtask)
        } else {
            KeyedValues::any(subtask)
        };
        let processing = Processing::open(logic, subtask, self.owner, values, main, sides)?;
        Ok(Built::Read(AnyRead::new::<L::Record>(Box::new(processing))))
    }

    fn state(&self) -> Option<StateFields> {
        let mut state = StateFields::of_version(&self.version);
        if L::KEYED {
            state = state.with::<L::Key>(KEY).with::<L::State>(VALUE);
        }
        if self.ttl.is_some() {
            state = state.with::<Timestamp>(TIME_OF_USE);
        }
        if L::SHARED {
            state = state.with::<L::Shared>(SHARED);
        }
        (L::KEYED || L::SHARED).then_some(state)
    }
}

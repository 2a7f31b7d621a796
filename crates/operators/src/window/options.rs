//! What can be said about windows of any kind.

use std::sync::Arc;

use levada_core::Origin;
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::wiring::AnyPush;
use levada_runtime::{Blame, Room, Subtask, Turn};

use crate::process::outputs::Outputs;
use crate::process::side::AnyPort;
use crate::process::{SideOutput, SidePorts};

/// How late records may be, and what becomes of those that are later.
pub struct WindowOptions<T> {
    /// For how many milliseconds after its end a window takes records.
    pub lateness: i64,
    /// Where late records go; none if they are dropped.
    pub late: Option<LateOutput<T>>,
}

/// The side output of late records.
pub struct LateOutput<T> {
    /// The output.
    pub(crate) side: SideOutput<T>,
    /// Clones a record, which stays with who made it.
    pub(crate) clone: fn(&T) -> T,
    /// Restores the type of the output.
    pub(crate) ports: Arc<SidePorts>,
}

impl<T: Clone> LateOutput<T> {
    /// Late records go to this output.
    #[must_use]
    pub fn new(side: SideOutput<T>, ports: SidePorts) -> Self {
        Self {
            side,
            clone: T::clone,
            ports: Arc::new(ports),
        }
    }
}

impl<T> WindowOptions<T> {
    /// The side outputs of a subtask.
    pub(crate) fn sides(
        &self,
        outputs: impl Iterator<Item = AnyPush>,
        subtask: &Subtask,
    ) -> Vec<Box<dyn AnyPort>> {
        match &self.late {
            Some(late) => late.ports.restore(outputs, subtask),
            None => Vec::new(),
        }
    }

    /// The node that the side output belongs to.
    pub(crate) fn owner(&self) -> u32 {
        self.late.as_ref().map_or(0, |late| late.side.owner())
    }

    /// What becomes of a late record, which may stand for several.
    #[inline(never)]
    pub(crate) fn drop_late<O: Send + 'static>(
        &self,
        record: &T,
        records: u64,
        operator: &Origin,
        counters: &OperatorCounters,
        outputs: &mut Outputs<O>,
        turn: &mut Turn,
    ) -> Room
    where
        T: Send + 'static,
    {
        counters.records_late.add(records);
        if let Some(late) = &self.late {
            let blame = Blame::on(operator);
            let record = (late.clone)(record);
            blame.lift();
            outputs.emit_to(&late.side, record, turn);
        }
        outputs.room()
    }
}

impl<T> Default for WindowOptions<T> {
    fn default() -> Self {
        Self {
            lateness: 0,
            late: None,
        }
    }
}

impl<T> Clone for WindowOptions<T> {
    fn clone(&self) -> Self {
        Self {
            lateness: self.lateness,
            late: self.late.clone(),
        }
    }
}

impl<T> Clone for LateOutput<T> {
    fn clone(&self) -> Self {
        Self {
            side: self.side,
            clone: self.clone,
            ports: Arc::clone(&self.ports),
        }
    }
}

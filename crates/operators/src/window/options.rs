//! What can be said about windows of any kind.

use std::sync::Arc;

use levada_runtime::Subtask;
use levada_runtime::wiring::AnyPush;

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

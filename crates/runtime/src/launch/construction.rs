//! Stages that have been built, and do not run yet.

use std::sync::Arc;

use levada_core::Origin;
use levada_state::Hands;

use crate::checkpoint::{Restore, Restored};
use crate::error::{Failure, guarded};
use crate::push::Ending;
use crate::stage::Stage;
use crate::state_memory::Weigher;
use crate::task::{Duties, TaskCell};
use crate::thread::{self, FreeThreads};

/// A stage of one subtask, built.
pub(super) struct Construction {
    pub(super) stage: Box<dyn Stage>,
    pub(super) duties: Duties,
    pub(super) weigher: Weigher,
}

impl Construction {
    /// Gives the stage what it had when the checkpoint was taken.
    fn restore(
        &mut self,
        head: &Origin,
        restored: &Restored,
        hands: &dyn Hands,
    ) -> Result<(), Failure> {
        let mut restore = Restore {
            restored,
            hands,
            failed: None,
            weigher: &mut self.weigher,
            failure: None,
        };
        let visited = self.stage.visit(&mut restore);
        if let Some(failure) = restore.failure {
            return Err(failure);
        }
        let failed = restore.failed;
        visited.map_err(|error| Failure::error(failed.unwrap_or(head.clone()), error.into()))?;
        self.weigher.weigh(&mut *self.stage)
    }
}

/// Gives all stages what they had when the checkpoint was taken.
pub(super) fn restore_all(
    built: Vec<Construction>,
    tasks: &[Arc<TaskCell>],
    restored: &Restored,
    threads: usize,
) -> Result<Vec<Construction>, Failure> {
    // One that has no task left lends a hand to the others.
    let hands = FreeThreads::new("levada-restore-hand", threads);
    let restore = |index: usize, mut construction: Construction| {
        let head = tasks[index].head();
        let _busy = hands.take();
        let result = guarded(head, || construction.restore(head, restored, &hands));
        (construction, result)
    };
    let done = thread::each("levada-restore", threads, built, restore);
    let (built, results): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    match results.into_iter().collect::<Result<(), _>>() {
        Ok(()) => Ok(built),
        Err(failure) => {
            abandon(built, tasks[0].head());
            Err(failure)
        }
    }
}

/// Closes stages that will not run, since another could not be built: what they have opened must not be left behind.
pub(super) fn abandon(built: Vec<Construction>, head: &Origin) {
    for Construction { mut stage, .. } in built {
        if let Err(failure) = guarded(head, || stage.close(Ending::Abort)) {
            tracing::warn!("{failure}, in a task that never ran");
        }
    }
}

//! What the keyed state of a process takes in memory, and what becomes of a job whose state takes too much.
//!
//! ```text
//!  task: every few thousand records ──visit──▶ its operators' states ──▶ gauges ──▶ sum ──above the limit──▶ failure
//! ```
//!
//! A task asks its own states and no others, so nothing is locked. It does so the less often the more work that is, and
//! looks at a few entries each time; state grows in pieces, so that it is not far beyond the limit when that is seen.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use levada_core::Origin;
use levada_core::disk::Disk;
use levada_core::sync::atomic::{AtomicU64, Ordering};
use levada_graph::Bytes;
use levada_state::{KeyedState, Measuring, StateError};

use crate::error::Failure;
use crate::metrics::OperatorCounters;
use crate::push::Visitor;
use crate::stage::Stage;

/// The memory of all keyed state of a process.
pub(crate) struct StateMemory {
    limit: Option<u64>,
    used: AtomicU64,
    /// The operators that may have state, with the counters of each subtask.
    operators: Vec<(Origin, Vec<Arc<OperatorCounters>>)>,
}

/// Looks what the state of one task takes.
pub(crate) struct Weigher {
    memory: Arc<StateMemory>,
    operators: Vec<Weighed>,
    /// What is done until it is looked again: records, and as many for each poll as it may last.
    left: u64,
    round: u64,
}

/// An operator of a task.
struct Weighed {
    operator: Origin,
    counters: Arc<OperatorCounters>,
    bytes: u64,
}

/// The work of a poll, as records: one that reads few may still read large ones.
const RECORDS_PER_POLL: u64 = 512;

/// Records after which it is looked again, if that is little work.
const RECORDS_MIN: u64 = 4_096;

/// Records for each step of looking.
const RECORDS_PER_STEP: u64 = 8;

/// Steps of looking at entries.
const STEPS: u64 = RECORDS_MIN / RECORDS_PER_STEP;

impl StateMemory {
    pub(crate) fn new(
        limit: Option<u64>,
        operators: Vec<(Origin, Vec<Arc<OperatorCounters>>)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            operators,
        })
    }

    /// Counts what an operator takes instead of what it took. Fails if all of them take too much and this one takes more than it
    /// did.
    fn count(&self, of: &mut Weighed, bytes: u64) -> Result<(), Failure> {
        let before = std::mem::replace(&mut of.bytes, bytes);
        of.counters.state_bytes.set(bytes);
        // Wraps where it shrinks, as the sum then does; each task subtracts no more than it has added.
        let change = bytes.wrapping_sub(before);
        let used = self.used.fetch_add(change, Ordering::Relaxed);
        let used = used.wrapping_add(change);
        match self.limit {
            Some(limit) if used > limit && bytes > before => {
                let error = self.too_much(used, limit);
                Err(Failure::error(of.operator.clone(), error.into()))
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn too_much(&self, used: u64, limit: u64) -> TooMuchState {
        let operators = self.operators.iter().map(|(operator, subtasks)| {
            let bytes = subtasks.iter().map(|of| of.state_bytes.get()).sum();
            (operator.clone(), bytes)
        });
        let mut operators: Vec<(Origin, u64)> = operators.filter(|(_, bytes)| *bytes > 0).collect();
        operators.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        TooMuchState {
            used,
            limit,
            operators,
        }
    }
}

impl Weigher {
    /// For a task that runs these operators.
    pub(crate) fn new(
        memory: Arc<StateMemory>,
        operators: impl Iterator<Item = (Origin, Arc<OperatorCounters>)>,
    ) -> Self {
        let operators = operators.map(|(operator, counters)| Weighed {
            operator,
            counters,
            bytes: 0,
        });
        Self {
            memory,
            operators: operators.collect(),
            left: RECORDS_MIN,
            round: 0,
        }
    }

    /// A poll has ended, of so many records. Looks what the state takes if it is time to.
    ///
    /// # Errors
    /// If the state of all tasks together takes too much.
    #[inline]
    pub(crate) fn after_poll(
        &mut self,
        records: u64,
        stage: &mut dyn Stage,
    ) -> Result<(), Failure> {
        self.left = self.left.saturating_sub(records + RECORDS_PER_POLL);
        if self.left > 0 {
            return Ok(());
        }
        self.weigh(stage)
    }

    /// Looks what the state takes.
    ///
    /// # Errors
    /// If the state of all tasks together takes too much.
    pub(crate) fn weigh(&mut self, stage: &mut dyn Stage) -> Result<(), Failure> {
        self.round += 1;
        let mut weighing = Weighing {
            measuring: Measuring::new(STEPS, self.round),
            weigher: self,
            failure: None,
        };
        let visited = stage.visit(&mut weighing);
        let (steps, failure) = (weighing.measuring.steps(), weighing.failure);
        self.left = RECORDS_MIN.max(steps * RECORDS_PER_STEP);
        debug_assert!(visited.is_ok(), "weighing reads and writes no state");
        failure.map_or(Ok(()), Err)
    }

    /// Looks what one state takes, which is being restored.
    ///
    /// # Errors
    /// If the state of all tasks together takes too much.
    pub(crate) fn weigh_one(
        &mut self,
        operator: &Origin,
        state: &mut dyn KeyedState,
    ) -> Result<(), Failure> {
        self.round += 1;
        let bytes = state.memory(&mut Measuring::new(STEPS, self.round));
        self.count(operator, bytes)
    }

    fn count(&mut self, operator: &Origin, bytes: u64) -> Result<(), Failure> {
        let mut operators = self.operators.iter_mut();
        match operators.find(|of| of.operator.name() == operator.name()) {
            Some(of) => self.memory.count(of, bytes),
            None => Ok(()),
        }
    }
}

/// The state of a task that has ended is gone.
impl Drop for Weigher {
    fn drop(&mut self) {
        for of in &mut self.operators {
            let counted = self.memory.count(of, 0);
            debug_assert!(counted.is_ok(), "nothing can be too little");
        }
    }
}

/// What keyed state may take unless it is said: seven tenths of what the machine has, or the control group that the process is
/// in, besides the memory for buffers. None if that is not known, as in a simulation.
pub(crate) fn state_memory_by_default(disk: &dyn Disk, buffers: u64) -> Option<u64> {
    let memory = memory_of_process(|path| read_text(disk, path))?;
    Some(share_of(memory, buffers))
}

fn share_of(memory: u64, buffers: u64) -> u64 {
    // Buffers take what they need, up to that: in little memory the state may have half of it all the same.
    memory.saturating_sub(buffers).max(memory / 2) / 10 * 7
}

fn memory_of_process(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
    // A group is limited by those that it is in, too.
    let groups = Path::new(group.unwrap_or("/")).ancestors();
    let groups = groups.filter_map(|group| {
        let group = group.to_str()?.trim_end_matches('/');
        read(&format!("/sys/fs/cgroup{group}/memory.max"))
    });
    let limits = groups.chain(read("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    // `max` is no number: then there is no limit.
    let limits = limits.filter_map(|text| text.trim().parse::<u64>().ok());
    let machine = read("/proc/meminfo").and_then(|text| total_in(&text));
    limits.chain(machine).min()
}

fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The beginning of a file of the system, which does not know how long it is.
fn read_text(disk: &dyn Disk, path: &str) -> Option<String> {
    let mut file = disk.open(Path::new(path)).ok()?;
    let mut buffer = [0; 4096];
    let length = file.read_at(0, &mut buffer).ok()?;
    String::from_utf8(buffer[..length].to_vec()).ok()
}

struct Weighing<'a> {
    measuring: Measuring,
    weigher: &'a mut Weigher,
    failure: Option<Failure>,
}

impl Visitor for Weighing<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let bytes = state.memory(&mut self.measuring);
        if let Err(failure) = self.weigher.count(operator, bytes) {
            self.failure.get_or_insert(failure);
        }
        Ok(())
    }
}

/// Keyed state takes more memory than it may.
#[derive(Debug)]
pub(crate) struct TooMuchState {
    used: u64,
    limit: u64,
    /// The largest first.
    operators: Vec<(Origin, u64)>,
}

impl fmt::Display for TooMuchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "keyed state takes {} of memory, more than the {} that it may:",
            Bytes(self.used),
            Bytes(self.limit)
        )?;
        for (place, (operator, bytes)) in self.operators.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma} {operator} {}", Bytes(*bytes))?;
        }
        f.write_str(
            "; raise `--state-memory` if the machine has more, or keep less: give the state a time-to-live, make windows \
             or their allowed lateness shorter, or use fewer keys (a higher parallelism on the same machine is no help)",
        )
    }
}

impl std::error::Error for TooMuchState {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let memory = memory_of_process(|path| {
            let file = files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| (*text).to_owned())
        });
        assert_eq!(memory, expected);
    }

    #[test]
    fn the_memory_of_a_process_is_that_of_the_smallest_group_around_it() {
        let machine = ("/proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        check(&[], None);
        check(&[machine], Some(16 << 20));
        let here = ("/proc/self/cgroup", "0::/jobs.slice/a.service\n");
        let group = "/sys/fs/cgroup/jobs.slice/a.service/memory.max";
        check(&[machine, here, (group, "max\n")], Some(16 << 20));
        check(&[machine, here, (group, "1000\n")], Some(1_000));
        let slice = ("/sys/fs/cgroup/jobs.slice/memory.max", "900\n");
        check(&[machine, here, (group, "1000\n"), slice], Some(900));
        let container = ("/sys/fs/cgroup/memory.max", "800\n");
        check(
            &[machine, ("/proc/self/cgroup", "0::/\n"), container],
            Some(800),
        );
        check(&[machine, here, (group, "max\n"), container], Some(800));
        // Of the first version.
        let before = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "700\n");
        check(
            &[machine, ("/proc/self/cgroup", "4:memory:/a\n"), before],
            Some(700),
        );
        let none = (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        check(&[machine, none], Some(16 << 20));
    }

    #[test]
    fn little_memory_is_not_all_for_buffers() {
        assert_eq!(share_of(1_000, 100), 630);
        assert_eq!(share_of(1_000, 600), 350);
        assert_eq!(share_of(1_000, 5_000), 350);
    }
}

//! When checkpoints are taken, and what has become of each: the coordinator's part.

mod outcome;
mod purpose;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use levada_checkpoint::{CheckpointKind, FileEntry, Manifest};
use levada_core::{Moment, Origin, fault};
use levada_state::Saving;

use crate::checkpoint::block::{Outlet, ToWriter};
use crate::checkpoint::hold::{self, All, HeldUp, Hold};
use crate::checkpoint::options::CheckpointOptions;
use crate::checkpoint::order::{Mail, Order, tell_all};
use crate::checkpoint::participant::SavedByTask;
use crate::checkpoint::setup::Setup;
use crate::checkpoint::summary::CheckpointMetrics;
use crate::checkpoint::writer::Start;
use crate::event::Event;
use crate::metrics::OperatorCounters;

use outcome::Committing;
pub use purpose::{Asked, Purpose};

/// What the schedule knows of tasks.
pub(crate) struct Tasks<'a> {
    /// Whether it has not ended.
    pub(crate) is_live: &'a dyn Fn(usize) -> bool,
    pub(crate) wake: &'a dyn Fn(usize),
    /// The operator at its head, and the number of its subtask.
    pub(crate) place: &'a dyn Fn(usize) -> (Origin, usize),
}

/// Takes checkpoints one at a time.
///
/// ```text
///        due, asked                  all tasks have saved           written
///  idle ────────────▶ collecting(n) ──────────────────▶ writing(n) ─────────▶ idle, sinks commit n
///    ▲                    │ timeout, failure                │ failure
///    └────────────────────┴────────────────────────────────┘  every task hears that n is over
/// ```
pub(crate) struct Schedule {
    setup: Arc<Setup>,
    outlet: Outlet,
    mails: Vec<Arc<Mail>>,
    duties: Vec<TaskDuties>,
    manifest: Manifest,
    /// The last one that is complete and was taken by these tasks.
    confirmed: Option<Manifest>,
    /// Files of that one are gone: the next one stands alone.
    has_lost_base: bool,
    pending: Option<Pending>,
    committing: Option<Committing>,
    /// The checkpoint at which the job stops is complete.
    is_stopping: bool,
    asked: VecDeque<Asked>,
    last_begin: Moment,
    last_end: Moment,
    failures: u32,
    metrics: CheckpointMetrics,
}

/// What a task has to do with checkpoints.
#[derive(Clone)]
pub(crate) struct TaskDuties {
    /// Its sinks commit.
    pub(crate) sink: bool,
    /// Its source keeps how far it has been read.
    pub(crate) source: bool,
    /// The operators in it, by their places in the manifest, with what they count; and its number among their subtasks.
    pub(crate) operators: Vec<(usize, Arc<OperatorCounters>)>,
    pub(crate) subtask: u32,
}

struct Pending {
    number: u64,
    asked: Asked,
    began: Moment,
    /// By task: whether it has not saved its part.
    waits: Vec<bool>,
    /// By task: whether it has. One that has ended before has no state any more.
    has_saved: Vec<bool>,
    saved: SavedByTask,
    overtaken: usize,
    has_overtaken: bool,
    /// Whether it has been told that it is late.
    is_late: bool,
    /// When the last task had saved its part.
    saved_at: Option<Moment>,
}

/// What the run is to do.
#[derive(Debug)]
pub(crate) enum Decision {
    GoOn,
    /// The last checkpoint is complete: sinks may commit, and the job ends.
    Finish,
    /// It has stopped where it was to.
    Stop,
    /// It cannot go on without checkpoints.
    Fail(String),
}

impl Schedule {
    pub(crate) fn new(
        setup: Arc<Setup>,
        outlet: Outlet,
        mails: Vec<Arc<Mail>>,
        duties: Vec<TaskDuties>,
        manifest: Manifest,
        restored: Option<u64>,
        now: Moment,
    ) -> Self {
        Self {
            setup,
            outlet,
            mails,
            duties,
            manifest,
            confirmed: None,
            has_lost_base: false,
            pending: None,
            committing: None,
            is_stopping: false,
            asked: VecDeque::new(),
            last_begin: now,
            last_end: now,
            failures: 0,
            metrics: CheckpointMetrics {
                restored,
                ..CheckpointMetrics::default()
            },
        }
    }

    pub(crate) fn metrics(&self) -> &CheckpointMetrics {
        &self.metrics
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    fn options(&self) -> &CheckpointOptions {
        self.setup.options()
    }

    /// Takes note of a checkpoint that somebody wants.
    pub(crate) fn ask(&mut self, asked: Asked) {
        self.asked.push_back(asked);
    }

    /// When something is to be done, if nothing happens before.
    pub(crate) fn due(&self) -> Option<Moment> {
        match &self.pending {
            Some(pending) => {
                let timeout = pending.began + self.options().timeout;
                let others = [self.overtakes_at(pending), self.late_at(pending)];
                others.into_iter().flatten().chain([timeout]).min()
            }
            None if !self.asked.is_empty() => Some(Moment::ZERO),
            None => self.next_at(),
        }
    }

    fn next_at(&self) -> Option<Moment> {
        let every = self.options().every?;
        Some((self.last_begin + every).max(self.last_end + self.options().pause_min))
    }

    fn overtakes_at(&self, pending: &Pending) -> Option<Moment> {
        if pending.has_overtaken || pending.saved_at.is_some() || !self.options().exactly_once {
            return None;
        }
        Some(pending.began + self.options().alignment_timeout?)
    }

    /// When somebody is to be told what it waits for.
    fn late_at(&self, pending: &Pending) -> Option<Moment> {
        (!pending.is_late).then(|| pending.began + self.options().timeout / LATE_PART)
    }

    /// What the checkpoint that is being taken waits for.
    fn held_up(&self, tasks: &Tasks<'_>) -> Vec<HeldUp> {
        let Some(pending) = &self.pending else {
            return Vec::new();
        };
        if pending.saved_at.is_some() {
            return vec![HeldUp {
                operator: None,
                subtask: 0,
                hold: Hold::Files,
            }];
        }
        let waits = (0..self.mails.len()).filter(|task| pending.waits[*task]);
        let held = waits.map(|task| {
            let (operator, subtask) = (tasks.place)(task);
            HeldUp {
                operator: Some(operator),
                subtask,
                hold: self.mails[task].hold(pending.number),
            }
        });
        let mut held: Vec<_> = held.collect();
        hold::sort(&mut held);
        held
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Moment, tasks: &Tasks<'_>) -> (Vec<Event>, Decision) {
        let mut events = Vec::new();
        let mut decision = Decision::GoOn;
        if let Some(pending) = &self.pending {
            let number = pending.number;
            if now >= pending.began + self.options().timeout {
                let timeout = self.options().timeout;
                let held = self.held_up(tasks);
                let reason = format!("it took longer than {}: {}", text(timeout), All(&held));
                decision = self.give_up(&reason, now, tasks, &mut events);
            } else if self.overtakes_at(pending).is_some_and(|at| now >= at) {
                self.overtake(number, tasks);
            } else if self.late_at(pending).is_some_and(|at| now >= at) {
                events.push(Event::CheckpointLate {
                    number,
                    after: now - pending.began,
                    held_up: self.held_up(tasks),
                });
                if let Some(pending) = &mut self.pending {
                    pending.is_late = true;
                }
            }
        } else if let Some(asked) = self.asked.pop_front() {
            self.begin(asked, now, tasks);
        } else if self.next_at().is_some_and(|at| now >= at) {
            let asked = Asked {
                purpose: Purpose::Recovery,
                stops: false,
                answer: None,
            };
            self.begin(asked, now, tasks);
        }
        (events, decision)
    }

    fn begin(&mut self, asked: Asked, now: Moment, tasks: &Tasks<'_>) {
        let number = self.setup.next_number();
        let (base, files) = match &asked.purpose {
            Purpose::Savepoint(_) => (None, Vec::new()),
            _ => self.base(),
        };
        self.outlet.tell(ToWriter::Start(Start {
            number,
            savepoint: match &asked.purpose {
                Purpose::Savepoint(dir) => Some(dir.clone()),
                _ => None,
            },
            base: files,
        }));
        let order = Order {
            saving: Saving {
                checkpoint: number,
                base,
                confirmed: self.confirmed.as_ref().map(|manifest| manifest.number),
            },
            aligns: self.options().exactly_once,
            stops: asked.stops,
        };
        self.last_begin = now;
        self.pending = Some(Pending {
            number,
            asked,
            began: now,
            waits: (0..self.mails.len())
                .map(|task| (tasks.is_live)(task))
                .collect(),
            has_saved: vec![false; self.mails.len()],
            saved: SavedByTask::default(),
            overtaken: 0,
            has_overtaken: false,
            is_late: false,
            saved_at: None,
        });
        // All are told before one is woken: who sees a barrier knows what it is for.
        tell_all(&self.mails, |letters| letters.order = Some(order));
        if self.options().exactly_once && self.options().alignment_timeout == Some(Duration::ZERO) {
            self.overtake(number, tasks);
        } else {
            self.wake_all(tasks);
        }
    }

    /// The checkpoint that the next one may be based on, with its files.
    fn base(&self) -> (Option<u64>, Vec<FileEntry>) {
        let Some(confirmed) = &self.confirmed else {
            return (None, Vec::new());
        };
        let full = confirmed.files.first().map_or(0, |file| file.bytes);
        let is_worth_it = confirmed.bytes() - full <= full;
        if confirmed.files.len() < self.options().chain_max && is_worth_it && !self.has_lost_base {
            (Some(confirmed.number), confirmed.files.clone())
        } else {
            (None, Vec::new())
        }
    }

    fn overtake(&mut self, number: u64, tasks: &Tasks<'_>) {
        if let Some(pending) = &mut self.pending {
            pending.has_overtaken = true;
        }
        tell_all(&self.mails, |letters| letters.overtake = Some(number));
        self.wake_all(tasks);
    }

    /// A task has saved its part.
    pub(crate) fn saved(
        &mut self,
        task: usize,
        number: u64,
        saved: SavedByTask,
        now: Moment,
        tasks: &Tasks<'_>,
    ) {
        let Some(pending) = self.pending.as_mut().filter(|p| p.number == number) else {
            return;
        };
        pending.waits[task] = false;
        pending.has_saved[task] = true;
        pending.saved.bytes += saved.bytes;
        pending.saved.in_flight_bytes += saved.in_flight_bytes;
        pending.saved.in_flight_records += saved.in_flight_records;
        pending.overtaken += usize::from(saved.has_overtaken);
        if fault!("commit-early") {
            self.commit(number, false, tasks);
        }
        self.look_whether_saved(now);
    }

    /// A task has ended; what it had not saved it does not have any more.
    pub(crate) fn ended(&mut self, task: usize, now: Moment, tasks: &Tasks<'_>) -> Decision {
        if let Some(pending) = &mut self.pending {
            pending.waits[task] = false;
            self.look_whether_saved(now);
        }
        self.committed(task, u64::MAX, tasks)
    }

    fn look_whether_saved(&mut self, now: Moment) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        if pending.saved_at.is_some() || pending.waits.iter().any(|waits| *waits) {
            return;
        }
        pending.saved_at = Some(now);
        let mut manifest = self.manifest.clone();
        manifest.number = pending.number;
        manifest.created = self.setup.wall().0;
        manifest.kind = match pending.asked.purpose {
            Purpose::Recovery => CheckpointKind::Checkpoint,
            Purpose::Savepoint(_) => CheckpointKind::Savepoint,
            Purpose::Final => CheckpointKind::Final,
        };
        for (task, duties) in self.duties.iter().enumerate() {
            for (operator, counters) in &duties.operators {
                let entry = &mut manifest.operators[*operator];
                if !pending.has_saved[task] {
                    entry.finished.push(duties.subtask);
                }
                let watermark = counters.watermark.get().map(|at| at.0);
                entry.watermark = match (entry.watermark, watermark) {
                    (Some(least), Some(other)) => Some(least.min(other)),
                    (least, other) => least.or(other),
                };
            }
        }
        self.outlet.tell(ToWriter::Finish(Box::new(manifest)));
    }

    /// The run is being given up.
    pub(crate) fn stop(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.outlet.tell(ToWriter::Discard(pending.number));
            if let Some(answer) = pending.asked.answer {
                let _ = answer.try_send(Err("the job ended before".to_owned()));
            }
        }
        for asked in self.asked.drain(..) {
            if let Some(answer) = asked.answer {
                let _ = answer.try_send(Err("the job ended before".to_owned()));
            }
        }
    }

    fn wake_all(&self, tasks: &Tasks<'_>) {
        for task in 0..self.mails.len() {
            if (tasks.is_live)(task) {
                (tasks.wake)(task);
            }
        }
    }
}

/// A checkpoint is late once so large a part of the time that it may take is over: one in so many.
const LATE_PART: u32 = 10;

fn text(duration: Duration) -> String {
    format!("{duration:?}")
}

//! What becomes of a checkpoint: it is complete, and sinks commit; or it is given up.

use std::sync::Arc;

use levada_checkpoint::{CheckpointError, CheckpointKind};
use levada_core::Moment;

use super::{Decision, Purpose, Schedule, Tasks};
use crate::checkpoint::block::ToWriter;
use crate::checkpoint::order::tell_all;
use crate::checkpoint::summary::CheckpointSummary;
use crate::checkpoint::writer::Durable;
use crate::event::Event;

/// Sinks that commit.
pub(super) struct Committing {
    pub(super) number: u64,
    /// By task: whether its sinks have not committed.
    pub(super) waits: Vec<bool>,
    pub(super) stops: bool,
}

impl Schedule {
    /// A checkpoint has been written, or could not be.
    pub(crate) fn written(
        &mut self,
        number: u64,
        result: Result<Box<Durable>, Arc<CheckpointError>>,
        now: Moment,
        tasks: &Tasks<'_>,
    ) -> (Vec<Event>, Decision) {
        let mut events = Vec::new();
        if self
            .pending
            .as_ref()
            .is_none_or(|pending| pending.number != number)
        {
            return (events, Decision::GoOn);
        }
        let durable = match result {
            Ok(durable) => *durable,
            Err(error) => {
                self.has_lost_base |= matches!(
                    *error,
                    CheckpointError::Missing { .. } | CheckpointError::Length { .. }
                );
                let reason = crate::error::chain(&*error);
                let decision = self.give_up(&reason, now, tasks, &mut events);
                return (events, decision);
            }
        };
        let pending = self.pending.take().expect("it has just been looked at");
        let summary = CheckpointSummary {
            number,
            path: durable.path,
            saved_nanos: pending.saved_at.unwrap_or(now).nanos_since(pending.began),
            durable_nanos: now.nanos_since(pending.began),
            sync_nanos: durable.sync_nanos,
            syncs: durable.syncs,
            bytes: durable.manifest.own_bytes(),
            in_flight_bytes: pending.saved.in_flight_bytes,
            in_flight_records: pending.saved.in_flight_records,
            overtaken: pending.overtaken,
            chain: durable.manifest.files.len(),
        };
        self.failures = 0;
        self.last_end = now;
        self.metrics.completed += 1;
        let metrics = &mut self.metrics;
        metrics.queue_bytes_max = self.outlet.load().bytes_max();
        metrics.saved_nanos_max = metrics.saved_nanos_max.max(summary.saved_nanos);
        metrics.durable_nanos_max = metrics.durable_nanos_max.max(summary.durable_nanos);
        metrics.last = Some(summary.clone());
        events.push(Event::CheckpointCompleted(Box::new(summary.clone())));
        let mut decision = Decision::GoOn;
        match pending.asked.purpose {
            Purpose::Savepoint(_) if !pending.asked.stops => {}
            Purpose::Final => decision = Decision::Finish,
            Purpose::Recovery | Purpose::Savepoint(_) => {
                decision = self.commit(number, pending.asked.stops, tasks);
            }
        }
        if durable.manifest.kind != CheckpointKind::Savepoint {
            self.has_lost_base = false;
            self.confirmed = Some(durable.manifest);
        }
        if let Some(answer) = pending.asked.answer {
            let _ = answer.try_send(Ok(summary));
        }
        (events, decision)
    }

    /// Lets the sinks commit.
    pub(super) fn commit(&mut self, number: u64, stops: bool, tasks: &Tasks<'_>) -> Decision {
        self.is_stopping |= stops;
        let waits = self.duties.iter().enumerate();
        let waits = waits.map(|(task, duties)| duties.sink && (tasks.is_live)(task));
        self.committing = Some(Committing {
            number,
            waits: waits.collect(),
            stops,
        });
        for (task, duties) in self.duties.iter().enumerate() {
            if duties.sink {
                self.mails[task].tell(|letters| letters.commit = Some(number));
                (tasks.wake)(task);
            }
        }
        self.look_whether_committed(tasks)
    }

    /// The sinks of a task have committed.
    pub(crate) fn committed(&mut self, task: usize, number: u64, tasks: &Tasks<'_>) -> Decision {
        match &mut self.committing {
            Some(committing) if committing.number <= number => {
                committing.waits[task] = false;
                self.look_whether_committed(tasks)
            }
            _ => Decision::GoOn,
        }
    }

    /// Once all sinks have committed, the sources keep how far they had been read.
    fn look_whether_committed(&mut self, tasks: &Tasks<'_>) -> Decision {
        let done = self
            .committing
            .take_if(|committing| !committing.waits.iter().any(|waits| *waits));
        let Some(committing) = done else {
            return Decision::GoOn;
        };
        for (task, duties) in self.duties.iter().enumerate() {
            if duties.source {
                self.mails[task].tell(|letters| letters.settle = Some(committing.number));
                (tasks.wake)(task);
            }
        }
        self.metrics.stopped = committing.stops;
        match committing.stops {
            true => Decision::Stop,
            false => Decision::GoOn,
        }
    }

    /// Gives up the checkpoint that is being taken.
    pub(super) fn give_up(
        &mut self,
        reason: &str,
        now: Moment,
        tasks: &Tasks<'_>,
        events: &mut Vec<Event>,
    ) -> Decision {
        let Some(pending) = self.pending.take() else {
            return Decision::GoOn;
        };
        let number = pending.number;
        self.outlet.tell(ToWriter::Discard(number));
        tell_all(&self.mails, |letters| letters.over = Some(number));
        self.wake_all(tasks);
        self.last_end = now;
        self.metrics.failed += 1;
        events.push(Event::CheckpointFailed {
            number,
            reason: reason.to_owned(),
        });
        if let Some(answer) = pending.asked.answer {
            let _ = answer.try_send(Err(reason.to_owned()));
            return Decision::GoOn;
        }
        if pending.asked.purpose == Purpose::Final {
            return Decision::Fail(format!("the last checkpoint failed: {reason}"));
        }
        self.failures += 1;
        match self.options().failures_max {
            Some(max) if self.failures > max => Decision::Fail(format!(
                "{} checkpoints in a row failed, and {max} may: {reason}",
                self.failures
            )),
            _ => Decision::GoOn,
        }
    }
}

//! A task's part in checkpoints.

use std::sync::Arc;

use crossbeam_channel::Sender;
use levada_core::{Origin, Wake};

use crate::checkpoint::block::{Block, Outlet};
use crate::checkpoint::hold::{Hold, Outside};
use crate::checkpoint::order::{Mail, Order};
use crate::checkpoint::visitors::{Begin, Commit, GiveUp, Left, Overtake, Slice};
use crate::error::Failure;
use crate::push::Visitor;
use crate::stage::Stage;
use crate::task::Report;
use crate::turn::Turn;

/// What a task knows of checkpoints.
///
/// ```text
///              order                 barriers of all channels, or overtake
///  nothing ───────────▶ wanted ─────────────────────────────────────────────▶ running ──▶ nothing
///     ▲                   │ over                                                 │ all saved: acknowledged
///     └───────────────────┴───────────────────────────────◀──────────────────────┘ over
/// ```
///
/// The stage decides when a checkpoint that is wanted begins, because it knows where the barriers are.
pub struct Participant {
    task: usize,
    mail: Arc<Mail>,
    outlet: Option<Outlet>,
    reports: Sender<Report>,
    waker: Arc<dyn Wake>,
    order: Option<Order>,
    overtakes: Option<u64>,
    running: Option<Running>,
    /// The last checkpoint that has begun here, or is over.
    last: u64,
    /// Checkpoints up to this one are over; the head of the stage has not been told.
    over: Option<u64>,
    /// The same; its sinks have not been told.
    given_up: Option<u64>,
    commit: Option<u64>,
    settle: Option<u64>,
    /// The checkpoint at which the task has stopped.
    stopped_at: Option<u64>,
}

/// A checkpoint that has begun here.
struct Running {
    order: Order,
    /// Whether channels are still being saved.
    has_open_inputs: bool,
    /// Whether barriers that wait for room are to go ahead.
    overtakes: bool,
    left: Left,
    saved: SavedByTask,
}

/// What a task has saved for a checkpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SavedByTask {
    /// Bytes of all kinds.
    pub bytes: u64,
    /// Bytes of them that were in flight on channels.
    pub in_flight_bytes: u64,
    /// Records that were in flight on channels.
    pub in_flight_records: u64,
    /// Whether the barrier overtook what was in its way.
    pub has_overtaken: bool,
}

/// How a barrier comes to those behind the task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Passage {
    /// Behind all that was sent before it.
    InOrder,
    /// Ahead of it.
    Ahead,
}

/// What a task is to do after it has seen to its checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// As if there were none.
    Nothing,
    /// To come back soon, for another slice.
    More,
    /// To come back when the disk has caught up.
    Wait,
}

/// Bytes of a slice: what a task saves in one go.
pub(crate) const SLICE_BYTES: usize = 64 << 10;

impl Participant {
    pub(crate) fn new(
        task: usize,
        mail: Arc<Mail>,
        outlet: Option<Outlet>,
        reports: Sender<Report>,
        waker: Arc<dyn Wake>,
    ) -> Self {
        Self {
            task,
            mail,
            outlet,
            reports,
            waker,
            order: None,
            overtakes: None,
            running: None,
            last: 0,
            over: None,
            given_up: None,
            commit: None,
            settle: None,
            stopped_at: None,
        }
    }

    /// Reads what the coordinator has told.
    pub(crate) fn listen(&mut self) {
        let Some(letters) = self.mail.take() else {
            return;
        };
        if let Some(order) = letters.order.filter(|order| order.number() > self.last) {
            self.order = Some(order);
        }
        self.overtakes = letters.overtake.or(self.overtakes);
        if let Some(over) = letters.over {
            self.last = self.last.max(over);
            self.order.take_if(|order| order.number() <= over);
            self.running
                .take_if(|running| running.order.number() <= over);
            self.over = Some(over);
            self.given_up = Some(over);
            // What it was to stop for is not there: it goes on.
            self.stopped_at.take_if(|stopped| *stopped <= over);
        }
        self.commit = letters.commit.or(self.commit);
        self.settle = letters.settle.or(self.settle);
    }

    /// The checkpoint that is to begin here.
    pub(crate) fn wanted(&self) -> Option<Order> {
        self.order
    }

    /// Whether the checkpoint that is to begin here must do so at once.
    pub(crate) fn must_overtake(&self) -> bool {
        self.order
            .is_some_and(|order| self.overtakes == Some(order.number()))
    }

    /// The last checkpoint that has begun here, or is over: its barriers are old news.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a checkpoint is over since this was last asked: what the stage has put aside for it is to be let go.
    pub(crate) fn take_over(&mut self) -> Option<u64> {
        self.over.take()
    }

    /// Whether nothing may be read any more.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped_at.is_some()
    }

    /// Begins the checkpoint that is wanted. The stage shows all that it has to the visitor, and then calls
    /// [`inputs_saved`](Self::inputs_saved) once its channels are saved.
    pub(crate) fn begin(&mut self, passage: Passage) -> Option<Begin<'_>> {
        let order = self.order.take()?;
        self.last = order.number();
        if order.stops {
            self.stopped_at = Some(order.number());
        }
        let running = self.running.insert(Running {
            order,
            has_open_inputs: true,
            overtakes: passage == Passage::Ahead,
            left: Left::default(),
            saved: SavedByTask {
                has_overtaken: passage == Passage::Ahead,
                ..SavedByTask::default()
            },
        });
        Some(Begin::new(
            order,
            passage,
            self.outlet.as_ref()?,
            &mut running.saved,
            &mut running.left,
        ))
    }

    /// The checkpoint for which channels are being saved.
    pub(crate) fn saving_inputs(&self) -> Option<u64> {
        let running = self.running.as_ref()?;
        running.has_open_inputs.then(|| running.order.number())
    }

    /// Hands on what is saved of a channel.
    pub(crate) fn save(&mut self, block: Block, records: u64) {
        if let (Some(running), Some(outlet)) = (&mut self.running, &self.outlet) {
            let bytes = outlet.send(running.order.number(), block);
            running.saved.bytes += bytes;
            running.saved.in_flight_bytes += bytes;
            running.saved.in_flight_records += records;
        }
    }

    /// All channels are saved.
    pub(crate) fn inputs_saved(&mut self) {
        if let Some(running) = &mut self.running {
            running.has_open_inputs = false;
        }
    }

    /// Whether there is something to do for a checkpoint.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.running.is_some()
            || self.given_up.is_some()
            || self.commit.is_some()
            || self.settle.is_some()
    }

    /// Does what is to be done between two polls of the stage.
    pub(crate) fn go_on(&mut self, stage: &mut dyn Stage, head: &Origin) -> Result<Next, Failure> {
        self.commit(stage, head)?;
        if let Some(over) = self.given_up.take() {
            visit(stage, &mut GiveUp(over), head)?;
            if self.running.is_none() {
                // There may be room now.
                return Ok(Next::More);
            }
        }
        let (Some(running), Some(outlet)) = (&mut self.running, &self.outlet) else {
            return Ok(Next::Nothing);
        };
        let number = running.order.number();
        if self.overtakes == Some(number) && !running.overtakes {
            running.overtakes = true;
            running.saved.has_overtaken |= running.left.waiting;
            let mut overtake = Overtake::new(number, outlet, &mut running.saved);
            visit(stage, &mut overtake, head)?;
            overtake.finish()?;
        }
        if running.left != Left::default() {
            if running.left.state && outlet.load().is_full(&self.waker) {
                return Ok(Next::Wait);
            }
            let mut slice = Slice::new(number, outlet, &mut running.saved);
            visit(stage, &mut slice, head)?;
            running.left = slice.finish()?;
        }
        let has_more = running.left.state;
        self.acknowledge();
        Ok(if has_more { Next::More } else { Next::Nothing })
    }

    /// Says what the checkpoint that is wanted, or has begun here, waits for: at the end of a poll.
    pub(crate) fn say_what_holds(&self, stage: &mut dyn Stage, turn: &Turn, is_blocked: bool) {
        let Some(number) = self.pending() else {
            return;
        };
        self.mail.say(number, self.hold(stage, turn, is_blocked));
    }

    /// The checkpoint that is wanted, or has begun here and is not saved.
    #[inline]
    pub(crate) fn pending(&self) -> Option<u64> {
        let running = self.running.as_ref().map(|running| running.order);
        self.order.or(running).map(|order| order.number())
    }

    fn hold(&self, stage: &mut dyn Stage, turn: &Turn, is_blocked: bool) -> Hold {
        let unfinished = || Hold::Unfinished {
            operator: turn.unfinished().map(|of| of.name().to_owned()),
        };
        let Some(running) = &self.running else {
            let missing = self.order.map(|order| stage.missing(order.number()));
            return match missing {
                Some(edges) if !edges.is_empty() && !self.must_overtake() => {
                    Hold::Barriers { edges, is_blocked }
                }
                _ => unfinished(),
            };
        };
        let number = running.order.number();
        if running.left.state {
            let outlet = self.outlet.as_ref();
            let is_full = outlet.is_some_and(|outlet| outlet.load().is_over());
            return if is_full { Hold::Disk } else { Hold::State };
        }
        if running.has_open_inputs {
            let edges = stage.missing(number);
            return Hold::Barriers { edges, is_blocked };
        }
        let mut outside = Outside {
            checkpoint: number,
            found: None,
        };
        // It writes and reads nothing.
        let _ = stage.visit(&mut outside);
        outside.found.unwrap_or(Hold::State)
    }

    /// Tells the coordinator once everything is saved.
    fn acknowledge(&mut self) {
        let done = self
            .running
            .take_if(|running| running.left == Left::default() && !running.has_open_inputs);
        if let Some(running) = done {
            let report = Report::Saved(self.task, running.order.number(), running.saved);
            // The channel has room for what every task can report of one checkpoint.
            let _ = self.reports.try_send(report);
        }
    }

    /// Lets the sinks commit what is complete, and the source keep how far it had been read.
    pub(crate) fn commit(&mut self, stage: &mut dyn Stage, head: &Origin) -> Result<(), Failure> {
        if let Some(number) = self.commit.take() {
            let mut commit = Commit::new(number);
            visit(stage, &mut commit, head)?;
            commit.finish()?;
            let _ = self
                .reports
                .try_send(Report::EpochCommitted(self.task, number));
        }
        match self.settle.take() {
            Some(number) => stage.settle(Some(number)),
            None => Ok(()),
        }
    }
}

/// Shows a stage to a visitor.
pub(crate) fn visit(
    stage: &mut dyn Stage,
    visitor: &mut dyn Visitor,
    head: &Origin,
) -> Result<(), Failure> {
    let visited = stage.visit(visitor);
    visited.map_err(|error| Failure::error(head.clone(), error.into()))
}

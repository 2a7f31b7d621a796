//! The head of a stage that reads a source.

use std::sync::Arc;
use std::time::Duration;

use levada_core::{BoxError, Moment, Room, Timestamp, Wake};
use levada_state::StateError;

use crate::checkpoint::{Begin, BlockKind, Participant, Passage};
use crate::error::{Blame, Failure, blaming};
use crate::metrics::OperatorCounters;
use crate::push::{Ending, Signal, Visitor};
use crate::source::{Reader, ReaderContext, Source, Status};
use crate::split_clock::{SplitClock, SplitSlot};
use crate::stage::commits::{Commits, Positioned};
use crate::stage::feed::{Fed, Feed};
use crate::stage::open_split::{Bell, OpenSplit};
use crate::stage::splits::{self, NextSplit, Splits, Wish};
use crate::stage::{Progress, Stage};
use crate::throttle::Throttle;
use crate::turn::Turn;

/// The most splits that a subtask reads at a time.
pub const OPEN_SPLITS_MAX: usize = 64;

/// How long a subtask with nothing to read leaves a split to the others that is none of its share.
const PATIENCE: Duration = Duration::from_millis(10);

/// Reads splits; their readers push into the chain.
///
/// Splits are read one after the other, each to its end. Several are open at a time if those that are have nothing for now, if
/// the source is endless, or if the program limits their drift; then they are read in turn.
pub(crate) struct SourceStage<S: Source> {
    source: Arc<S>,
    splits: Arc<Splits<S>>,
    /// By slot of the turn's [`SplitClock`].
    open: Vec<Option<OpenSplit<S>>>,
    /// The slot whose turn it is.
    next: usize,
    /// Splits that have been opened since those behind were last told.
    opening: usize,
    /// The slot of a split that has been read to its end, while the chain may still be at work on its last record.
    closing: Option<usize>,
    /// What is to be committed, if the source commits.
    progress: Commits<S>,
    chain: Box<dyn Feed<S::Reader>>,
    throttle: Option<Arc<Throttle>>,
    context: ReaderContext,
    counters: Arc<OperatorCounters>,
    ending: Option<Signal>,
    poll: Poll,
    /// Nothing is open, and there was nothing to open.
    is_without: bool,
    /// When a split is taken that is none of its share.
    patient_until: Option<Moment>,
    /// How far the slowest split is, as the others know it.
    published: Option<Timestamp>,
}

/// What has been done in this poll.
#[derive(Default)]
struct Poll {
    /// Splits that wait have been asked for.
    has_looked: bool,
    /// Splits that have nothing have been noted.
    has_noted: bool,
}

impl<S: Source> SourceStage<S> {
    pub(crate) fn new(
        source: Arc<S>,
        splits: Arc<Splits<S>>,
        splits_done: Vec<Positioned<S>>,
        chain: Box<dyn Feed<S::Reader>>,
        throttle: Option<Arc<Throttle>>,
        context: ReaderContext,
        counters: Arc<OperatorCounters>,
    ) -> Self {
        Self {
            source,
            splits,
            open: Vec::new(),
            next: 0,
            opening: 0,
            closing: None,
            progress: Commits::new(splits_done),
            chain,
            throttle,
            context,
            counters,
            ending: None,
            poll: Poll::default(),
            is_without: false,
            patient_until: None,
            published: None,
        }
    }

    fn advance(&mut self, turn: &mut Turn, checkpoints: &mut Participant) -> Progress {
        loop {
            if self.resume(turn).is_full() {
                return Progress::of_full(turn);
            }
            if checkpoints.wanted().is_some() {
                let passage = match checkpoints.must_overtake() {
                    true => Passage::Ahead,
                    false => Passage::InOrder,
                };
                self.start(passage, turn, checkpoints);
                if turn.has_failed() {
                    return Progress::Blocked;
                }
                continue;
            }
            if checkpoints.has_stopped() {
                return Progress::Idle;
            }
            if let Some(signal) = self.ending {
                if signal == Signal::End {
                    self.splits.ended(&self.context);
                    return Progress::Ended;
                }
                self.end(Signal::End, turn);
                continue;
            }
            match self.go_on(turn) {
                Ok(Next::Records(Room::Free)) => {}
                Ok(Next::Records(Room::Later)) => return Progress::More,
                Ok(Next::Records(Room::Full)) => return Progress::of_full(turn),
                Ok(Next::Nothing) => match self.sleep(turn) {
                    Some(progress) => return progress,
                    None => continue,
                },
                Ok(Next::End) => self.end(Signal::Watermark(Timestamp::MAX), turn),
                Err(error) => {
                    let _ = turn.fail(&self.context.operator, error);
                    return Progress::Blocked;
                }
            }
        }
    }

    /// Resumes the chain, which learns what is known of the splits, and says how far they are.
    fn resume(&mut self, turn: &mut Turn) -> Room {
        let is_looking = self.count() == 0 && !self.is_without;
        turn.splits.set_held(is_looking || self.splits.is_held());
        if self.chain.resume(turn).is_full() {
            return Room::Full;
        }
        if let Some(slot) = self.closing.take() {
            turn.splits.close(slot);
        }
        if self.opening > 0 {
            self.splits.begun(self.opening, &self.context);
            self.opening = 0;
        }
        if turn.splits.drift_max().is_some() {
            self.publish(turn);
        }
        if !self.poll.has_noted {
            self.poll.has_noted = true;
            self.note_silence(turn.now(), turn);
        }
        Room::Free
    }

    /// Sends the last watermark, then the end.
    fn end(&mut self, signal: Signal, turn: &mut Turn) {
        self.ending = Some(signal);
        let _ = self.chain.signal(signal, turn);
    }

    /// Opens a split, or reads one.
    fn go_on(&mut self, turn: &mut Turn) -> Result<Next, BoxError> {
        if let Some(next) = self.look(turn)? {
            return Ok(next);
        }
        match self.pick(turn) {
            Some(slot) => self.read(slot, turn),
            None => Ok(Next::Nothing),
        }
    }

    /// Opens a split, if it is time to and one waits.
    fn look(&mut self, turn: &mut Turn) -> Result<Option<Next>, BoxError> {
        let now = turn.now();
        let count = self.count();
        let wish = match count {
            0 if self.poll.has_looked => return Ok(Some(Next::Nothing)),
            0 => Wish::Any,
            _ if self.poll.has_looked || count >= OPEN_SPLITS_MAX => return Ok(None),
            _ if self.open_splits().any(|(_, open)| open.is_ready(now)) => {
                if !self.source.is_endless() && turn.splits.drift_max().is_none() {
                    return Ok(None);
                }
                Wish::Share
            }
            _ if self.patient_until.is_some_and(|until| until <= now) => Wish::Any,
            _ => Wish::Share,
        };
        let found = self.splits.next(&self.source, now, &self.context, wish)?;
        let again = match found {
            NextSplit::Read(split, position) => {
                self.open(split, position, turn)?;
                return Ok(Some(Next::Records(Room::Free)));
            }
            NextSplit::End if count == 0 => return Ok(Some(Next::End)),
            NextSplit::End => None,
            NextSplit::Enough => Some(*self.patient_until.get_or_insert(now + PATIENCE)),
            NextSplit::Wait(at) => at,
        };
        self.poll.has_looked = true;
        if let Some(at) = again {
            turn.wake_at(at);
        }
        self.is_without = count == 0;
        Ok(self.is_without.then_some(Next::Nothing))
    }

    fn open(
        &mut self,
        split: S::Split,
        position: Option<<S::Reader as Reader>::Position>,
        turn: &mut Turn,
    ) -> Result<(), BoxError> {
        let kept = split.clone();
        let bell = Bell::new(&self.context);
        let context = ReaderContext {
            waker: Arc::clone(&bell) as Arc<dyn Wake>,
            ..self.context.clone()
        };
        let blame = Blame::on(&self.context.operator);
        let reader = self.source.open(split, position, &context);
        blame.lift();
        let open = Some(OpenSplit::new(reader?, kept, bell));
        let slot = turn.splits.open();
        if slot == self.open.len() {
            self.open.push(open);
        } else {
            self.open[slot] = open;
        }
        self.opening += 1;
        self.is_without = false;
        self.patient_until = None;
        Ok(())
    }

    /// The next split that may have something, in turn. One that is too far ahead of the others is passed over.
    fn pick(&mut self, turn: &mut Turn) -> Option<usize> {
        let now = turn.now();
        let count = self.open.len();
        for step in 0..count {
            let slot = (self.next + step) % count;
            let is_ready = |open: &OpenSplit<S>| open.is_ready(now);
            if self.open[slot].as_ref().is_some_and(is_ready) && !self.hold(slot, turn) {
                self.next = slot + 1;
                return Some(slot);
            }
        }
        None
    }

    /// Whether a split is too far ahead of the others.
    fn hold(&mut self, slot: usize, turn: &mut Turn) -> bool {
        let (Some(max), Some(open)) = (turn.splits.drift_max(), &mut self.open[slot]) else {
            return false;
        };
        let max = i64::try_from(max.as_millis()).unwrap_or(i64::MAX);
        let watermark = turn.splits.slots()[slot].watermark();
        let needed = Timestamp(watermark.0.saturating_sub(max));
        if self.splits.drift.floor() >= needed {
            open.held_until = None;
            return false;
        }
        if open.held_until.replace(needed).is_none() {
            self.counters.splits_held.add(1);
            turn.splits.is_busy(slot);
        }
        true
    }

    /// Reads a split until it has nothing for now, or others have their turn.
    fn read(&mut self, slot: usize, turn: &mut Turn) -> Result<Next, BoxError> {
        let Some(open) = &mut self.open[slot] else {
            unreachable!("only an open split is picked")
        };
        // One reading of the clock for all records until the next look at it: they left the source at this moment.
        turn.set_born(turn.now());
        self.chain.mark(turn);
        turn.splits.select(slot);
        let allowance = turn.allowance();
        let mut granted = allowance.records;
        if let Some(throttle) = &self.throttle {
            match throttle.take(u64::from(granted), turn.look()) {
                Ok(taken) => granted = taken as u32,
                Err(at) => {
                    turn.wake_at(at);
                    turn.splits.pause(slot);
                    return Ok(Next::Nothing);
                }
            }
        }
        open.begin();
        // The box is a chain too, one that passes each record by a virtual call: hence the asterisk.
        let Fed {
            status,
            records,
            room,
        } = (*self.chain).feed(
            &mut open.reader,
            granted,
            &self.context.operator,
            &self.counters.records_out,
            turn,
        );
        if let Some(throttle) = &self.throttle {
            throttle.give_back(u64::from(granted - records));
        }
        let status = status?;
        if records > 0 {
            turn.splits.is_busy(slot);
        }
        match status {
            Status::More => {}
            Status::Done => self.close_split(slot),
            Status::Idle(until) => {
                open.rest(until);
                let now = turn.look();
                turn.splits.found_nothing(slot, now);
            }
        }
        if records > 0 {
            let time = turn.spend_allowance(allowance, records);
            return Ok(Next::Records(room.and(time)));
        }
        // Readers may come back with nothing, rest until a time that has passed, and splits may be empty, but not for ever.
        let time = match status {
            Status::Idle(until) if until.is_none_or(|until| until > turn.now()) => Room::Free,
            Status::Idle(_) | Status::Done | Status::More => turn.spend(),
        };
        Ok(Next::Records(time))
    }

    /// A split has been read to its end.
    fn close_split(&mut self, slot: usize) {
        if let Some(done) = self.open[slot].take()
            && self.source.commits()
        {
            self.progress.done((done.split, done.reader.position()));
        }
        self.closing = Some(slot);
        self.splits.done(&self.context);
        self.poll.has_looked = false;
    }

    /// Nothing can be read. Returns why, or nothing if that has changed.
    fn sleep(&mut self, turn: &mut Turn) -> Option<Progress> {
        let now = turn.look();
        self.note_silence(now, turn);
        for (_, open) in self.open_splits() {
            // One that is ready, but held back or throttled, waits for something else.
            if let Some(at) = open.alarm().filter(|at| *at > now) {
                turn.wake_at(at);
            }
        }
        // Whoever counts the time without records does so now, and a split that becomes idle may let others go on.
        if self.resume(turn).is_full() {
            return Some(Progress::of_full(turn));
        }
        let held = self.open_splits().filter_map(|(_, open)| open.held_until);
        if let Some(needed) = held.min() {
            let drift = &self.splits.drift;
            if !drift.wait(self.context.subtask, &self.context.waker, needed) {
                return None;
            }
        }
        Some(Progress::Idle)
    }

    /// Notes the splits that have nothing.
    fn note_silence(&self, now: Moment, turn: &mut Turn) {
        for (slot, open) in self.open_splits() {
            if !open.is_ready(now) {
                turn.splits.found_nothing(slot, now);
            }
        }
    }

    /// Tells the other subtasks how far the slowest split is.
    fn publish(&mut self, turn: &Turn) {
        let counts = |slot: &&SplitSlot| slot.is_open() && !slot.counts_as_idle();
        let watermarks = turn.splits.slots().iter().filter(counts);
        let watermarks = watermarks.map(SplitSlot::watermark);
        let slowest = watermarks.filter(|at| *at > Timestamp::MIN).min();
        if slowest != self.published {
            self.published = slowest;
            self.splits.drift.publish(self.context.subtask, slowest);
        }
    }

    fn open_splits(&self) -> impl Iterator<Item = (usize, &OpenSplit<S>)> {
        let slots = self.open.iter().enumerate();
        slots.filter_map(|(slot, open)| Some((slot, open.as_ref()?)))
    }

    fn count(&self) -> usize {
        self.open_splits().count()
    }
}

enum Next {
    Records(Room),
    Nothing,
    End,
}

impl<S: Source> SourceStage<S> {
    /// Begins the checkpoint that is wanted, between two records.
    fn start(&mut self, passage: Passage, turn: &mut Turn, checkpoints: &mut Participant) {
        let Some(mut begin) = checkpoints.begin(passage) else {
            return;
        };
        let begun = self.save(&mut begin).and_then(|()| {
            let visited = self.chain.visit(&mut begin);
            visited.map_err(|error| Failure::error(self.context.operator.clone(), error.into()))
        });
        if let Err(failure) = begun.and(begin.finish()) {
            let _ = turn.fail_with(failure);
            return;
        }
        checkpoints.inputs_saved();
    }

    /// Saves where the readers are, and, if this subtask is the last to do so, what nobody reads.
    fn save(&mut self, begin: &mut Begin<'_>) -> Result<(), Failure> {
        let (name, checkpoint) = (self.context.operator.name(), begin.order().number());
        let open = self.open.iter().flatten();
        let open: Vec<_> = open
            .map(|open| (open.split.clone(), open.reader.position()))
            .collect();
        let saved = splits::encode_open::<S>(&open, self.progress.uncommitted());
        let saved = saved.map_err(|error| self.failure(error))?;
        let (subtask, parallelism) = (self.context.subtask, self.context.parallelism);
        begin.send(BlockKind::Source, name, subtask, parallelism, saved);
        if let Some(waiting) = self.splits.save(checkpoint, &*self.source, &self.context)? {
            begin.send(BlockKind::Splits, name, 0, parallelism, waiting);
        }
        if self.source.commits() {
            self.progress.mark(checkpoint, open);
        }
        Ok(())
    }

    fn failure(&self, error: impl Into<BoxError>) -> Failure {
        Failure::error(self.context.operator.clone(), error.into())
    }
}

impl<S: Source> Stage for SourceStage<S> {
    fn poll(&mut self, turn: &mut Turn, checkpoints: &mut Participant) -> Progress {
        if self.open.is_empty() {
            turn.splits = SplitClock::none();
        }
        if let Some(over) = checkpoints.take_over() {
            self.splits.release(over);
        }
        if checkpoints.must_overtake() {
            let chain = &mut self.chain;
            if !turn.clear(|turn| chain.resume(turn)).is_full() {
                self.start(Passage::Ahead, turn, checkpoints);
            }
        }
        self.poll = Poll::default();
        let progress = self.advance(turn, checkpoints);
        if progress == Progress::Blocked {
            let now = turn.look();
            self.note_silence(now, turn);
            turn.splits.pause_idleness();
        }
        progress.after_tending(self.chain.tend(turn))
    }

    fn begin(&mut self, turn: &mut Turn, checkpoints: &mut Participant) {
        self.start(Passage::InOrder, turn, checkpoints);
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.chain.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.open.clear();
        self.chain.close(ending)
    }

    fn settle(&mut self, checkpoint: Option<u64>) -> Result<(), Failure> {
        let read = self.progress.take(checkpoint);
        if read.is_empty() {
            return Ok(());
        }
        blaming(&self.context.operator, || {
            self.source.commit(&read, &self.context)
        })
    }
}

//! The operator of windows that fire by triggers.
//!
//! A key has an entry with its windows, each with what it has gathered and what its trigger remembers. Timers are kept by
//! key and window.

mod assigner;
mod state;

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;

use levada_core::key::KeyError;
use levada_core::{Clock, Exchange, Key, KeyGroup, KeyGroups, Origin, Span, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Read, Room, Signal, StateError, Turn, Visitor,
};

use crate::process::Timer;
use crate::process::outputs::Outputs;
use crate::state_check;
use crate::window::contents::{Contents, Emission};
use crate::window::emitting::emit;
use crate::window::node::Making;
use crate::window::options::WindowOptions;
use crate::window::sliced::NoTimestamp;
use crate::window::trigger::{Decision, TimerChange, Trigger, TriggerContext};
use state::{KeyPanes, Pane, PaneState};

pub use assigner::Assigner;
pub(crate) use assigner::Windows;

/// Windows that fire by a trigger, in one subtask.
pub(crate) struct Panes<K, T, C: Contents<K, T>, R: Trigger<T>> {
    assigner: Assigner,
    trigger: R,
    state: PaneState<K, C::Accumulator, R::State>,
    contents: C,
    options: WindowOptions<T>,
    /// The windows of the record in hand.
    spans: Vec<Span>,
    /// What the trigger wants of its timers.
    changes: Vec<TimerChange>,
    /// A watermark that is passed on when the timers before it have fired.
    passing: Option<Timestamp>,
    checked: bool,
    clock: Arc<dyn Clock>,
    operator: Origin,
    key_groups: KeyGroups,
    counters: Arc<OperatorCounters>,
    outputs: Outputs<C::Out>,
    records: PhantomData<fn(T)>,
}

impl<K, T, C, R> Panes<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    pub(crate) fn new(assigner: Assigner, trigger: R, making: Making<'_, T, C, C::Out>) -> Self {
        let Making {
            contents,
            options,
            subtask,
            main,
            sides,
        } = making;
        Self {
            assigner,
            trigger,
            state: PaneState::new(subtask),
            contents,
            spans: Vec::new(),
            changes: Vec::new(),
            passing: None,
            checked: false,
            clock: Arc::clone(&subtask.environment.clock),
            operator: subtask.operator.clone(),
            key_groups: subtask.key_groups,
            counters: Arc::clone(&subtask.counters),
            outputs: Outputs::new(main, sides, options.owner(), subtask),
            options,
            records: PhantomData,
        }
    }

    fn end(&self) -> impl Fn(Span) -> Option<Timestamp> + use<K, T, C, R> {
        let (assigner, lateness) = (self.assigner, self.options.lateness);
        move |span| assigner.forgotten_at(span, lateness)
    }

    /// Adds a record to its windows; false if it is late for all of them.
    fn add(
        &mut self,
        keyed: &KeyedRecord<K, T>,
        at: Timestamp,
        group: KeyGroup,
    ) -> Result<bool, KeyError> {
        let end = self.end();
        let now = self.state.times.watermark(|| Ok(group));
        let time = if self.assigner.is_processing {
            self.clock.wall()
        } else {
            at
        };
        let mut spans = mem::take(&mut self.spans);
        self.assigner.assign(time, &mut spans);
        let mut taken = spans.is_empty();
        for span in spans.drain(..) {
            let span = if self.assigner.merges() {
                self.joined(&keyed.key, span, now)
            } else {
                span
            };
            if end(span).is_some_and(|at| at <= now) {
                continue;
            }
            taken = true;
            self.add_to(keyed, at, group, span)?;
        }
        self.spans = spans;
        Ok(taken)
    }

    /// The session that a record's would become.
    fn joined(&mut self, key: &K, span: Span, now: Timestamp) -> Span {
        let end = self.end();
        let Some(panes) = self.state.table.get_mut(key) else {
            return span;
        };
        let near = panes.panes.iter().map(|pane| pane.span).filter(|other| {
            let is_there = end(*other).is_none_or(|at| at > now);
            is_there && other.start < span.end && span.start < other.end
        });
        near.fold(span, |whole, other| Span {
            start: whole.start.min(other.start),
            end: whole.end.max(other.end),
        })
    }

    /// Adds a record to a window, which is made if it is not there, and asks the trigger.
    fn add_to(
        &mut self,
        keyed: &KeyedRecord<K, T>,
        at: Timestamp,
        group: KeyGroup,
        span: Span,
    ) -> Result<(), KeyError> {
        let KeyedRecord { key, record, .. } = keyed;
        let make = || Ok::<_, KeyError>((group, KeyPanes::new()));
        let panes = self.state.table.get_or_insert(key, make)?;
        let place = match panes.find(span) {
            Some(place) => place,
            None => {
                let (place, merged) = panes.make_room(span, self.assigner.merges());
                self.make(key, group, span, place, merged)?;
                place
            }
        };
        let watermark = self.state.times.watermark(|| Ok(group));
        let panes = self.state.table.get_mut(key).expect("the key is kept");
        let pane = &mut panes.panes[place];
        let accumulator = (pane.accumulator).get_or_insert_with(|| self.contents.create());
        self.contents.add(accumulator, record);
        for later in pane.later.drain(..) {
            self.contents.merge(accumulator, later);
        }
        let mut context = TriggerContext {
            watermark,
            clock: &*self.clock,
            changes: &mut self.changes,
        };
        let decision = (self.trigger).record(record, at, span, &mut pane.state, &mut context);
        self.decide(key, group, span, decision)
    }

    /// Makes a window, of others if there are some that it takes the place of.
    fn make(
        &mut self,
        key: &K,
        group: KeyGroup,
        span: Span,
        place: usize,
        merged: usize,
    ) -> Result<(), KeyError> {
        let watermark = self.state.times.watermark(|| Ok(group));
        let panes = self.state.table.get_mut(key).expect("the key is kept");
        let mut others = panes.panes.drain(place..place + merged);
        let pane = match others.next() {
            None => Pane::new(span),
            Some(mut pane) => {
                let mut context = TriggerContext {
                    watermark,
                    clock: &*self.clock,
                    changes: &mut self.changes,
                };
                self.state.times.forget(&(key.clone(), pane.span));
                pane.span = span;
                let own = R::State::default();
                (self.trigger).merge(&mut pane.state, own, span, &mut context);
                for other in &mut others {
                    self.state.times.forget(&(key.clone(), other.span));
                    (self.trigger).merge(&mut pane.state, other.state, span, &mut context);
                    pane.later.extend(other.accumulator);
                }
                pane
            }
        };
        drop(others);
        panes.panes.insert(place, pane);
        if self.assigner.is_processing {
            let end = Timer::Processing(span.last());
            let of = (key.clone(), span);
            self.state.times.set(&of, end, || Ok(group))?;
        }
        if let Some(at) = self.assigner.forgotten_at(span, self.options.lateness) {
            self.state.schedule(key, at);
        }
        Ok(())
    }

    /// Does what the trigger wants of a window.
    fn decide(
        &mut self,
        key: &K,
        group: KeyGroup,
        span: Span,
        decision: Decision,
    ) -> Result<(), KeyError> {
        if !self.changes.is_empty() {
            self.change_timers(key, group, span)?;
        }
        if decision == Decision::Continue {
            return Ok(());
        }
        let panes = self.state.table.get_mut(key).expect("the key is kept");
        let place = panes.find(span).expect("the window is kept");
        let pane = &mut panes.panes[place];
        let accumulator = if decision.purges() {
            pane.accumulator.take()
        } else {
            pane.accumulator.clone()
        };
        let is_left = !self.assigner.merges()
            && pane.accumulator.is_none()
            && pane.state == R::State::default();
        if decision.fires()
            && let Some(accumulator) = accumulator
        {
            let emission = Emission::new(key.clone(), span, accumulator);
            self.state.emitting.queue.push_back((group, emission));
        }
        if is_left {
            self.state.forget(key, span);
        }
        Ok(())
    }

    fn change_timers(&mut self, key: &K, group: KeyGroup, span: Span) -> Result<(), KeyError> {
        let of = (key.clone(), span);
        let end = (self.assigner).forgotten_at(span, self.options.lateness);
        for change in self.changes.drain(..) {
            match change {
                TimerChange::Set(Timer::Event(at)) if end.is_some_and(|end| at > end) => {}
                TimerChange::Set(timer) => self.state.times.set(&of, timer, || Ok(group))?,
                TimerChange::Delete(timer) => self.state.times.delete(&of, timer),
            }
        }
        Ok(())
    }

    /// A timer has come.
    fn timer(&mut self, key: &K, span: Span, timer: Timer) -> Result<(), KeyError> {
        let Some(place) = self.state.table.find(key) else {
            return Ok(());
        };
        let group = self.state.table.group(place);
        let watermark = self.state.times.watermark(|| Ok(group));
        let panes = self.state.table.value_mut(place);
        let Some(place) = panes.find(span) else {
            return Ok(());
        };
        let state = &mut panes.panes[place].state;
        let mut context = TriggerContext {
            watermark,
            clock: &*self.clock,
            changes: &mut self.changes,
        };
        let decision = match timer {
            Timer::Event(at) => self.trigger.event_time(at, span, state, &mut context),
            Timer::Processing(at) => (self.trigger).processing_time(at, span, state, &mut context),
        };
        self.decide(key, group, span, decision)?;
        if self.assigner.is_processing
            && let Timer::Processing(at) = timer
            && at >= span.last()
        {
            self.state.forget(key, span);
        }
        Ok(())
    }

    /// Emits what has fired and fires the timers that are due, as far as there is room.
    fn fire(&mut self, turn: &mut Turn) -> Room {
        loop {
            while let Some((_, emission)) = self.state.emitting.queue.front_mut() {
                let (contents, operator) = (&self.contents, &self.operator);
                let room = emit(contents, emission, operator, &mut self.outputs, turn);
                if emission.is_over() {
                    self.state.emitting.queue.pop_front();
                }
                if room.is_full() {
                    return Room::Full;
                }
            }
            let Some(((key, span), timer)) = self.state.times.take_due(turn.now()) else {
                return Room::Free;
            };
            if let Timer::Processing(_) = timer
                && turn.born() != turn.now()
            {
                turn.set_born(turn.now());
                self.outputs.mark(turn);
            }
            let operator = self.operator.clone();
            let blame = Blame::on(&operator);
            let fired = self.timer(&key, span, timer);
            blame.lift();
            if let Err(error) = fired {
                return turn.fail(&self.operator, error);
            }
            if turn.spend().is_full() {
                return Room::Full;
            }
        }
    }

    /// Does all that is due, then passes on the watermark that has waited for it.
    fn go_on(&mut self, turn: &mut Turn) -> Room {
        let born = turn.born();
        let room = self.fire(turn);
        if turn.born() != born {
            turn.set_born(born);
            self.outputs.mark(turn);
        }
        if room.is_full() {
            return Room::Full;
        }
        // Without a watermark only what was due when it was saved is.
        let until = self.passing.unwrap_or(Timestamp::MIN);
        let end = self.end();
        while self.state.forget_next(until, &end) {
            if turn.spend().is_full() {
                return Room::Full;
            }
        }
        match self.passing.take() {
            Some(watermark) => self.outputs.signal(Signal::Watermark(watermark), turn),
            None => Room::Free,
        }
    }

    /// The first key and window go through the codec.
    #[inline(never)]
    fn check(&mut self, key: &K, turn: &mut Turn) -> Room {
        let Some(place) = self.state.table.find(key) else {
            return Room::Free;
        };
        self.checked = true;
        let panes = self.state.table.value(place);
        let blame = Blame::on(&self.operator);
        let checked = state_check::check(key, &panes.panes);
        blame.lift();
        match checked {
            Ok(()) => Room::Free,
            Err(error) => turn.fail(&self.operator, error),
        }
    }
}

impl<K, T, C, R> Downstream for Panes<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.outputs.resume(turn).is_full() {
            return Room::Full;
        }
        let end = self.end();
        let is_restored = self.state.prepare(end);
        let waits = is_restored || self.passing.is_some() || !self.state.emitting.queue.is_empty();
        if waits || self.state.times.may_be_due(turn.now()) {
            return self.go_on(turn);
        }
        Room::Free
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.outputs.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        let Signal::Watermark(watermark) = signal else {
            return self.outputs.signal(signal, turn);
        };
        self.state.times.raise(watermark);
        self.counters.watermark.set(watermark);
        self.passing = Some(watermark);
        self.go_on(turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        let room = self.outputs.tend(turn);
        // Without room, whoever makes some wakes the task.
        if !room.is_full()
            && let Some(at) = self.state.times.wake_at()
        {
            turn.wake_at(at);
        }
        room
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        let operator = &self.operator;
        self.state.visit(|state| visitor.keyed(operator, state))?;
        self.outputs.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.outputs.close(ending)
    }
}

impl<K, T, C, R> Read<KeyedRecord<K, T>> for Panes<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    fn read(&mut self, keyed: &KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let at = turn.timestamp;
        if at == Timestamp::MIN && self.assigner.needs_time() {
            return turn.fail(&self.operator, NoTimestamp);
        }
        let operator = self.operator.clone();
        let blame = Blame::on(&operator);
        let group = keyed.group_in(self.key_groups);
        let taken = group.and_then(|group| self.add(keyed, at, group));
        blame.lift();
        match taken {
            Err(error) => return turn.fail(&self.operator, error),
            Ok(false) => {
                return self.options.drop_late(
                    &keyed.record,
                    self.contents.records(&keyed.record),
                    &self.operator,
                    &self.counters,
                    &mut self.outputs,
                    turn,
                );
            }
            Ok(true) => {}
        }
        if !self.checked && self.check(&keyed.key, turn).is_full() {
            return Room::Full;
        }
        if self.state.times.is_due() || !self.state.emitting.queue.is_empty() {
            return self.go_on(turn);
        }
        Room::Free
    }
}

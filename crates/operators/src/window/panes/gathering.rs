//! What windows gather, and what their trigger makes of it.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;

use levada_core::key::KeyError;
use levada_core::{Clock, Exchange, Key, KeyGroup, Span, Timestamp};
use levada_runtime::{KeyedRecord, Subtask};
use levada_state::ValueReader;

use crate::process::Timer;
use crate::window::contents::{Contents, Emission};
use crate::window::panes::assigner::Assigner;
use crate::window::panes::state::{KeyPanes, Pane, PaneState};
use crate::window::trigger::{Decision, TimerChange, Trigger, TriggerContext};

/// The windows of a subtask's keys, apart from what they emit to.
pub(super) struct Gathering<K, T, C: Contents<K, T>, R: Trigger<T>> {
    pub(super) assigner: Assigner,
    trigger: R,
    pub(super) state: PaneState<K, C::Accumulator, R::State>,
    pub(super) contents: C,
    lateness: i64,
    /// The windows of the record in hand.
    spans: Vec<Span>,
    /// What the trigger wants of its timers.
    changes: Vec<TimerChange>,
    clock: Arc<dyn Clock>,
    records: PhantomData<fn(T)>,
}

impl<K, T, C, R> Gathering<K, T, C, R>
where
    K: Key,
    T: Exchange,
    C: Contents<K, T>,
    R: Trigger<T>,
{
    pub(super) fn new(
        assigner: Assigner,
        trigger: R,
        contents: C,
        lateness: i64,
        reader: ValueReader<C::Accumulator>,
        subtask: &Subtask,
    ) -> Self {
        Self {
            assigner,
            trigger,
            state: PaneState::new(subtask).reading(reader),
            contents,
            lateness,
            spans: Vec::new(),
            changes: Vec::new(),
            clock: Arc::clone(&subtask.environment.clock),
            records: PhantomData,
        }
    }

    /// When windows are forgotten.
    pub(super) fn end(&self) -> impl Fn(Span) -> Option<Timestamp> + use<K, T, C, R> {
        let (assigner, lateness) = (self.assigner, self.lateness);
        move |span| assigner.forgotten_at(span, lateness)
    }

    /// Adds a record to its windows; false if it is late for all of them.
    pub(super) fn add(
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
        if let Some(at) = self.assigner.forgotten_at(span, self.lateness) {
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
            self.state.emitting.emissions.add(group, emission);
        }
        if is_left {
            self.state.forget(key, span);
        }
        Ok(())
    }

    fn change_timers(&mut self, key: &K, group: KeyGroup, span: Span) -> Result<(), KeyError> {
        let of = (key.clone(), span);
        let end = (self.assigner).forgotten_at(span, self.lateness);
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
    pub(super) fn timer(&mut self, key: &K, span: Span, timer: Timer) -> Result<(), KeyError> {
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
}

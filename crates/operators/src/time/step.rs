//! `timestamps`: each record gets its event time, and watermarks are made.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;

use levada_core::{EventTime, Moment, Origin, Timestamp};
use levada_runtime::metrics::OperatorCounters;
use levada_runtime::{
    Blame, Downstream, Ending, Failure, Push, Room, Signal, SplitClock, SplitSlot, StateError,
    Step, Subtask, Turn, Visitor,
};

use crate::time::Watermarks;
use crate::time::generator::{Generates, WatermarkGenerator};

/// Gives each record its event time.
pub struct TimestampsStep<S, F, M> {
    before: S,
    closure: Arc<F>,
    watermarks: Arc<Watermarks<M>>,
    operator: Origin,
}

impl<S, F, M> TimestampsStep<S, F, M> {
    /// The step that follows `before`.
    pub fn new(before: S, closure: F, watermarks: Watermarks<M>, operator: Origin) -> Self {
        Self {
            before,
            closure: Arc::new(closure),
            watermarks: Arc::new(watermarks),
            operator,
        }
    }
}

impl<S: Clone, F, M> Clone for TimestampsStep<S, F, M> {
    fn clone(&self) -> Self {
        Self {
            before: self.before.clone(),
            closure: Arc::clone(&self.closure),
            watermarks: Arc::clone(&self.watermarks),
            operator: self.operator.clone(),
        }
    }
}

impl<A, E, S, F, M> Step<A> for TimestampsStep<S, F, M>
where
    S: Step<A>,
    F: Fn(&S::Out) -> E + Send + Sync + 'static,
    E: EventTime,
    M: Generates<S::Out>,
{
    type Out = S::Out;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<S::Out> + 'static,
    {
        let timing = Timing {
            closure: Arc::clone(&self.closure),
            watermarks: Arc::clone(&self.watermarks),
            splits: Vec::new(),
            knows_splits: subtask.knows_splits,
            is_fresh: false,
            emitted: Timestamp::MIN,
            is_idle: false,
            input_is_idle: false,
            operator: self.operator.clone(),
            counters: Arc::clone(&subtask.counters),
            next,
            records: PhantomData,
        };
        self.before.attach(subtask, timing)
    }
}

/// Stamps records and makes watermarks, in one subtask.
struct Timing<T, F, M, G, P> {
    closure: Arc<F>,
    watermarks: Arc<Watermarks<M>>,
    /// By slot of the turn's splits; one for all records if they do not come split by split.
    splits: Vec<SplitTime<G>>,
    /// Whether a record is of the current split. Behind an exchange, or an operator that emits when it likes, it may be of
    /// any, and of several.
    knows_splits: bool,
    /// There have been records since the progress was last looked at.
    is_fresh: bool,
    /// The last watermark that was sent.
    emitted: Timestamp,
    /// Whether that it is idle was sent after it.
    is_idle: bool,
    /// Whether the exchange before it is.
    input_is_idle: bool,
    operator: Origin,
    counters: Arc<OperatorCounters>,
    next: P,
    records: PhantomData<fn(T)>,
}

/// The generator of the split in a slot.
struct SplitTime<G> {
    generation: u64,
    generator: G,
}

impl<G> SplitTime<G> {
    /// The watermark of the generator. None but the head of the task says that time has ended.
    fn watermark<T>(&self) -> Timestamp
    where
        G: WatermarkGenerator<T>,
    {
        let last = Timestamp(Timestamp::MAX.0 - 1);
        self.generator.watermark().min(last)
    }
}

/// How far the splits of a subtask are.
enum Progress {
    /// The least watermark of those that are not idle.
    Active(Timestamp),
    /// All are idle: none holds back another, and in which order they became so does not matter. The furthest watermark.
    Idle(Timestamp),
}

impl<T, F, M, P> Timing<T, F, M, M::Generator, P>
where
    M: Generates<T>,
    P: Downstream,
{
    /// Sends the watermark if it has risen, or that there is none to wait for. Heads resume their chain between two runs of
    /// records, so that this is done once for some hundred records or a batch.
    fn emit(&mut self, turn: &mut Turn) -> Room {
        let splits = &mut turn.splits;
        self.follow(splits);
        let is_fresh = mem::take(&mut self.is_fresh);
        let progress = if self.knows_splits {
            self.progress(splits)
        } else {
            self.progress_of_all(splits, is_fresh)
        };
        match progress {
            Progress::Active(least) => {
                let risen = least > self.emitted && !splits.is_held();
                if !risen && !self.is_idle {
                    return Room::Free;
                }
                if risen {
                    self.emitted = least;
                    self.counters.watermark.set(least);
                }
                // Who was idle says its watermark again, risen or not.
                self.is_idle = false;
                self.next.signal(Signal::Watermark(self.emitted), turn)
            }
            Progress::Idle(_) if self.is_idle || splits.is_held() => Room::Free,
            Progress::Idle(furthest) => {
                if furthest > self.emitted {
                    self.emitted = furthest;
                    self.counters.watermark.set(furthest);
                    let risen = Signal::Watermark(furthest);
                    if self.next.signal(risen, turn).is_full() {
                        return Room::Full;
                    }
                }
                self.is_idle = true;
                self.next.signal(Signal::Idle, turn)
            }
        }
    }

    /// Splits that have been opened get generators of their own.
    #[inline]
    fn follow(&mut self, splits: &mut SplitClock) {
        if !self.knows_splits {
            if self.splits.is_empty() {
                self.splits.push(SplitTime {
                    generation: 0,
                    generator: self.watermarks.make.generator(),
                });
            }
            return;
        }
        if let Some(drift) = self.watermarks.max_drift {
            splits.limit_drift(drift);
        }
        for (place, slot) in splits.slots().iter().enumerate() {
            let generation = slot.generation();
            let make = || SplitTime {
                generation,
                generator: self.watermarks.make.generator(),
            };
            match self.splits.get_mut(place) {
                None => self.splits.push(make()),
                Some(split) if split.generation != generation => *split = make(),
                Some(_) => {}
            }
        }
    }

    /// How far the splits are that are read.
    #[inline]
    fn progress(&self, splits: &mut SplitClock) -> Progress {
        let Watermarks {
            idle_after,
            max_drift,
            ..
        } = *self.watermarks;
        let mut least = None::<Timestamp>;
        let mut furthest = Timestamp::MIN;
        for (place, split) in self.splits.iter().enumerate() {
            let slot = &splits.slots()[place];
            if !slot.is_open() {
                continue;
            }
            let watermark = split.watermark::<T>();
            let is_idle = idle_after.is_some_and(|span| slot.is_idle_for(span));
            if idle_after.is_some() || max_drift.is_some() {
                splits.report(place, watermark, is_idle);
            }
            if is_idle {
                furthest = furthest.max(watermark);
            } else {
                least = Some(least.map_or(watermark, |other| other.min(watermark)));
            }
        }
        least.map_or(Progress::Idle(furthest), Progress::Active)
    }

    /// How far the records are that do not come split by split. They may come although there is nothing to read: as results of
    /// calls, or by the time of day.
    fn progress_of_all(&self, splits: &SplitClock, is_fresh: bool) -> Progress {
        let watermark = self.splits[0].watermark::<T>();
        let is_silent = |slot: &SplitSlot| {
            let after = self.watermarks.idle_after;
            !slot.is_open() || after.is_some_and(|span| slot.is_idle_for(span))
        };
        if is_fresh || !(self.input_is_idle || splits.slots().iter().all(is_silent)) {
            Progress::Active(watermark)
        } else {
            Progress::Idle(watermark)
        }
    }

    /// When the watermark may rise although nothing happens, because there has been nothing to read.
    fn idle_at(&self, splits: &SplitClock) -> Option<Moment> {
        let span = self.watermarks.idle_after.filter(|_| !self.is_idle)?;
        let open = splits.slots().iter().filter(|slot| slot.is_open());
        if self.knows_splits {
            let silent = open.filter(|slot| !slot.counts_as_idle());
            return silent.filter_map(|slot| slot.idle_at(span)).min();
        }
        let mut last = None;
        for slot in open.filter(|slot| !slot.is_idle_for(span)) {
            last = last.max(Some(slot.idle_at(span)?));
        }
        last
    }
}

impl<T, F, M, P> Downstream for Timing<T, F, M, M::Generator, P>
where
    T: 'static,
    F: Send + Sync,
    M: Generates<T>,
    P: Downstream,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        if turn.is_clearing() {
            return Room::Free;
        }
        self.emit(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.next.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        match signal {
            // What was known about time before this step is replaced by what it makes, except that time has ended.
            Signal::Watermark(watermark) if watermark < Timestamp::MAX => {
                self.input_is_idle = false;
                Room::Free
            }
            Signal::Idle => {
                self.input_is_idle = true;
                self.emit(turn)
            }
            Signal::Watermark(_) => {
                self.emitted = Timestamp::MAX;
                self.counters.watermark.set(Timestamp::MAX);
                self.next.signal(signal, turn)
            }
            Signal::End => self.next.signal(signal, turn),
        }
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        if let Some(at) = self.idle_at(&turn.splits) {
            turn.wake_at(at);
        }
        let room = self.next.tend(turn);
        if self.is_fresh && !self.knows_splits && !room.is_full() {
            // Nobody else may come to ask how far time is after the last record.
            turn.wake_at(turn.now());
        }
        room
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.next.close(ending)
    }
}

impl<T, E, F, M, P> Push<T> for Timing<T, F, M, M::Generator, P>
where
    T: 'static,
    F: Fn(&T) -> E + Send + Sync,
    E: EventTime,
    M: Generates<T>,
    P: Push<T>,
{
    #[inline(always)]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let time = (self.closure)(&record).timestamp();
        let time = match time {
            Ok(time) => time,
            Err(error) => {
                blame.lift();
                return turn.fail(&self.operator, error);
            }
        };
        let place = if self.knows_splits {
            turn.splits.current()
        } else {
            self.is_fresh = true;
            0
        };
        let split = &mut self.splits[place];
        split.generator.record(&record, time);
        blame.lift();
        let before = mem::replace(&mut turn.timestamp, time);
        let room = self.next.push(record, turn);
        turn.timestamp = before;
        room
    }
}

//! The first phase: a step in front of the exchange.

use std::marker::PhantomData;

use levada_core::{Key, Origin, Timestamp};
use levada_runtime::{
    Blame, Downstream, Ending, Failure, KeyedRecord, Push, Room, Signal, StateError, Step, Subtask,
    Turn, Visitor,
};

use crate::aggregate::Aggregate;
use crate::window::no_timestamp::NoTimestamp;
use crate::window::partial::Partial;
use crate::window::partial::gathered::{Gathered, Taken};
use crate::window::slicing::Slicing;

/// The most keys and slices of which a subtask holds partial aggregates.
const PARTIALS_MAX: usize = 1 << 14;
/// After so many records it is looked at whether they have become fewer.
const SAMPLE: u64 = 1 << 14;
/// So many samples pass as they are before gathering is tried again.
const PASSING: u64 = 16;

/// Gathers the records of each key and slice before they cross to another subtask.
///
/// What has been gathered is sent before the first watermark that completes a window of its slice, before the input becomes
/// idle or ends, and when there is too much of it; so no record is late that would not be late without this step. Where
/// records become fewer by less than half, they pass as they are, and gathering is tried again from time to time.
pub struct PreAggregateStep<A, T> {
    aggregate: A,
    slicing: Slicing,
    operator: Origin,
    records: PhantomData<fn(T)>,
}

impl<A, T> PreAggregateStep<A, T> {
    /// The step of an aggregate over these slices. `operator` names its state.
    pub fn new(aggregate: A, slicing: Slicing, operator: Origin) -> Self {
        Self {
            aggregate,
            slicing,
            operator,
            records: PhantomData,
        }
    }
}

impl<A: Clone, T> Clone for PreAggregateStep<A, T> {
    fn clone(&self) -> Self {
        Self::new(self.aggregate.clone(), self.slicing, self.operator.clone())
    }
}

impl<K, T, A> Step<KeyedRecord<K, T>> for PreAggregateStep<A, T>
where
    K: Key,
    T: Send + 'static,
    A: Aggregate<T>,
{
    type Out = KeyedRecord<K, Partial<A::Accumulator>>;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<KeyedRecord<K, T>> + 'static
    where
        P: Push<Self::Out> + 'static,
    {
        let key_groups = subtask.crosses_exchange.then_some(subtask.key_groups);
        let aggregate = self.aggregate.clone();
        let merge = move |into: &mut A::Accumulator, other| aggregate.merge(into, other);
        PreAggregating::<K, T, A, P> {
            aggregate: self.aggregate.clone(),
            gathered: Gathered::new(self.slicing, key_groups, merge),
            slicing: self.slicing,
            watermark: Timestamp::MIN,
            hot: None,
            sending: None,
            passing: 0,
            taken: 0,
            sent: 0,
            subtask: subtask.index,
            parallelism: subtask.parallelism,
            operator: self.operator.clone(),
            next,
            records: PhantomData,
        }
    }
}

/// The step in one subtask.
struct PreAggregating<K, T, A: Aggregate<T>, P> {
    aggregate: A,
    gathered: Gathered<K, A::Accumulator>,
    slicing: Slicing,
    watermark: Timestamp,
    /// The slice of the last record: its beginning, its end, and its place.
    hot: Option<(Timestamp, Timestamp, usize)>,
    sending: Option<Sending>,
    /// Records that pass as they are before gathering is tried again.
    passing: u64,
    /// Records gathered, and partial aggregates sent, since the last sample.
    taken: u64,
    sent: u64,
    subtask: usize,
    parallelism: usize,
    operator: Origin,
    next: P,
    records: PhantomData<fn(T)>,
}

/// What is being sent, and the signal behind it.
#[derive(Clone, Copy)]
struct Sending {
    until: Timestamp,
    signal: Option<Signal>,
}

impl<K, T, A, P> PreAggregating<K, T, A, P>
where
    K: Key,
    T: Send + 'static,
    A: Aggregate<T>,
    P: Push<KeyedRecord<K, Partial<A::Accumulator>>>,
{
    /// Sends what is due until there is no room, and then the signal.
    fn send(&mut self, turn: &mut Turn) -> Room {
        let Some(Sending { until, signal }) = self.sending else {
            return Room::Free;
        };
        let timestamp = turn.timestamp;
        self.hot = None;
        while let Some(taken) = self.gathered.take(until) {
            let Taken {
                key,
                group,
                partial,
                time,
            } = taken;
            turn.timestamp = time;
            self.sent += 1;
            let record = KeyedRecord {
                key,
                record: partial,
                group,
            };
            let room = self.next.push(record, turn).and(turn.spend());
            turn.timestamp = timestamp;
            if room.is_full() {
                return Room::Full;
            }
        }
        if self.taken >= SAMPLE && 2 * self.sent > self.taken {
            self.passing = SAMPLE * PASSING;
        }
        if self.taken >= SAMPLE {
            (self.taken, self.sent) = (0, 0);
        }
        if self.passing > 0 && self.gathered.len() > 0 {
            // What follows must not overtake what has come before it.
            self.sending = Some(Sending {
                until: Timestamp::MAX,
                signal,
            });
            return self.send(turn);
        }
        self.sending = None;
        signal.map_or(Room::Free, |signal| self.next.signal(signal, turn))
    }

    /// The place of a record's slice; none if its first window is complete already, so that it must not wait.
    #[inline(never)]
    fn find_slice(&mut self, time: Timestamp) -> Option<usize> {
        let number = self.slicing.slice_of(time);
        let (first, last) = self.slicing.windows_of(number);
        if first > last || self.slicing.window_span(first).last() <= self.watermark {
            return None;
        }
        let place = self.gathered.place(number);
        let span = self.slicing.slice_span(number);
        self.hot = Some((span.start, span.end, place));
        Some(place)
    }

    #[inline(never)]
    fn pass(&mut self, keyed: KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.operator);
        let mut accumulator = self.aggregate.create();
        self.aggregate.add(&mut accumulator, &keyed.record);
        blame.lift();
        let record = Partial {
            accumulator,
            records: 1,
        };
        let KeyedRecord { key, group, .. } = keyed;
        self.next.push(KeyedRecord { key, record, group }, turn)
    }
}

impl<K, T, A, P> Downstream for PreAggregating<K, T, A, P>
where
    K: Key,
    T: Send + 'static,
    A: Aggregate<T>,
    P: Push<KeyedRecord<K, Partial<A::Accumulator>>>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        if turn.is_clearing() {
            return Room::Free;
        }
        self.send(turn)
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.next.mark(turn);
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        let until = match signal {
            Signal::Watermark(watermark) => {
                self.watermark = self.watermark.max(watermark);
                self.hot = None;
                watermark
            }
            // Others may go on without this input, so nothing of it must wait here.
            Signal::Idle | Signal::End => Timestamp::MAX,
        };
        self.sending = Some(Sending {
            until,
            signal: Some(signal),
        });
        self.send(turn)
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.next.tend(turn)
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.hot = None;
        visitor.operator(
            &self.operator,
            self.subtask,
            self.parallelism,
            &mut self.gathered,
        )?;
        self.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.next.close(ending)
    }
}

impl<K, T, A, P> Push<KeyedRecord<K, T>> for PreAggregating<K, T, A, P>
where
    K: Key,
    T: Send + 'static,
    A: Aggregate<T>,
    P: Push<KeyedRecord<K, Partial<A::Accumulator>>>,
{
    #[inline(always)]
    fn push(&mut self, keyed: KeyedRecord<K, T>, turn: &mut Turn) -> Room {
        if self.passing > 0 {
            self.passing -= 1;
            return self.pass(keyed, turn);
        }
        let time = turn.timestamp;
        let place = match self.hot {
            Some((start, end, place)) if start <= time && time < end => place,
            _ if time == Timestamp::MIN => return turn.fail(&self.operator, NoTimestamp),
            _ => match self.find_slice(time) {
                Some(place) => place,
                None => return self.pass(keyed, turn),
            },
        };
        let KeyedRecord { key, record, group } = keyed;
        let blame = Blame::on(&self.operator);
        let aggregate = &self.aggregate;
        let partial = self
            .gathered
            .entry(place, key, group, || aggregate.create());
        partial.records += 1;
        aggregate.add(&mut partial.accumulator, &record);
        blame.lift();
        self.taken += 1;
        if self.gathered.len() < PARTIALS_MAX {
            return Room::Free;
        }
        self.sending = Some(Sending {
            until: Timestamp::MAX,
            signal: None,
        });
        self.send(turn)
    }
}

//! The calls of an operator, from their records to their results.

use std::collections::{BTreeMap, VecDeque};

use levada_core::executor::Spawned;
use levada_core::{Moment, Timestamp};

use crate::call::CallError;

/// Calls in the order of their records, with the watermarks between them.
///
/// A call stays in the queue until its result is taken. Results are taken in order, or as soon as they are there; but none
/// leaves before a watermark that came before it.
pub(crate) struct Queue<T, B> {
    ordered: bool,
    /// By number. Without order what has left makes room at once, however long the calls before it last.
    slots: BTreeMap<u64, Slot<T, B>>,
    /// The number that the next slot will have.
    next: u64,
    /// Slots that hold a call.
    calls: usize,
    /// Without order: the calls before the first watermark that are done, in the order in which they were.
    done: VecDeque<u64>,
    /// Without order: the number of the first watermark's slot.
    barrier: Option<u64>,
}

enum Slot<T, B> {
    Call(Box<Waiting<T, B>>),
    /// What is said of event time between two calls: a watermark, that the input is idle, or one after the other.
    Time {
        watermark: Option<Timestamp>,
        is_idle: bool,
    },
}

/// A call in the queue.
pub(crate) struct Waiting<T, B> {
    /// The record, for a snapshot.
    pub(crate) record: T,
    pub(crate) timestamp: Timestamp,
    /// When the record left its source.
    pub(crate) born: Moment,
    result: Option<Result<B, CallError<T>>>,
    /// Ends the future when it is dropped.
    _future: Option<Spawned>,
}

/// What leaves the queue.
pub(crate) enum Next<T, B> {
    Result {
        result: Result<B, CallError<T>>,
        timestamp: Timestamp,
        born: Moment,
    },
    Watermark(Timestamp),
    Idle,
}

impl<T, B> Queue<T, B> {
    pub(crate) fn new(ordered: bool) -> Self {
        Self {
            ordered,
            slots: BTreeMap::new(),
            next: 0,
            calls: 0,
            done: VecDeque::new(),
            barrier: None,
        }
    }

    /// How many calls there are.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number that the next call will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Adds a call that has been started.
    pub(crate) fn add(&mut self, record: T, timestamp: Timestamp, born: Moment, future: Spawned) {
        self.calls += 1;
        self.put(Slot::Call(Box::new(Waiting {
            record,
            timestamp,
            born,
            result: None,
            _future: Some(future),
        })));
    }

    /// Adds a watermark; one that directly follows another one takes its place.
    pub(crate) fn add_watermark(&mut self, at: Timestamp) {
        let (watermark, is_idle) = self.last_time();
        (*watermark, *is_idle) = (Some(at), false);
    }

    /// The input is idle behind what is in the queue.
    pub(crate) fn add_idle(&mut self) {
        let (_, is_idle) = self.last_time();
        *is_idle = true;
    }

    /// The last slot, which is no call's.
    fn last_time(&mut self) -> (&mut Option<Timestamp>, &mut bool) {
        let last = self.slots.last_key_value();
        if !matches!(last, Some((_, Slot::Time { .. }))) {
            let number = self.next;
            self.put(Slot::Time {
                watermark: None,
                is_idle: false,
            });
            self.barrier.get_or_insert(number);
        }
        let last = self
            .slots
            .last_entry()
            .map(std::collections::btree_map::OccupiedEntry::into_mut);
        match last {
            Some(Slot::Time { watermark, is_idle }) => (watermark, is_idle),
            _ => unreachable!("it has just been put there"),
        }
    }

    /// A call has ended.
    pub(crate) fn end(&mut self, number: u64, result: Result<B, CallError<T>>) {
        let Some(Slot::Call(call)) = self.slots.get_mut(&number) else {
            unreachable!("a call is in the queue until its result is taken")
        };
        debug_assert!(call.result.is_none(), "a call ends once");
        call.result = Some(result);
        if !self.ordered && self.barrier.is_none_or(|barrier| number < barrier) {
            self.done.push_back(number);
        }
    }

    /// Whether something may leave now.
    pub(crate) fn can_leave(&self) -> bool {
        match self.slots.first_key_value() {
            Some((_, Slot::Call(call))) if self.ordered => call.result.is_some(),
            Some((_, Slot::Call(_))) => !self.done.is_empty(),
            Some((_, Slot::Time { .. })) => true,
            None => false,
        }
    }

    /// Takes what may leave now.
    pub(crate) fn take_next(&mut self) -> Option<Next<T, B>> {
        let number = match self.slots.first_key_value()? {
            (number, Slot::Time { .. }) => *number,
            (number, Slot::Call(call)) if self.ordered => {
                call.result.as_ref()?;
                *number
            }
            (_, Slot::Call(_)) => self.done.pop_front()?,
        };
        if let Some(Slot::Time {
            watermark,
            is_idle: true,
        }) = self.slots.get_mut(&number)
            && let Some(at) = watermark.take()
        {
            return Some(Next::Watermark(at));
        }
        let slot = self.slots.remove(&number);
        match slot.expect("what has ended stays until it is taken") {
            Slot::Time { watermark, .. } => {
                self.find_barrier();
                Some(watermark.map_or(Next::Idle, Next::Watermark))
            }
            Slot::Call(call) => {
                self.calls -= 1;
                Some(Next::Result {
                    timestamp: call.timestamp,
                    born: call.born,
                    result: call.result.expect("only what has ended is taken"),
                })
            }
        }
    }

    /// The records of all calls, in their order.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Timestamp, &T)> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Call(call) => Some((call.timestamp, &call.record)),
            Slot::Time { .. } => None,
        })
    }

    /// Ends all calls.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            next: self.next,
            ..Self::new(self.ordered)
        };
    }

    fn put(&mut self, slot: Slot<T, B>) {
        self.slots.insert(self.next, slot);
        self.next += 1;
    }

    /// After a watermark has left: the calls up to the next one may leave when they are done, and some are.
    fn find_barrier(&mut self) {
        self.barrier = None;
        for (number, slot) in &self.slots {
            match slot {
                Slot::Time { .. } => {
                    self.barrier = Some(*number);
                    return;
                }
                Slot::Call(call) if !self.ordered && call.result.is_some() => {
                    self.done.push_back(*number);
                }
                Slot::Call(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Add,
        Watermark,
        Idle,
        /// Ends one of the calls that run.
        End(prop::sample::Index),
        Take,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => Just(Act::Add),
            1 => Just(Act::Watermark),
            1 => Just(Act::Idle),
            3 => any::<prop::sample::Index>().prop_map(Act::End),
            3 => Just(Act::Take),
        ]
    }

    fn nothing_runs() -> Spawned {
        Spawned::new(|| {})
    }

    /// What was put in, and what has come out: results by number, watermarks as they are.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Item {
        Call(u64),
        Watermark(i64),
        Idle,
    }

    fn check(ordered: bool, acts: Vec<Act>) -> Result<(), TestCaseError> {
        let mut queue = Queue::<u64, u64>::new(ordered);
        let (mut into, mut out) = (Vec::new(), Vec::new());
        let mut running = Vec::new();
        let mut take = |queue: &mut Queue<u64, u64>| match queue.take_next() {
            Some(Next::Result { result, .. }) => {
                out.push(Item::Call(result.expect("every call succeeds")));
                true
            }
            Some(Next::Watermark(Timestamp(watermark))) => {
                out.push(Item::Watermark(watermark));
                true
            }
            Some(Next::Idle) => {
                out.push(Item::Idle);
                true
            }
            None => false,
        };
        for (time, act) in acts.into_iter().enumerate() {
            match act {
                Act::Add => {
                    let number = queue.next_number();
                    queue.add(number, Timestamp::MIN, Moment::ZERO, nothing_runs());
                    running.push(number);
                    into.push(Item::Call(number));
                }
                Act::Watermark => {
                    queue.add_watermark(Timestamp(time as i64));
                    into.push(Item::Watermark(time as i64));
                }
                Act::Idle => {
                    queue.add_idle();
                    into.push(Item::Idle);
                }
                Act::End(index) if !running.is_empty() => {
                    let number = running.swap_remove(index.index(running.len()));
                    queue.end(number, Ok(number));
                }
                Act::End(_) => {}
                Act::Take => {
                    let could = queue.can_leave();
                    let taken = take(&mut queue);
                    prop_assert!(could || !taken);
                    prop_assert!(taken || !queue.can_leave());
                }
            }
            prop_assert!(queue.calls() >= running.len());
        }
        for number in running {
            queue.end(number, Ok(number));
        }
        while take(&mut queue) {}
        prop_assert!(queue.is_empty() && queue.calls() == 0);

        // Every call came out once, with the same said of event time before it.
        let time = |items: &[Item]| {
            items
                .iter()
                .fold((None, false), |(at, _), item| match item {
                    Item::Watermark(later) => (at.max(Some(*later)), false),
                    Item::Idle => (at, true),
                    Item::Call(_) => unreachable!("calls are left out"),
                })
        };
        let time_before = |items: &[Item], call: Option<u64>| {
            let call = call.map(Item::Call);
            let before = items.iter().take_while(|item| Some(**item) != call);
            let before = before.filter(|item| !matches!(item, Item::Call(_)));
            time(&before.copied().collect::<Vec<_>>())
        };
        prop_assert_eq!(time_before(&into, None), time_before(&out, None));
        let calls = |items: &[Item]| -> Vec<_> {
            let calls = items.iter().filter(|item| matches!(item, Item::Call(_)));
            calls.copied().collect()
        };
        for item in calls(&into) {
            let Item::Call(call) = item else { continue };
            prop_assert_eq!(
                time_before(&into, Some(call)),
                time_before(&out, Some(call))
            );
        }
        let mut found = calls(&out);
        if !ordered {
            found.sort_by_key(|item| into.iter().position(|other| other == item));
        }
        prop_assert_eq!(found, calls(&into));
        Ok(())
    }

    proptest! {
        #[test]
        fn results_leave_in_order(acts in prop::collection::vec(act(), 0..200)) {
            check(true, acts)?;
        }

        #[test]
        fn without_order_no_result_passes_a_watermark(acts in prop::collection::vec(act(), 0..200)) {
            check(false, acts)?;
        }
    }

    #[test]
    fn a_result_is_taken_as_soon_as_it_is_there() {
        let mut queue = Queue::<u64, u64>::new(false);
        for n in 0..3 {
            queue.add(n, Timestamp::MIN, Moment::ZERO, nothing_runs());
        }
        queue.end(2, Ok(2));
        assert!(matches!(
            queue.take_next(),
            Some(Next::Result { result: Ok(2), .. })
        ));
        assert!(queue.take_next().is_none());
        assert_eq!(queue.records().count(), 2);
    }

    #[test]
    fn what_has_left_takes_no_place_behind_a_call_that_lasts() {
        let mut queue = Queue::<u64, u64>::new(false);
        queue.add(0, Timestamp::MIN, Moment::ZERO, nothing_runs());
        for n in 1..1_000 {
            queue.add(n, Timestamp::MIN, Moment::ZERO, nothing_runs());
            queue.end(n, Ok(n));
            assert!(queue.take_next().is_some());
        }
        assert_eq!(queue.slots.len(), 1);
    }
}

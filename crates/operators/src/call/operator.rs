//! The operator that makes calls.

use std::collections::VecDeque;
use std::panic;
use std::sync::Arc;

use levada_core::codec;
use levada_core::fault;
use levada_core::sync::Mutex;
use levada_core::{Exchange, Moment, OnError, Origin, Timestamp, Wake};
use levada_runtime::metrics::{OperatorCounters, user};
use levada_runtime::{
    Blame, Downstream, Ending, Environment, Failure, Push, Room, Signal, StateError, Subtask, Turn,
    Visitor,
};
use levada_state::{OperatorState, Redistribution};

use crate::call::attempts::{self, Call, Outcome};
use crate::call::queue::{Next, Queue};
use crate::call::{CallError, Calls};
use crate::state_check;

/// What becomes of a result.
pub(crate) enum Conclusion<O> {
    /// It is emitted.
    Emit(O),
    /// There is none: the policy says what to do.
    Failed(OnError, String),
}

/// Turns what a call has ended with into what the operator does.
pub(crate) type Conclude<T, B, O> =
    Arc<dyn Fn(Result<B, CallError<T>>) -> Conclusion<O> + Send + Sync>;

/// Makes a call for each record, in one subtask.
pub(crate) struct Calling<T, B, O, P> {
    call: Call<T, B>,
    calls: Calls,
    conclude: Conclude<T, B, O>,
    queue: Queue<T, B>,
    /// Records of a snapshot whose calls have not been made again yet: they come before all others.
    restored: VecDeque<(Timestamp, T)>,
    mailbox: Arc<Mailbox<T, B>>,
    /// The end of the input waits for the last result.
    ending: bool,
    /// Whether what comes after had no room for all that it was given.
    blocked: bool,
    checked: bool,
    skipped: bool,
    subtask: usize,
    parallelism: usize,
    operator: Origin,
    environment: Environment,
    counters: Arc<OperatorCounters>,
    in_flight: user::Gauge,
    next: P,
}

/// Calls that have ended, by number. It holds no more of them than the operator makes at a time.
struct Mailbox<T, B> {
    ended: Mutex<Vec<(u64, Outcome<T, B>)>>,
    waker: Arc<dyn Wake>,
}

impl<T, B> Mailbox<T, B> {
    fn put(&self, number: u64, outcome: Outcome<T, B>) {
        self.ended.lock().push((number, outcome));
        self.waker.wake();
    }
}

impl<T, B, O, P> Calling<T, B, O, P>
where
    T: Exchange + Clone,
    B: Send + 'static,
    O: Send + 'static,
    P: Push<O>,
{
    pub(crate) fn new(
        call: Call<T, B>,
        calls: Calls,
        conclude: Conclude<T, B, O>,
        subtask: &Subtask,
        in_flight: user::Gauge,
        next: P,
    ) -> Self {
        Self {
            call,
            calls,
            conclude,
            queue: Queue::new(calls.ordered),
            restored: VecDeque::new(),
            mailbox: Arc::new(Mailbox {
                ended: Mutex::new(Vec::new()),
                waker: Arc::clone(&subtask.waker),
            }),
            ending: false,
            blocked: false,
            checked: false,
            skipped: false,
            subtask: subtask.index,
            parallelism: subtask.parallelism,
            operator: subtask.operator.clone(),
            environment: subtask.environment.clone(),
            counters: Arc::clone(&subtask.counters),
            in_flight,
            next,
        }
    }

    fn is_full(&self) -> bool {
        self.queue.calls() >= self.calls.in_flight
    }

    fn room(&self) -> Room {
        if self.is_full() {
            Room::Full
        } else {
            Room::Free
        }
    }

    /// Starts the call for a record.
    fn start(&mut self, record: T, timestamp: Timestamp, born: Moment, turn: &mut Turn) -> Room {
        let number = self.queue.next_number();
        let blame = Blame::on(&self.operator);
        let copy = record.clone();
        blame.lift();
        let made = attempts::make(
            copy,
            Arc::clone(&self.call),
            self.calls,
            self.environment.clone(),
        );
        let mailbox = Arc::clone(&self.mailbox);
        let future = Box::pin(async move {
            let outcome = made.await;
            mailbox.put(number, outcome);
        });
        match self.environment.executor.spawn(future) {
            Ok(spawned) => {
                self.queue.add(record, timestamp, born, spawned);
                Room::Free
            }
            Err(error) => turn.fail(&self.operator, error),
        }
    }

    /// Makes the calls of a snapshot again, as far as there is room for them.
    fn start_restored(&mut self, turn: &mut Turn) -> Room {
        while !self.is_full()
            && let Some((timestamp, record)) = self.restored.pop_front()
        {
            // When it left its source is not known any more.
            let born = turn.now();
            if self.start(record, timestamp, born, turn).is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }

    /// Takes the calls that have ended into the queue.
    fn collect(&mut self) {
        let ended = std::mem::take(&mut *self.mailbox.ended.lock());
        for (number, outcome) in ended {
            match outcome {
                Outcome::Ended(result) => self.queue.end(number, result),
                Outcome::Panicked(payload) => {
                    // It goes on where the program's code was called: the task fails with it.
                    let _blame = Blame::on(&self.operator);
                    panic::resume_unwind(payload);
                }
            }
        }
    }

    /// Emits what may leave the queue.
    fn emit(&mut self, turn: &mut Turn) -> Room {
        while let Some(next) = self.queue.take_next() {
            let room = match next {
                Next::Watermark(watermark) => self.next.signal(Signal::Watermark(watermark), turn),
                Next::Idle => self.next.signal(Signal::Idle, turn),
                Next::Result {
                    result,
                    timestamp,
                    born,
                } => {
                    if born != turn.born() {
                        turn.set_born(born);
                        self.next.mark(turn);
                    }
                    turn.timestamp = timestamp;
                    self.conclude(result, turn)
                }
            };
            if room.and(turn.spend()).is_full() {
                return Room::Full;
            }
        }
        Room::Free
    }

    /// Goes on with what has ended; changes what the turn says of the record in hand.
    fn go_on(&mut self, turn: &mut Turn) -> Room {
        self.blocked = self.next.resume(turn).is_full();
        if self.blocked {
            return Room::Full;
        }
        self.collect();
        self.blocked = self.emit(turn).is_full();
        if self.blocked || self.start_restored(turn).is_full() {
            return Room::Full;
        }
        if self.ending {
            if !self.queue.is_empty() {
                return Room::Full;
            }
            self.ending = false;
            return self.next.signal(Signal::End, turn);
        }
        self.room()
    }

    fn conclude(&mut self, result: Result<B, CallError<T>>, turn: &mut Turn) -> Room {
        match (self.conclude)(result) {
            Conclusion::Emit(record) => {
                self.counters.records_out.add(1);
                self.next.push(record, turn)
            }
            Conclusion::Failed(OnError::Skip, message) => {
                self.counters.records_skipped.add(1);
                if !std::mem::replace(&mut self.skipped, true) {
                    tracing::warn!(
                        "{} skips a record, and others like it: {message}",
                        self.operator
                    );
                }
                Room::Free
            }
            Conclusion::Failed(OnError::Fail, message) => turn.fail(&self.operator, message),
        }
    }

    #[inline(never)]
    fn check(&mut self, record: &T, turn: &mut Turn) -> Room {
        self.checked = true;
        match state_check::check(&(), record) {
            Ok(()) => Room::Free,
            Err(error) => turn.fail(&self.operator, error),
        }
    }
}

impl<T, B, O, P> Downstream for Calling<T, B, O, P>
where
    T: Exchange + Clone,
    B: Send + 'static,
    O: Send + 'static,
    P: Push<O>,
{
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if turn.is_clearing() {
            return self.next.resume(turn);
        }
        let born = turn.born();
        let room = self.go_on(turn);
        if turn.born() != born {
            // The rest of the batch in hand follows, which is older or younger than the results.
            turn.set_born(born);
            self.next.mark(turn);
        }
        room
    }

    fn mark(&mut self, turn: &mut Turn) {
        self.next.mark(turn);
    }

    /// A watermark waits in the queue for the results before it, the end for all of them.
    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        if self.queue.is_empty() && self.restored.is_empty() {
            return self.next.signal(signal, turn);
        }
        match signal {
            Signal::Watermark(watermark) => {
                self.queue.add_watermark(watermark);
                self.room()
            }
            Signal::Idle => {
                self.queue.add_idle();
                self.room()
            }
            Signal::End => {
                self.ending = true;
                Room::Full
            }
        }
    }

    fn tend(&mut self, turn: &mut Turn) -> Room {
        self.in_flight.set(self.queue.calls() as i64);
        let room = self.next.tend(turn);
        if self.blocked {
            // Room behind this operator is enough to go on, and nobody else may tell of it.
            return room;
        }
        let waits = self.is_full() || self.ending;
        if waits && !self.queue.can_leave() && self.mailbox.ended.lock().is_empty() {
            // The next call that ends wakes the task.
            return Room::Full;
        }
        room
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        let (operator, subtask, parallelism) =
            (self.operator.clone(), self.subtask, self.parallelism);
        visitor.operator(&operator, subtask, parallelism, self)?;
        self.next.visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.queue.clear();
        self.in_flight.set(0);
        self.next.close(ending)
    }
}

impl<T, B, O, P> Push<T> for Calling<T, B, O, P>
where
    T: Exchange + Clone,
    B: Send + 'static,
    O: Send + 'static,
    P: Push<O>,
{
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        self.counters.records_in.add(1);
        if !self.checked && self.check(&record, turn).is_full() {
            return Room::Full;
        }
        if self.start_restored(turn).is_full() {
            return Room::Full;
        }
        if self.is_full() {
            // Calls of a snapshot have taken the room that there seemed to be.
            self.restored.push_back((turn.timestamp, record));
            return Room::Full;
        }
        let (timestamp, born) = (turn.timestamp, turn.born());
        let started = self.start(record, timestamp, born, turn);
        started.and(self.room())
    }
}

/// A row for each call whose result has not been emitted: its record, with the timestamp.
impl<T, B, O, P> OperatorState for Calling<T, B, O, P>
where
    T: Exchange + Clone,
    B: Send,
    O: Send,
    P: Send,
{
    fn redistribution(&self) -> Redistribution {
        Redistribution::Split
    }

    fn write(&self) -> Result<Vec<Vec<u8>>, StateError> {
        if fault!("call-unsaved") {
            return Ok(Vec::new());
        }
        let restored = self.restored.iter();
        let restored = restored.map(|(timestamp, record)| (*timestamp, record));
        let rows = self.queue.records().chain(restored).map(|row| {
            let mut bytes = Vec::new();
            codec::encode(&row, &mut bytes).map(|()| bytes)
        });
        rows.collect::<Result<_, _>>()
            .map_err(StateError::of_operator)
    }

    fn read(&mut self, rows: &[&[u8]]) -> Result<(), StateError> {
        for row in rows {
            let row = codec::decode(row).map_err(StateError::of_operator)?;
            self.restored.push_back(row);
        }
        // They are made with the first poll, whether or not a record comes.
        self.mailbox.waker.wake();
        Ok(())
    }
}

/// A result, or the sentence that says why there is none.
pub(crate) fn or_policy<T: Exchange, B>(
    policy: OnError,
) -> impl Fn(Result<B, CallError<T>>) -> Conclusion<B> {
    move |result| match result {
        Ok(result) => Conclusion::Emit(result),
        Err(error) => Conclusion::Failed(policy, error.to_string()),
    }
}

/// The result as it is.
pub(crate) fn as_result<T, B>(
    result: Result<B, CallError<T>>,
) -> Conclusion<Result<B, CallError<T>>> {
    Conclusion::Emit(result)
}

//! What a test brings in: records, and what it says of event time.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Timestamp, Wake};
use levada_runtime::{
    Downstream, Intake, Push, Reader, ReaderContext, Room, Signal, Source, SourceContext, Status,
    Step, Subtask, Turn, forward_downstream,
};

/// What comes in, in order.
pub(super) enum Event<T> {
    Record(T, Timestamp),
    Watermark(Timestamp),
    Idle,
}

/// What the test has brought in and nobody has read.
pub(super) struct Input<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    events: VecDeque<Event<T>>,
    ended: bool,
    reader: Option<Arc<dyn Wake>>,
}

impl<T> Default for Input<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                events: VecDeque::new(),
                ended: false,
                reader: None,
            }),
        }
    }
}

impl<T> Input<T> {
    pub(super) fn add(&self, events: impl IntoIterator<Item = Event<T>>) {
        self.change(|state| state.events.extend(events));
    }

    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        let mut state = self.state.lock();
        change(&mut state);
        let reader = state.reader.clone();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// Reads what the test has brought in.
pub(super) struct HarnessSource<T>(pub(super) Arc<Input<T>>);

impl<T: Send + 'static> Source for HarnessSource<T> {
    type Out = Event<T>;
    type Split = ();
    type Reader = HarnessReader<T>;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(
        &self,
        (): (),
        _: Option<()>,
        context: &ReaderContext,
    ) -> Result<HarnessReader<T>, BoxError> {
        self.0.state.lock().reader = Some(Arc::clone(&context.waker));
        Ok(HarnessReader(Arc::clone(&self.0)))
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((1, "a test brings in its records one after the other"))
    }
}

pub(super) struct HarnessReader<T>(Arc<Input<T>>);

impl<T: Send + 'static> Reader for HarnessReader<T> {
    type Out = Event<T>;
    type Position = ();

    fn read(&mut self, intake: &mut impl Intake<Event<T>>) -> Result<Status, BoxError> {
        while !intake.is_full() {
            let mut state = self.0.state.lock();
            let event = state.events.pop_front();
            let ended = state.ended;
            drop(state);
            match event {
                Some(event) => intake.push(event),
                None if ended => return Ok(Status::Done),
                None => return Ok(Status::Idle(None)),
            }
        }
        Ok(Status::More)
    }

    fn position(&self) {}
}

/// Makes records and signals of what comes in.
#[derive(Clone)]
pub(super) struct Unfolding<S>(pub(super) S);

impl<A, T, S> Step<A> for Unfolding<S>
where
    S: Step<A, Out = Event<T>>,
    T: Send + 'static,
{
    type Out = T;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<T> + 'static,
    {
        let unfolding = UnfoldingPush {
            watermark: Timestamp::MIN,
            is_idle: false,
            waiting: None,
            next,
        };
        self.0.attach(subtask, unfolding)
    }
}

struct UnfoldingPush<T, P> {
    /// The last one of the test's.
    watermark: Timestamp,
    is_idle: bool,
    /// A record that comes after the watermark by which the input becomes active again.
    waiting: Option<(T, Timestamp)>,
    next: P,
}

impl<T, P: Push<T>> UnfoldingPush<T, P> {
    fn give(&mut self, record: T, at: Timestamp, turn: &mut Turn) -> Room {
        let before = mem::replace(&mut turn.timestamp, at);
        let room = self.next.push(record, turn);
        turn.timestamp = before;
        room
    }
}

impl<T: Send, P: Push<T>> Downstream for UnfoldingPush<T, P> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        if self.next.resume(turn).is_full() {
            return Room::Full;
        }
        match self.waiting.take() {
            Some((record, at)) => self.give(record, at, turn),
            None => Room::Free,
        }
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        self.next.signal(signal, turn)
    }

    forward_downstream!(@rest next);
}

impl<T: Send, P: Push<T>> Push<Event<T>> for UnfoldingPush<T, P> {
    fn push(&mut self, event: Event<T>, turn: &mut Turn) -> Room {
        match event {
            Event::Record(record, at) => {
                if mem::take(&mut self.is_idle) {
                    let active = Signal::Watermark(self.watermark);
                    if self.next.signal(active, turn).is_full() {
                        self.waiting = Some((record, at));
                        return Room::Full;
                    }
                }
                self.give(record, at, turn)
            }
            Event::Watermark(at) => {
                self.watermark = at;
                self.is_idle = false;
                self.next.signal(Signal::Watermark(at), turn)
            }
            Event::Idle => {
                self.is_idle = true;
                self.next.signal(Signal::Idle, turn)
            }
        }
    }
}

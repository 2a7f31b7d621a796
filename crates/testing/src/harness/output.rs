//! What comes out of the operators of a harness.

use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Timestamp};
use levada_runtime::stage::{Confluence, Watermark};
use levada_runtime::{
    Downstream, Drain, Push, Room, Signal, Sink, SinkContext, Step, Subtask, Turn, Writer,
    forward_downstream,
};

/// What has come out and has not been taken.
pub(super) struct Output<T> {
    pub(super) records: Vec<(T, Timestamp)>,
    /// How often the watermark of all subtasks together has risen, and to what.
    pub(super) watermarks: Vec<Timestamp>,
    /// The subtasks' watermarks; none before they are built.
    time: Option<Confluence>,
}

impl<T> Output<T> {
    pub(super) fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            records: Vec::new(),
            watermarks: Vec::new(),
            time: None,
        }))
    }

    /// Whether all subtasks that have not ended are idle.
    pub(super) fn is_idle(&self) -> bool {
        self.time.as_ref().is_some_and(|time| time.said().is_idle)
    }
}

/// Looks at the signals that pass.
pub(super) struct Watching<S, O> {
    before: S,
    output: Arc<Mutex<Output<O>>>,
}

impl<S, O> Watching<S, O> {
    pub(super) fn new(before: S, output: Arc<Mutex<Output<O>>>) -> Self {
        Self { before, output }
    }
}

impl<S: Clone, O> Clone for Watching<S, O> {
    fn clone(&self) -> Self {
        Self::new(self.before.clone(), Arc::clone(&self.output))
    }
}

impl<A, O, S> Step<A> for Watching<S, O>
where
    S: Step<A, Out = O>,
    O: Send + 'static,
{
    type Out = O;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<O> + 'static,
    {
        let time = &mut self.output.lock().time;
        time.get_or_insert_with(|| Confluence::new(subtask.parallelism));
        let watching = WatchingPush {
            subtask: subtask.index,
            watermark: Timestamp::MIN,
            output: Arc::clone(&self.output),
            next,
        };
        self.before.attach(subtask, watching)
    }
}

struct WatchingPush<O, P> {
    subtask: usize,
    watermark: Timestamp,
    output: Arc<Mutex<Output<O>>>,
    next: P,
}

impl<O: Send, P: Downstream> Downstream for WatchingPush<O, P> {
    fn resume(&mut self, turn: &mut Turn) -> Room {
        self.next.resume(turn)
    }

    fn signal(&mut self, signal: Signal, turn: &mut Turn) -> Room {
        let watermark = match signal {
            Signal::Watermark(at) => {
                assert!(at >= self.watermark, "{:?}, then {at:?}", self.watermark);
                self.watermark = at;
                Some(Watermark::active(at))
            }
            Signal::Idle => Some(Watermark::idle(self.watermark)),
            Signal::End => None,
        };
        if let Some(watermark) = watermark {
            let output = &mut *self.output.lock();
            let time = output.time.as_mut();
            let time = time.expect("it is made with the first subtask");
            let before = time.said().at;
            let said = time.hear(self.subtask, watermark);
            let risen = said.and_then(|said| said.watermark);
            output.watermarks.extend(risen.filter(|at| *at > before));
        }
        self.next.signal(signal, turn)
    }

    forward_downstream!(@rest next);
}

impl<O: Send, P: Push<O>> Push<O> for WatchingPush<O, P> {
    fn push(&mut self, record: O, turn: &mut Turn) -> Room {
        self.next.push(record, turn)
    }
}

/// Keeps the records with their timestamps.
pub(super) struct HarnessSink<T>(pub(super) Arc<Mutex<Output<T>>>);

impl<T: Send + 'static> Sink<T> for HarnessSink<T> {
    type Writer = Self;

    fn open(&self, _: &SinkContext) -> Result<Self, BoxError> {
        Ok(Self(Arc::clone(&self.0)))
    }
}

impl<T: Send> Writer<T> for HarnessSink<T> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        while let Some(record) = records.next() {
            let at = records.timestamp();
            self.0.lock().records.push((record, at));
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

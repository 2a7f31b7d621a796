//! A sink that stops when it is told to.

use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Wake};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

/// A sink that keeps its records and takes them only while its [`Valve`] is open. It is closed at first.
#[must_use]
pub fn valve<T>() -> (Valved<T>, Valve<T>) {
    let state = Arc::new(Mutex::new(State {
        open: false,
        records: Vec::new(),
        writers: Vec::new(),
    }));
    let valve = Valve {
        state: Arc::clone(&state),
    };
    (Valved { state }, valve)
}

/// The sink made by [`valve`].
pub struct Valved<T> {
    state: Arc<Mutex<State<T>>>,
}

impl<T> Clone for Valved<T> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

/// Opens and closes a sink.
pub struct Valve<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    open: bool,
    records: Vec<T>,
    writers: Vec<Arc<dyn Wake>>,
}

impl<T> Valve<T> {
    /// Lets records through.
    pub fn open(&self) {
        let mut state = self.state.lock();
        state.open = true;
        let writers = state.writers.clone();
        drop(state);
        for writer in writers {
            writer.wake();
        }
    }

    /// Lets no more records through.
    pub fn close(&self) {
        self.state.lock().open = false;
    }

    /// Takes what has come through.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.state.lock().records)
    }
}

impl<T: Send + 'static> Sink<T> for Valved<T> {
    type Writer = Self;

    fn open(&self, context: &SinkContext) -> Result<Self, BoxError> {
        let waker = Arc::clone(&context.waker);
        self.state.lock().writers.push(waker);
        Ok(self.clone())
    }
}

impl<T: Send + 'static> Writer<T> for Valved<T> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        let mut state = self.state.lock();
        if state.open {
            state.records.extend(records);
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

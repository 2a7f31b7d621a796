//! Streams and sinks of the `futures` crates, polled by their tasks: no thread and no queue lies between.

mod sink;
mod stream;

use std::sync::Arc;
use std::task::{self, Waker};

use levada_core::Wake;

pub use sink::{IntoSink, SinkWriter, into_sink};
pub use stream::{FromStream, StreamReader, from_stream};

/// Wakes a task of Levada's, as a waker of the standard library.
struct TaskWake(Arc<dyn Wake>);

impl TaskWake {
    fn waker(task: &Arc<dyn Wake>) -> Waker {
        Waker::from(Arc::new(Self(Arc::clone(task))))
    }
}

impl task::Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

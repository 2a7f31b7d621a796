//! Streams: handles on what an operator emits.

use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use levada_graph::NodeId;
use levada_runtime::Identity;
use levada_runtime::wiring::{Fork, Head, Records};

use crate::flow::Flow;
use crate::job::{Building, Port};
use crate::pipe::Pipe;

/// Records of type `T` that an operator emits.
///
/// Everything that can be done with a stream is a method of [`Flow`]. To use a stream twice, clone it: each use then gets
/// every record, so the records must be `Clone`.
///
/// ```
/// use levada::prelude::*;
///
/// fn twice(job: &Job) {
///     let numbers = job.source("numbers", iterator(0..10u64));
///     numbers.clone().map(|n| n * n).sink("squares", for_each(|_| {}));
///     numbers.sink("numbers-out", for_each(|_| {}));
/// }
/// # levada::Runner::new().run(twice)?;
/// # Ok::<(), levada::Error>(())
/// ```
///
/// A stream that comes from [`Job::source`](crate::Job::source) knows in `H` who reads it, so that the reader and the steps
/// behind it are compiled into one loop. [`Flow::stream`] forgets it where only the records matter, as in a signature.
pub struct Stream<T, H = Records<T>> {
    pub(crate) port: Port,
    pub(crate) fork: Arc<Fork<T>>,
    pub(crate) head: PhantomData<fn() -> H>,
}

impl<T, H> Stream<T, H> {
    /// Runs the operator that emits this stream in `parallelism` subtasks.
    #[track_caller]
    #[must_use]
    pub fn parallelism(self, parallelism: usize) -> Self {
        let place = Location::caller();
        self.port
            .inner
            .set_parallelism(self.port.node, parallelism, place);
        self
    }
}

impl<T: Clone, H> Clone for Stream<T, H> {
    fn clone(&self) -> Self {
        self.fork.used_again();
        Self {
            port: self.port.clone(),
            fork: Arc::clone(&self.fork),
            head: PhantomData,
        }
    }
}

impl<T: Send + 'static, H: Head<Out = T>> Flow for Stream<T, H> {
    type Item = T;
    type Head = H;
    type Steps = Identity;

    fn open(self) -> Pipe<H, Identity> {
        Pipe::new(self.port, Identity, Vec::new())
    }

    fn stream(self) -> Stream<T> {
        Stream {
            port: self.port,
            fork: self.fork,
            head: PhantomData,
        }
    }
}

/// A sink that has been added.
pub struct SinkHandle {
    pub(crate) inner: Rc<Building>,
    pub(crate) node: NodeId,
}

impl SinkHandle {
    /// Runs the sink in `parallelism` subtasks. It takes its stream as it comes, so this must be the stream's own
    /// parallelism unless there is an exchange before it (`rebalance`).
    #[track_caller]
    pub fn parallelism(self, parallelism: usize) {
        self.inner
            .set_parallelism(self.node, parallelism, Location::caller());
    }
}

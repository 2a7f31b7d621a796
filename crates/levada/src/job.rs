//! The job under construction.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsString;
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

use levada_core::{Origin, Place};
use levada_graph::{Edge, EdgeId, JobGraph, Node, NodeId, NodeKind, Output};
use levada_runtime::Source;
use levada_runtime::metrics::user::{Counter, Gauge, Histogram, MetricError, UserMetrics};
use levada_runtime::wiring::{
    EdgeFactory, Fork, NodeFactory, OutputFactory, Program, ReadBy, SourceNode,
};

use crate::args::{CommandLine, CommonFlags};
use crate::error::{Error, Result};
use crate::stream::Stream;

/// The job that a program builds: sources are added here, everything else follows from their streams.
pub struct Job {
    pub(crate) inner: Rc<Building>,
}

/// The graph and the code of its nodes and edges, while the program adds to them.
pub(crate) struct Building {
    graph: RefCell<JobGraph>,
    nodes: RefCell<Vec<Option<Arc<dyn NodeFactory>>>>,
    outputs: RefCell<HashMap<(NodeId, usize), Arc<dyn OutputFactory>>>,
    edges: RefCell<Vec<(EdgeId, Arc<dyn EdgeFactory>)>>,
    line: RefCell<Option<CommandLine>>,
    key_groups: Cell<Option<NonZeroU16>>,
    metrics: UserMetrics,
    /// The first thing that is wrong with the job, where it cannot be said at once.
    problem: RefCell<Option<Error>>,
}

/// What a job was built into.
pub(crate) struct Built {
    pub(crate) program: Program,
    pub(crate) graph: JobGraph,
    pub(crate) flags: CommonFlags,
    pub(crate) key_groups: Option<NonZeroU16>,
}

/// An output of a node.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) inner: Rc<Building>,
    pub(crate) node: NodeId,
    pub(crate) output: usize,
}

impl Job {
    pub(crate) fn new(program: String, args: Vec<OsString>) -> Self {
        Self {
            inner: Rc::new(Building {
                graph: RefCell::default(),
                nodes: RefCell::default(),
                outputs: RefCell::default(),
                edges: RefCell::default(),
                line: RefCell::new(Some(CommandLine::new(program, args))),
                key_groups: Cell::new(None),
                metrics: UserMetrics::default(),
                problem: RefCell::default(),
            }),
        }
    }

    /// Adds a source. Its name is the uid of its positions.
    #[track_caller]
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<S::Out, ReadBy<S::Reader>> {
        let place = Location::caller();
        let node = self.inner.add_node(
            Node {
                kind: NodeKind::Source,
                origin: Origin::new(name, place),
                steps: Vec::new(),
                parallelism: None,
                parallelism_max: source.parallelism_max(),
                blocking: source.is_blocking(),
                outputs: Vec::new(),
            },
            SourceNode::new(source),
        );
        self.inner.add_output(node, place)
    }

    /// The program's own flags, parsed together with those of every job.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// #[derive(clap::Args)]
    /// struct Flags {
    ///     /// The file to read
    ///     #[arg(long)]
    ///     input: String,
    /// }
    ///
    /// fn lines(job: &Job) -> levada::Result {
    ///     let flags: Flags = job.args()?;
    ///     job.source("lines", text_files(flags.input)).sink("out", stdout());
    ///     Ok(())
    /// }
    /// # assert!(levada::Runner::new().args(["--inpt", "x"]).run(lines).is_err());
    /// ```
    ///
    /// # Errors
    /// If the command line is wrong or asks for help, or if this is called twice.
    pub fn args<A: clap::Args>(&self) -> Result<A> {
        match &mut *self.inner.line.borrow_mut() {
            Some(line) => line.parse(),
            None => Err(Error::new("the job has been built")),
        }
    }

    /// The number of key groups, unless the command line says otherwise: 128 by default, at most 32,768. It is fixed for
    /// the life of the job's state.
    pub fn key_groups(&self, count: NonZeroU16) {
        self.inner.key_groups.set(Some(count));
    }

    /// A counter of the job's, for closures to count in: clones of it count the same, in every subtask. It is in the
    /// report of the job, and in [`Handle::metrics`](crate::Handle::metrics) while it runs.
    ///
    /// The name begins with a letter, goes on with letters, digits, `_`, `.`, `-` and `/`, and is a metric of one kind; a
    /// job has at most 100.
    ///
    /// ```
    /// use levada::prelude::*;
    /// use levada::metrics::user::UserValue;
    ///
    /// fn numbers(job: &Job) {
    ///     let rejected = job.counter("rejected");
    ///     let lengths = job.histogram("line-length");
    ///     job.source("lines", iterator(["1", "2", "three"]))
    ///         .flat_map(move |line: &str| {
    ///             lengths.record(line.len() as u64);
    ///             let number = line.parse::<u64>();
    ///             if number.is_err() {
    ///                 rejected.increment();
    ///             }
    ///             number
    ///         })
    ///         .sink("out", for_each(|_| {}));
    /// }
    ///
    /// let report = levada::Runner::new().run(numbers)?;
    /// let rejected = report.metrics.user.iter().find(|metric| metric.name == "rejected");
    /// assert_eq!(rejected.map(|metric| metric.value), Some(UserValue::Counter { value: 1 }));
    /// # Ok::<(), levada::Error>(())
    /// ```
    #[track_caller]
    #[must_use]
    pub fn counter(&self, name: &str) -> Counter {
        self.inner
            .metric(self.inner.metrics.counter(name), Location::caller())
    }

    /// A gauge of the job's: a value that rises and falls. As [`counter`](Job::counter) otherwise.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn sizes(job: &Job) {
    ///     let largest = job.gauge("largest");
    ///     job.source("sizes", iterator([3i64, 9, 4]))
    ///         .sink("out", for_each(move |size| largest.set(largest.get().max(size))));
    /// }
    ///
    /// let report = levada::Runner::new().run(sizes)?;
    /// assert!(report.to_string().contains("gauge largest: 9"));
    /// # Ok::<(), levada::Error>(())
    /// ```
    #[track_caller]
    #[must_use]
    pub fn gauge(&self, name: &str) -> Gauge {
        self.inner
            .metric(self.inner.metrics.gauge(name), Location::caller())
    }

    /// A histogram of the job's: a distribution of whole numbers, to two significant digits. As
    /// [`counter`](Job::counter) otherwise.
    ///
    /// ```
    /// use levada::prelude::*;
    ///
    /// fn sizes(job: &Job) {
    ///     let sizes = job.histogram("sizes");
    ///     job.source("sizes", iterator(1..=100u64)).sink("out", for_each(move |size| sizes.record(size)));
    /// }
    ///
    /// let report = levada::Runner::new().run(sizes)?;
    /// assert!(report.to_string().contains("histogram sizes: 100 values, p50 50,"));
    /// # Ok::<(), levada::Error>(())
    /// ```
    #[track_caller]
    #[must_use]
    pub fn histogram(&self, name: &str) -> Histogram {
        self.inner
            .metric(self.inner.metrics.histogram(name), Location::caller())
    }

    /// The end of construction.
    pub(crate) fn build(self) -> Result<Built> {
        self.inner.look_for_unfinished();
        if let Some(problem) = self.inner.problem.take() {
            return Err(problem);
        }
        let line = self.inner.line.take();
        let flags = match line {
            Some(line) => line.into_common()?,
            None => CommonFlags::default(),
        };
        let graph = self.inner.graph.take();
        let nodes: Option<Vec<_>> = self.inner.nodes.take().into_iter().collect();
        let nodes = nodes.expect("every node of the graph has its code, or a problem was noted");
        let program = Program {
            nodes,
            outputs: self.inner.outputs.take(),
            edges: self.inner.edges.take().into_iter().collect(),
            user: self.inner.metrics.clone(),
        };
        Ok(Built {
            program,
            graph,
            flags,
            key_groups: self.inner.key_groups.get(),
        })
    }
}

impl Building {
    /// The job is not built, for this reason. Only the first one counts.
    pub(crate) fn refuse(&self, reason: &dyn std::fmt::Display, place: Place) {
        let (file, line) = (place.file(), place.line());
        let problem = Error::new(format!("{reason} ({file}:{line})"));
        self.problem.borrow_mut().get_or_insert(problem);
    }

    /// Windows whose late records have been taken have a node before they have an operator.
    fn look_for_unfinished(&self) {
        let nodes = self.nodes.borrow();
        let graph = self.graph.borrow();
        for node in graph.nodes() {
            if nodes[node.0 as usize].is_none() {
                let reason = "the late records of windows are used, but nothing is made of the windows: call `aggregate` or \
                     another of their methods";
                self.refuse(&reason, graph.node(node).origin.place());
            }
        }
    }

    /// The handle of a metric. If there is none the job is not built; until then a handle that nobody reads will do.
    fn metric<M: Default>(&self, metric: std::result::Result<M, MetricError>, place: Place) -> M {
        metric.unwrap_or_else(|error| {
            self.refuse(&error, place);
            M::default()
        })
    }

    pub(crate) fn add_node(&self, node: Node, factory: impl NodeFactory + 'static) -> NodeId {
        let id = self.reserve_node(node);
        self.set_factory(id, factory);
        id
    }

    /// Adds a node whose code is made later: a process with side outputs needs to know its number first.
    pub(crate) fn reserve_node(&self, node: Node) -> NodeId {
        self.nodes.borrow_mut().push(None);
        self.graph.borrow_mut().add(node)
    }

    pub(crate) fn set_factory(&self, node: NodeId, factory: impl NodeFactory + 'static) {
        self.nodes.borrow_mut()[node.0 as usize] = Some(Arc::new(factory));
    }

    pub(crate) fn add_output<T: Send + 'static, H>(
        self: &Rc<Self>,
        node: NodeId,
        place: Place,
    ) -> Stream<T, H> {
        let output = self.reserve_output(node, place);
        self.output_stream(node, output)
    }

    /// Adds an output whose records are not known yet.
    pub(crate) fn reserve_output(&self, node: NodeId, place: Place) -> usize {
        self.graph.borrow_mut().add_output(node, Output { place })
    }

    /// The stream of an output, which has been asked for once.
    pub(crate) fn output_stream<T: Send + 'static, H>(
        self: &Rc<Self>,
        node: NodeId,
        output: usize,
    ) -> Stream<T, H> {
        let fork = Arc::new(Fork::<T>::new());
        self.outputs
            .borrow_mut()
            .insert((node, output), Arc::clone(&fork) as Arc<dyn OutputFactory>);
        Stream {
            port: Port {
                inner: Rc::clone(self),
                node,
                output,
            },
            fork,
            head: PhantomData,
        }
    }

    /// Connects two nodes within a task.
    pub(crate) fn forward(&self, from: &Port, to: NodeId, place: Place, record_type: &'static str) {
        let edge = Edge {
            output: from.output,
            pattern: levada_graph::Pattern::Forward,
            steps: Vec::new(),
            place,
            record_type,
        };
        self.graph.borrow_mut().connect(from.node, to, edge);
    }

    /// Connects two nodes by an exchange.
    pub(crate) fn exchange(
        &self,
        from: &Port,
        to: NodeId,
        edge: Edge,
        factory: Arc<dyn EdgeFactory>,
    ) {
        let id = self.graph.borrow_mut().connect(from.node, to, edge);
        self.edges.borrow_mut().push((id, factory));
    }

    pub(crate) fn name(&self, node: NodeId, origin: Origin) {
        self.graph.borrow_mut().name(node, origin);
    }

    pub(crate) fn set_parallelism(&self, node: NodeId, parallelism: usize, place: Place) {
        self.graph
            .borrow_mut()
            .set_parallelism(node, parallelism, place);
    }
}

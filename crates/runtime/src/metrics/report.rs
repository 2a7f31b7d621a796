//! What has been counted, as a value that can be looked at, compared and written as JSON.

use std::collections::HashMap;
use std::sync::Arc;

use hdrhistogram::Histogram;
use levada_core::sync::Mutex;
use levada_core::{Clock, Moment, Origin, Timestamp};
use levada_graph::{EdgeId, NodeId, NodeKind, Plan};
use levada_network::{Budget, ChannelGauge, EdgeGauge};
use serde::Serialize;

use crate::checkpoint::CheckpointMetrics;
use crate::launch::first_task;
use crate::metrics::user::{UserMetric, UserMetrics};
use crate::metrics::{Activity, OperatorCounters, TaskTimes, Times};

/// Everything that is counted in a run.
pub struct Registry {
    plan: Arc<Plan>,
    clock: Arc<dyn Clock>,
    started: Moment,
    tasks: Vec<Arc<TaskTimes>>,
    /// By node, then subtask.
    operators: Vec<Vec<Arc<OperatorCounters>>>,
    edges: HashMap<EdgeId, Arc<EdgeGauge>>,
    /// By edge and producer, then consumer.
    channels: HashMap<(EdgeId, usize), Vec<Arc<ChannelGauge>>>,
    budget: Arc<Budget>,
    user: UserMetrics,
    checkpoints: Mutex<Option<CheckpointMetrics>>,
}

/// What a job has done so far.
#[derive(Clone, Debug, Serialize)]
pub struct JobMetrics {
    /// Nanoseconds since the start.
    pub age_nanos: u64,
    /// The tasks, in the order of the stages.
    pub tasks: Vec<TaskMetrics>,
    /// The sources, operators and sinks, in the order in which the program made them.
    pub operators: Vec<OperatorMetrics>,
    /// The exchanges, in the order in which the program made them.
    pub edges: Vec<EdgeMetrics>,
    /// Bytes of overdraft in use by all tasks, the most there ever was, and the limit.
    pub overdraft: OverdraftMetrics,
    /// What the program counts itself: first the job's, then those of operators, each in the order of its making.
    pub user: Vec<UserMetric>,
    /// What there is to say about checkpoints, if the job takes any.
    pub checkpoints: Option<CheckpointMetrics>,
}

/// The overdraft of a process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OverdraftMetrics {
    /// Bytes in use.
    pub bytes: u64,
    /// The most that were in use at once.
    pub bytes_max: u64,
    /// The limit that makes tasks wait.
    pub limit: u64,
}

/// What a task has done.
#[derive(Clone, Debug, Serialize)]
pub struct TaskMetrics {
    /// The number of its stage.
    pub stage: u32,
    /// The operator at its head.
    pub head: String,
    /// The number of the subtask.
    pub subtask: usize,
    /// What it is doing.
    pub activity: Activity,
    /// How long it has done what; sums to its age.
    pub times: Times,
    /// How often it was polled.
    pub polls: u64,
}

/// What an operator has done, over all of its subtasks.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorMetrics {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// How many subtasks it has.
    pub parallelism: usize,
    /// The stage it runs in.
    pub stage: u32,
    /// Records taken, by subtask.
    pub records_in: Vec<u64>,
    /// Records given on, by subtask.
    pub records_out: Vec<u64>,
    /// Records left out because of an error that the program asked to pass over, by subtask.
    pub records_skipped: Vec<u64>,
    /// Records that came too late for what they belong to and were dropped, by subtask.
    pub records_late: Vec<u64>,
    /// How often a split was held back because it was too far ahead of the others, by subtask of a source.
    pub splits_held: Vec<u64>,
    /// Bytes of memory that its keyed state takes, about, by subtask.
    pub state_bytes: Vec<u64>,
    /// The most that it took, by subtask.
    pub state_bytes_max: Vec<u64>,
    /// How far it is in event time, in milliseconds, by subtask; none before its first watermark.
    pub watermark: Vec<Option<i64>>,
    /// By how many milliseconds the subtask that is the least far is behind the time of day; none if no subtask is between
    /// its first watermark and its end.
    pub watermark_lag_millis: Option<i64>,
    /// Of a sink: from a record's source to here.
    pub latency: Option<LatencyMetrics>,
}

/// A distribution of latencies in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LatencyMetrics {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1,000 are below.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

/// What an exchange has carried and holds.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeMetrics {
    /// Its name.
    pub name: String,
    /// The stage of its producers.
    pub from_stage: u32,
    /// The stage of its consumers.
    pub to_stage: u32,
    /// The bytes it may hold, overdraft apart.
    pub bound: u64,
    /// The bytes it holds.
    pub held: u64,
    /// The most bytes it ever held.
    pub held_max: u64,
    /// Bytes beyond the bound, by large records.
    pub overdraft: u64,
    /// The most there ever were.
    pub overdraft_max: u64,
    /// Batches sent.
    pub batches: u64,
    /// Records sent.
    pub records: u64,
    /// Its channels, by producer and consumer.
    pub channels: Vec<ChannelMetrics>,
}

/// A channel, as its producer sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelMetrics {
    /// The producing subtask.
    pub producer: usize,
    /// The consuming subtask: for whom the producer waits when it waits.
    pub consumer: usize,
    /// Unused credits.
    pub credits: u64,
    /// Batches that wait for a credit.
    pub queued: u64,
    /// How long the producer has waited for this channel.
    pub waited_nanos: u64,
}

impl Registry {
    pub(crate) fn new(plan: Arc<Plan>, clock: Arc<dyn Clock>, user: UserMetrics) -> Self {
        let operators = plan
            .graph()
            .nodes()
            .map(|node| {
                (0..plan.node(node).parallelism)
                    .map(|_| OperatorCounters::new())
                    .collect()
            })
            .collect();
        let mut edges = HashMap::new();
        let mut channels = HashMap::new();
        for exchange in plan.exchanges() {
            edges.insert(exchange.edge, Arc::new(EdgeGauge::default()));
            for producer in 0..exchange.producers {
                let gauges = exchange.consumers_of(producer);
                let gauges = gauges.map(|_| Arc::new(ChannelGauge::default())).collect();
                channels.insert((exchange.edge, producer), gauges);
            }
        }
        Self {
            plan,
            started: clock.now(),
            clock,
            tasks: Vec::new(),
            operators,
            edges,
            channels,
            budget: Arc::new(Budget::new(0)),
            user,
            checkpoints: Mutex::default(),
        }
    }

    pub(crate) fn set_tasks(&mut self, tasks: Vec<Arc<TaskTimes>>) {
        self.tasks = tasks;
    }

    pub(crate) fn set_budget(&mut self, budget: Budget) {
        self.budget = Arc::new(budget);
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn operator(&self, node: NodeId, subtask: usize) -> Arc<OperatorCounters> {
        Arc::clone(&self.operators[node.0 as usize][subtask])
    }

    /// The operators that may have state, with the counters of each subtask.
    pub(crate) fn stateful(&self) -> Vec<(Origin, Vec<Arc<OperatorCounters>>)> {
        let graph = self.plan.graph();
        let nodes = graph.nodes().filter(|node| graph.node(*node).is_named());
        let of = |node: NodeId| {
            let counters = self.operators[node.0 as usize].clone();
            (graph.node(node).origin.clone(), counters)
        };
        nodes.map(of).collect()
    }

    pub(crate) fn edge(&self, edge: EdgeId) -> Arc<EdgeGauge> {
        Arc::clone(&self.edges[&edge])
    }

    /// The gauge of a producer's channel, numbered as its consumers are.
    pub(crate) fn channel(&self, edge: EdgeId, producer: usize, index: usize) -> Arc<ChannelGauge> {
        Arc::clone(&self.channels[&(edge, producer)][index])
    }

    /// The plan of the run.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is counted, as of now.
    #[must_use]
    pub fn metrics(&self) -> JobMetrics {
        let now = self.clock.now();
        JobMetrics {
            age_nanos: now.nanos_since(self.started),
            tasks: self.task_metrics(now),
            operators: self.operator_metrics(self.clock.wall()),
            edges: self.edge_metrics(now),
            overdraft: OverdraftMetrics {
                bytes: self.budget.used(),
                bytes_max: self.budget.used_max(),
                limit: self.budget.limit(),
            },
            user: self.user.read(),
            checkpoints: self.checkpoints.lock().clone(),
        }
    }

    /// Takes what there is to say about checkpoints now.
    pub(crate) fn set_checkpoints(&self, checkpoints: Option<&CheckpointMetrics>) {
        *self.checkpoints.lock() = checkpoints.cloned();
    }

    fn task_metrics(&self, now: Moment) -> Vec<TaskMetrics> {
        let mut metrics = Vec::new();
        for stage in self.plan.stages() {
            let first = first_task(&self.plan, stage.id);
            for subtask in 0..stage.parallelism {
                let times = &self.tasks[first + subtask];
                let (activity, read) = times.read(now);
                metrics.push(TaskMetrics {
                    stage: stage.id.0,
                    head: self.plan.graph().node(stage.head).origin.name().to_owned(),
                    subtask,
                    activity,
                    times: read,
                    polls: times.polls(),
                });
            }
        }
        metrics
    }

    fn operator_metrics(&self, wall: Timestamp) -> Vec<OperatorMetrics> {
        let graph = self.plan.graph();
        graph
            .nodes()
            .filter(|node| graph.node(*node).is_named())
            .map(|id| {
                let node = graph.node(id);
                let counters = &self.operators[id.0 as usize];
                let watermarks = counters.iter().map(|c| c.watermark.get());
                OperatorMetrics {
                    name: node.origin.name().to_owned(),
                    kind: node.kind,
                    parallelism: self.plan.node(id).parallelism,
                    stage: self.plan.node(id).stage.0,
                    records_in: counters.iter().map(|c| c.records_in.get()).collect(),
                    records_out: counters.iter().map(|c| c.records_out.get()).collect(),
                    records_skipped: counters.iter().map(|c| c.records_skipped.get()).collect(),
                    records_late: counters.iter().map(|c| c.records_late.get()).collect(),
                    splits_held: counters.iter().map(|c| c.splits_held.get()).collect(),
                    state_bytes: counters.iter().map(|c| c.state_bytes.get()).collect(),
                    state_bytes_max: counters.iter().map(|c| c.state_bytes.most()).collect(),
                    watermark: watermarks.clone().map(|w| w.map(|w| w.0)).collect(),
                    watermark_lag_millis: lag(watermarks.flatten(), wall),
                    latency: (node.kind == NodeKind::Sink).then(|| latency(counters)),
                }
            })
            .collect()
    }

    fn edge_metrics(&self, now: Moment) -> Vec<EdgeMetrics> {
        let exchanges = self.plan.exchanges().iter();
        exchanges
            .map(|exchange| {
                let gauge = &self.edges[&exchange.edge];
                let mut channels = Vec::new();
                for producer in 0..exchange.producers {
                    let gauges = &self.channels[&(exchange.edge, producer)];
                    for (consumer, gauge) in exchange.consumers_of(producer).zip(gauges) {
                        channels.push(ChannelMetrics {
                            producer,
                            consumer,
                            credits: gauge.credits(),
                            queued: gauge.queued(),
                            waited_nanos: gauge.waited_nanos(now),
                        });
                    }
                }
                let (from, to) = self.plan.graph().ends(exchange.edge);
                EdgeMetrics {
                    from_stage: self.plan.node(from).stage.0,
                    to_stage: self.plan.node(to).stage.0,
                    name: self.plan.edge_name(exchange.edge).to_owned(),
                    bound: exchange.bound.bytes,
                    held: gauge.held(),
                    held_max: gauge.held_max(),
                    overdraft: gauge.overdraft(),
                    overdraft_max: gauge.overdraft_max(),
                    batches: gauge.batches(),
                    records: gauge.records(),
                    channels,
                }
            })
            .collect()
    }
}

fn lag(watermarks: impl Iterator<Item = Timestamp>, wall: Timestamp) -> Option<i64> {
    let least = watermarks.filter(|watermark| *watermark < Timestamp::MAX);
    Some(wall.0.saturating_sub(least.min()?.0))
}

fn latency(counters: &[Arc<OperatorCounters>]) -> LatencyMetrics {
    let mut sum: Option<Histogram<u64>> = None;
    for counters in counters {
        let latency = counters.latency.lock();
        match &mut sum {
            None => sum = Some(latency.clone()),
            Some(sum) => sum
                .add(&*latency)
                .expect("all latency histograms have the same bounds"),
        }
    }
    let sum = sum.unwrap_or_else(super::latency_histogram);
    LatencyMetrics {
        count: sum.len(),
        p50: sum.value_at_quantile(0.5),
        p99: sum.value_at_quantile(0.99),
        p999: sum.value_at_quantile(0.999),
        max: sum.max(),
    }
}

impl JobMetrics {
    /// The metrics of an operator.
    #[must_use]
    pub fn operator(&self, name: &str) -> Option<&OperatorMetrics> {
        self.operators.iter().find(|operator| operator.name == name)
    }

    /// The metrics of an exchange.
    #[must_use]
    pub fn edge(&self, name: &str) -> Option<&EdgeMetrics> {
        self.edges.iter().find(|edge| edge.name == name)
    }

    /// Records that sources have brought in.
    #[must_use]
    pub fn records_read(&self) -> u64 {
        self.sum(NodeKind::Source, OperatorMetrics::sum_out)
    }

    /// Records that sinks have taken out.
    #[must_use]
    pub fn records_written(&self) -> u64 {
        self.sum(NodeKind::Sink, OperatorMetrics::sum_in)
    }

    fn sum(&self, kind: NodeKind, count: impl Fn(&OperatorMetrics) -> u64) -> u64 {
        let operators = self.operators.iter().filter(|o| o.kind == kind);
        operators.map(count).sum()
    }
}

impl OperatorMetrics {
    /// Records taken by all subtasks.
    #[must_use]
    pub fn sum_in(&self) -> u64 {
        self.records_in.iter().sum()
    }

    /// Records given on by all subtasks.
    #[must_use]
    pub fn sum_out(&self) -> u64 {
        self.records_out.iter().sum()
    }

    /// Records that came too late, of all subtasks.
    #[must_use]
    pub fn sum_late(&self) -> u64 {
        self.records_late.iter().sum()
    }

    /// How often the splits of a source were held back.
    #[must_use]
    pub fn sum_splits_held(&self) -> u64 {
        self.splits_held.iter().sum()
    }

    /// Bytes of memory that its keyed state takes, about.
    #[must_use]
    pub fn sum_state_bytes(&self) -> u64 {
        self.state_bytes.iter().sum()
    }

    /// The most that the keyed state of its subtasks took, each at its time.
    #[must_use]
    pub fn sum_state_bytes_max(&self) -> u64 {
        self.state_bytes_max.iter().sum()
    }

    /// Records left out by all subtasks.
    #[must_use]
    pub fn sum_skipped(&self) -> u64 {
        self.records_skipped.iter().sum()
    }
}

//! From a plan to tasks.
//!
//! 1. Every subtask of every stage gets a cell, so that it can be woken before its stage exists.
//! 2. Sources divide their input, sinks look whether they can write; an error here means that nothing starts.
//! 3. Each exchange gets its channels.
//! 4. Each subtask is built from its sinks and exchanges back to its head.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use levada_core::{Origin, Wake};
use levada_graph::{EdgeId, NodeId, NodeKind, Pattern, Plan, Stage as PlannedStage, StageId};
use levada_network::{Budget, OutboxOptions};

use crate::checkpoint::{
    Allowed, ChannelName, CheckpointOptions, CheckpointWriter, Mail, Outlet, Participant, Restore,
    Restored, Schedule as CheckpointSchedule, Setup, StartAt, TaskDuties, manifest_of, number,
};
use crate::coordinator::Coordinator;
use crate::environment::Environment;
use crate::error::{Failure, guarded};
use crate::metrics::{Registry, TaskTimes};
use crate::push::Ending;
use crate::restart::Restart;
use crate::scheduler::Schedule;
use crate::stage::{EdgeInput, Stage};
use crate::state_memory::{StateMemory, Weigher, state_memory_by_default};
use crate::subtask::Subtask;
use crate::task::{Command, Duties, Report, TaskCell, TaskWaker};
use crate::thread;
use crate::throttle::Throttle;
use crate::wiring::{AnyGate, AnyPort, AnyPush, Built, Program, SenderParts, Shared};

/// What a run depends on besides the plan.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The name of the job, as it stands in its checkpoints.
    pub job_name: String,
    /// How long a record waits in a batch that is not full.
    pub buffer_timeout: Duration,
    /// Source records per second over the whole job.
    pub throttle: Option<f64>,
    /// The most that the emissions of one call of a closure may take while there is no room for them.
    pub overdraft_bytes_max: u64,
    /// The most memory that keyed state may take. If none, seven tenths of what the machine, or the control group that the
    /// process is in, has besides the memory for buffers; no limit where that is not known, as in a simulation.
    pub state_memory: Option<u64>,
    /// Checkpoints, if they are wanted.
    pub checkpoints: Option<CheckpointOptions>,
    /// Where the job begins.
    pub from: StartAt,
    /// What it may lose or repeat.
    pub allowed: Allowed,
    /// What becomes of it after a failure.
    pub restart: Restart,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            job_name: "job".to_owned(),
            buffer_timeout: Duration::from_millis(100),
            throttle: None,
            overdraft_bytes_max: 64 << 20,
            state_memory: None,
            checkpoints: None,
            from: StartAt::Beginning,
            allowed: Allowed::default(),
            restart: Restart::None,
        }
    }
}

/// A job whose tasks are ready to run.
pub struct Launched {
    pub(crate) tasks: Vec<Arc<TaskCell>>,
    pub(crate) coordinator: Coordinator,
    pub(crate) registry: Arc<Registry>,
    pub(crate) writer: Option<CheckpointWriter>,
}

/// One of the times that a job is started, in one run.
#[derive(Default)]
pub struct Attempt {
    /// Counted from 1; 0 for a job without checkpoints.
    pub number: u32,
    /// Where its checkpoints go.
    pub setup: Option<Arc<Setup>>,
    /// What it goes on from.
    pub restored: Option<Arc<Restored>>,
    /// How many threads give the tasks their state.
    pub threads: usize,
}

impl Launched {
    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &[Arc<TaskCell>] {
        &self.tasks
    }

    /// The coordinator, what is counted, and who writes checkpoints, for whoever drives them.
    #[must_use]
    pub fn into_parts(self) -> (Coordinator, Arc<Registry>, Option<CheckpointWriter>) {
        (self.coordinator, self.registry, self.writer)
    }
}

/// Builds all tasks and makes them ready. `schedule` says who polls a subtask of a stage.
///
/// # Errors
/// If a source, a sink or an operator cannot be opened.
pub fn launch(
    program: &Program,
    plan: &Arc<Plan>,
    environment: &Environment,
    options: &RunOptions,
    attempt: &Attempt,
    schedule: &mut dyn FnMut(&PlannedStage, usize) -> Arc<dyn Schedule>,
) -> Result<Launched, Failure> {
    let user = program.user.clone();
    let mut registry = Registry::new(Arc::clone(plan), Arc::clone(&environment.clock), user);
    let now = environment.clock.now();
    let mut tasks = Vec::new();
    let mut times = Vec::new();
    for stage in plan.stages() {
        let head = &plan.graph().node(stage.head).origin;
        for subtask in 0..stage.parallelism {
            let task_times = TaskTimes::new(now);
            tasks.push(TaskCell::new(
                tasks.len(),
                head.clone(),
                subtask,
                schedule(stage, subtask),
                Arc::clone(&task_times),
                Arc::clone(&environment.clock),
            ));
            times.push(task_times);
        }
    }
    registry.set_tasks(times);

    let spare = plan.options().buffers.memory.saturating_sub(plan.bytes());
    registry.set_budget(Budget::new(spare));
    // What is read in the order of the old tables is quickly put into new ones of the same order.
    let saved = attempt.restored.as_ref().and_then(|of| of.table_seed());
    let drawn = environment.random.next();
    let table_seed = saved.unwrap_or(drawn);
    let buffers = plan.options().buffers.memory;
    let state_memory = options.state_memory;
    let state_memory = StateMemory::new(
        state_memory.or_else(|| state_memory_by_default(&*environment.disk, buffers)),
        registry.stateful(),
    );
    let mut wiring = Wiring {
        program,
        plan,
        tasks: &tasks,
        registry: &registry,
        environment,
        options,
        throttle: options.throttle.map(|rate| Arc::new(Throttle::new(rate))),
        budget: Arc::clone(registry.budget()),
        run: format!("{:016x}", environment.random.next()).into(),
        table_seed,
        shared: HashMap::new(),
        gates: HashMap::new(),
        ports: HashMap::new(),
        restored: attempt.restored.clone(),
        state_memory,
    };
    let mut stages = wiring.build()?;
    if let Some(restored) = &attempt.restored {
        stages = restore_all(stages, &tasks, restored, attempt.threads)?;
    }
    let run = Arc::clone(&wiring.run);

    // And what the writer reports: of the checkpoint that is being taken, and one that was given up.
    let (reports, received) = bounded(tasks.len() * Report::MAX + 4);
    let mut commands = Vec::new();
    let registry = Arc::new(registry);
    let mails: Vec<_> = tasks.iter().map(|_| Mail::new()).collect();
    let mut schedule = None;
    let mut writer = None;
    let mut outlet = None;
    if let Some(setup) = &attempt.setup {
        let (sender, blocks) = Outlet::new(setup.options().queue_bytes);
        schedule = Some(CheckpointSchedule::new(
            Arc::clone(setup),
            sender.clone(),
            mails.clone(),
            task_duties(plan, &registry, stages.iter().map(|built| built.duties)),
            manifest_of(program, plan, options, &run, attempt.number, table_seed),
            attempt.restored.as_ref().map(|of| of.manifest().number),
            environment.clock.now(),
        ));
        writer = Some(CheckpointWriter::new(
            Arc::clone(setup.directory()),
            Arc::clone(&environment.disk),
            Arc::clone(&environment.clock),
            run,
            attempt.number,
            setup.options().retained,
            blocks,
            Arc::clone(sender.load()),
            reports.clone(),
        ));
        outlet = Some(sender);
    }
    for ((task, mail), built) in tasks.iter().zip(&mails).zip(stages) {
        let Construction {
            stage,
            duties,
            weigher,
        } = built;
        let (sender, receiver) = bounded(Command::MAX);
        commands.push(sender);
        let participant = Participant::new(
            task.id(),
            Arc::clone(mail),
            outlet.clone(),
            reports.clone(),
            Arc::new(TaskWaker(Arc::clone(task))),
        );
        task.launch(
            stage,
            duties,
            participant,
            weigher,
            receiver,
            reports.clone(),
        );
    }
    let sources = plan
        .graph()
        .nodes()
        .map(|node| Arc::clone(&program.nodes[node.0 as usize]));
    let coordinator = Coordinator::new(
        tasks.clone(),
        commands,
        received,
        sources.collect(),
        schedule,
        Arc::clone(&environment.clock),
    );
    Ok(Launched {
        tasks,
        coordinator,
        registry,
        writer,
    })
}

/// What each task has to do with checkpoints; the operators are numbered as in the manifest.
fn task_duties(
    plan: &Plan,
    registry: &Registry,
    duties: impl Iterator<Item = Duties>,
) -> Vec<TaskDuties> {
    let graph = plan.graph();
    let named: Vec<_> = (graph.nodes())
        .filter(|node| graph.node(*node).is_named())
        .collect();
    let tasks = plan
        .stages()
        .iter()
        .flat_map(|stage| (0..stage.parallelism).map(move |subtask| (stage, subtask)));
    tasks
        .zip(duties)
        .map(|((stage, subtask), duties)| TaskDuties {
            sink: duties.sink,
            source: duties.source,
            operators: (named.iter().enumerate())
                .filter(|(_, node)| stage.nodes.contains(node))
                .map(|(place, node)| (place, registry.operator(*node, subtask)))
                .collect(),
            subtask: number(subtask),
        })
        .collect()
}

/// A stage of one subtask, built.
struct Construction {
    stage: Box<dyn Stage>,
    duties: Duties,
    weigher: Weigher,
}

impl Construction {
    /// Gives the stage what it had when the checkpoint was taken.
    fn restore(&mut self, head: &Origin, restored: &Restored) -> Result<(), Failure> {
        let mut restore = Restore {
            restored,
            in_flight: 0,
            failed: None,
            weigher: &mut self.weigher,
            failure: None,
        };
        let visited = self.stage.visit(&mut restore);
        if let Some(failure) = restore.failure {
            return Err(failure);
        }
        let failed = restore.failed;
        visited.map_err(|error| Failure::error(failed.unwrap_or(head.clone()), error.into()))?;
        self.weigher.weigh(&mut *self.stage)
    }
}

/// Gives all stages what they had when the checkpoint was taken.
fn restore_all(
    built: Vec<Construction>,
    tasks: &[Arc<TaskCell>],
    restored: &Arc<Restored>,
    threads: usize,
) -> Result<Vec<Construction>, Failure> {
    let origins: Vec<_> = tasks.iter().map(|task| task.head().clone()).collect();
    let (restored, origin) = (Arc::clone(restored), origins.clone());
    let done = thread::each(
        threads,
        built,
        move |index, construction: &mut Construction| {
            let head = &origin[index];
            guarded(head, || construction.restore(head, &restored))
        },
    );
    let (built, results): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    match results.into_iter().collect::<Result<(), _>>() {
        Ok(()) => Ok(built),
        Err(failure) => {
            abandon(built, &origins[0]);
            Err(failure)
        }
    }
}

/// Closes stages that will not run, since another could not be built: what they have opened must not be left behind.
fn abandon(built: Vec<Construction>, head: &Origin) {
    for Construction { mut stage, .. } in built {
        if let Err(failure) = guarded(head, || stage.close(Ending::Abort)) {
            tracing::warn!("{failure}, in a task that never ran");
        }
    }
}

struct Wiring<'a> {
    program: &'a Program,
    plan: &'a Plan,
    tasks: &'a [Arc<TaskCell>],
    registry: &'a Registry,
    environment: &'a Environment,
    options: &'a RunOptions,
    throttle: Option<Arc<Throttle>>,
    budget: Arc<Budget>,
    run: Arc<str>,
    table_seed: u64,
    shared: HashMap<NodeId, Shared>,
    /// By edge and consumer.
    gates: HashMap<(EdgeId, usize), AnyGate>,
    /// By edge and producer, in the order of the consumers.
    ports: HashMap<(EdgeId, usize), Vec<AnyPort>>,
    restored: Option<Arc<Restored>>,
    state_memory: Arc<StateMemory>,
}

impl Wiring<'_> {
    /// The stages in the order of the tasks.
    fn build(&mut self) -> Result<Vec<Construction>, Failure> {
        for node in self.plan.graph().nodes() {
            let subtask = self.subtask(node, 0);
            let factory = &self.program.nodes[node.0 as usize];
            let shared = guarded(&subtask.operator, || {
                let shared = factory.start(&subtask)?;
                if let Some(restored) = &self.restored {
                    factory.recover(&subtask, &restored.prepared(subtask.operator.name()))?;
                }
                Ok(shared)
            })?;
            self.shared.insert(node, shared);
        }
        self.open_channels();
        let mut built = Vec::new();
        for stage in self.plan.stages() {
            let mut nodes = stage.nodes.iter();
            let duties = Duties {
                sink: nodes.any(|node| self.plan.graph().node(*node).outputs.is_empty()),
                source: self.program.nodes[stage.head.0 as usize].commits(),
            };
            for index in 0..stage.parallelism {
                let head = &self.plan.graph().node(stage.head).origin;
                let weigher = self.weigher(stage, index);
                match guarded(head, || self.build_stage(stage, index)) {
                    Ok(stage) => built.push(Construction {
                        stage,
                        duties,
                        weigher,
                    }),
                    Err(failure) => {
                        abandon(built, head);
                        return Err(failure);
                    }
                }
            }
        }
        Ok(built)
    }

    /// What looks at the state of a task.
    fn weigher(&self, stage: &PlannedStage, index: usize) -> Weigher {
        let operators = stage.nodes.iter().map(|node| {
            let operator = self.plan.graph().node(*node).origin.clone();
            (operator, self.registry.operator(*node, index))
        });
        Weigher::new(Arc::clone(&self.state_memory), operators)
    }

    fn open_channels(&mut self) {
        for exchange in self.plan.exchanges() {
            let (_, to) = self.plan.graph().ends(exchange.edge);
            let wakers: Vec<Arc<dyn Wake>> = (0..exchange.consumers)
                .map(|consumer| self.waker(to, consumer))
                .collect();
            let opened = self.program.edges[&exchange.edge].open(exchange, &wakers);
            for (consumer, gate) in opened.gates.into_iter().enumerate() {
                self.gates.insert((exchange.edge, consumer), gate);
            }
            for (producer, ports) in opened.ports.into_iter().enumerate() {
                self.ports.insert((exchange.edge, producer), ports);
            }
        }
    }

    fn build_stage(
        &mut self,
        stage: &PlannedStage,
        index: usize,
    ) -> Result<Box<dyn Stage>, Failure> {
        let target = match self.build_node(stage.head, index)? {
            Built::Head(stage) => return Ok(stage),
            target => target,
        };
        let inputs = self.plan.graph().inputs(stage.head);
        let gates = inputs
            .iter()
            .map(|edge| {
                self.gates
                    .remove(&(*edge, index))
                    .expect("every exchange has a gate for each consumer")
            })
            .collect();
        // Batches are shared on an edge that copies, or by edges that begin at the same output.
        let clone = inputs.iter().find_map(|edge| {
            let copies = self.program.edges[edge].clone_record();
            copies.or_else(|| match self.plan.sharing(*edge).len() {
                0 | 1 => None,
                _ => self.output_of(*edge).clone_record(),
            })
        });
        let subtask = self.subtask(stage.head, index);
        let edges = inputs.iter().map(|edge| {
            let exchange = self.plan.exchange(*edge);
            let exchange = exchange.expect("the head of a stage is behind exchanges");
            EdgeInput {
                first_producer: exchange.producers_of(index).start,
                ..self.edge_input(*edge, exchange.pattern, &subtask)
            }
        });
        let edges = edges.collect();
        Ok(self.program.edges[&inputs[0]].inbox(&subtask, edges, gates, target, clone))
    }

    fn build_node(&mut self, node: NodeId, index: usize) -> Result<Built, Failure> {
        let graph = self.plan.graph();
        let mut outputs = Vec::new();
        for output in 0..graph.node(node).outputs.len() {
            let mut branches = Vec::new();
            for edge in graph.outputs(node) {
                if graph.edge(edge).output == output
                    && let Some(branch) = self.build_branch(edge, node, index)?
                {
                    branches.push(branch);
                }
            }
            let joint = &self.program.outputs[&(node, output)];
            outputs.push(joint.join(&graph.node(node).origin, branches));
        }
        let subtask = self.subtask(node, index);
        self.program.nodes[node.0 as usize].build(&subtask, &self.shared[&node], outputs)
    }

    /// The beginning of an edge; none if another edge sends its batches along.
    fn build_branch(
        &mut self,
        edge: EdgeId,
        from: NodeId,
        index: usize,
    ) -> Result<Option<AnyPush>, Failure> {
        let graph = self.plan.graph();
        let Some(exchange) = self.plan.exchange(edge) else {
            let (_, to) = graph.ends(edge);
            let target = self.build_node(to, index)?;
            if graph.edge(edge).pattern == Pattern::Forward {
                let Built::Push(push) = target else {
                    unreachable!("only exchanges lend records")
                };
                return Ok(Some(push));
            }
            let subtask = self.subtask(to, index);
            let input = self.edge_input(edge, graph.edge(edge).pattern, &subtask);
            return Ok(Some(self.program.edges[&edge].chain(
                &subtask,
                Some(input),
                target,
            )));
        };
        let sharing = self.plan.sharing(edge);
        if sharing.first() != Some(&edge) {
            return Ok(None);
        }
        let bound = exchange.bound;
        let mut routes: Vec<Vec<AnyPort>> = Vec::new();
        let mut gauges: Vec<Vec<_>> = Vec::new();
        let mut channels: Vec<Vec<_>> = Vec::new();
        for edge in &sharing {
            let ports = self
                .ports
                .remove(&(*edge, index))
                .expect("every exchange has ports for each producer");
            for (i, port) in ports.into_iter().enumerate() {
                let route = match exchange.pattern {
                    Pattern::Broadcast | Pattern::Pointwise => 0,
                    _ => i,
                };
                if routes.len() <= route {
                    routes.push(Vec::new());
                    gauges.push(Vec::new());
                    channels.push(Vec::new());
                }
                routes[route].push(port);
                gauges[route].push(self.registry.channel(*edge, index, i));
                channels[route].push(ChannelName {
                    edge: self.plan.edge_name(*edge).into(),
                    from: number(index),
                    to: number(exchange.consumers_of(index).start + i),
                    consumers: number(exchange.consumers),
                });
            }
        }
        let parts = SenderParts {
            exchange,
            routes,
            gauges: gauges.into_iter().flatten().collect(),
            channels: channels.into_iter().flatten().collect(),
            edges: sharing
                .iter()
                .map(|edge| self.registry.edge(*edge))
                .collect(),
            options: OutboxOptions {
                batch_bytes: bound.batch_bytes,
                batch_records_max: bound.batch_records_max,
                queue_max: bound.queue_max,
                spare_max: bound.spare_max,
                buffer_timeout: self.options.buffer_timeout,
            },
        };
        let subtask = Subtask {
            knows_splits: self.gives_splits(from),
            ..self.subtask(from, index)
        };
        Ok(Some(self.program.edges[&edge].sender(&subtask, parts)))
    }

    /// What an edge into a subtask is called in checkpoints.
    fn edge_input(&self, edge: EdgeId, pattern: Pattern, to: &Subtask) -> EdgeInput {
        EdgeInput {
            name: self.plan.edge_name(edge).into(),
            pattern,
            index: to.index,
            consumers: to.parallelism,
            first_producer: to.index,
            owned: to.owned_groups(),
        }
    }

    fn output_of(&self, edge: EdgeId) -> &Arc<dyn crate::wiring::OutputFactory> {
        let (from, _) = self.plan.graph().ends(edge);
        &self.program.outputs[&(from, self.plan.graph().edge(edge).output)]
    }

    fn waker(&self, node: NodeId, index: usize) -> Arc<dyn Wake> {
        let stage = self.plan.node(node).stage;
        let first = first_task(self.plan, stage);
        Arc::new(TaskWaker(Arc::clone(&self.tasks[first + index])))
    }

    /// Whether records come to a node split by split.
    fn takes_splits(&self, node: NodeId) -> bool {
        let graph = self.plan.graph();
        graph.inputs(node).iter().all(|edge| {
            self.plan.exchange(*edge).is_none() && self.gives_splits(graph.ends(*edge).0)
        })
    }

    /// Whether records leave a node split by split.
    fn gives_splits(&self, node: NodeId) -> bool {
        match self.plan.graph().node(node).kind {
            NodeKind::Source => true,
            NodeKind::Steps | NodeKind::Relay => self.takes_splits(node),
            NodeKind::Operator | NodeKind::Sink => false,
        }
    }

    fn subtask(&self, node: NodeId, index: usize) -> Subtask {
        let operator: Origin = self.plan.graph().node(node).origin.clone();
        Subtask {
            operator,
            index,
            parallelism: self.plan.node(node).parallelism,
            key_groups: self.plan.options().key_groups,
            environment: self.environment.clone(),
            counters: self.registry.operator(node, index),
            waker: self.waker(node, index),
            table_seed: self.table_seed,
            crosses_exchange: false,
            knows_splits: self.takes_splits(node),
            run: Arc::clone(&self.run),
            restored: self.restored.clone(),
            user: self.program.user.clone(),
            budget: Arc::clone(&self.budget),
            overdraft_bytes_max: self.options.overdraft_bytes_max,
            throttle: self.throttle.clone(),
        }
    }
}

/// The number of a stage's first task.
pub(crate) fn first_task(plan: &Plan, stage: StageId) -> usize {
    let before = plan.stages().iter().take(stage.0 as usize);
    before.map(|stage| stage.parallelism).sum()
}

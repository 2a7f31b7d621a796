//! From a plan to tasks.
//!
//! 1. Every subtask of every stage gets a cell, so that it can be woken before its stage exists.
//! 2. Sources divide their input, sinks look whether they can write; an error here means that nothing starts.
//! 3. Each exchange gets its channels.
//! 4. Each subtask is built from its sinks and exchanges back to its head.

mod construction;
mod options;
mod wiring;

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::bounded;
use levada_graph::{Plan, Stage as PlannedStage, StageId};
use levada_network::Budget;

use crate::checkpoint::{
    CheckpointWriter, Mail, Outlet, Participant, Restored, Schedule as CheckpointSchedule, Setup,
    TaskDuties, manifest_of, number,
};
use crate::coordinator::Coordinator;
use crate::environment::Environment;
use crate::error::Failure;
use crate::metrics::{Registry, TaskTimes};
use crate::scheduler::Schedule;
use crate::state_memory::{StateMemory, state_memory_by_default};
use crate::task::{Command, Duties, Report, TaskCell, TaskWaker};
use crate::throttle::Throttle;
use crate::wiring::Program;

use construction::{Construction, restore_all};
pub use options::RunOptions;
use wiring::Wiring;

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

/// The number of a stage's first task.
pub(crate) fn first_task(plan: &Plan, stage: StageId) -> usize {
    let before = plan.stages().iter().take(stage.0 as usize);
    before.map(|stage| stage.parallelism).sum()
}

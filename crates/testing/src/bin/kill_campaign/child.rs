//! The process that is killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use levada::{
    BoxError, BufferOptions, CheckpointOptions, Environment, Event, Handle, Runner, StartAt,
};

use crate::jobs;
use crate::killing::KillingDisk;
use crate::log::Said;
use crate::pace::Pace;
use crate::point::KillAt;
use crate::story::Story;

/// One run of a story's job.
#[derive(Args, Clone, Debug)]
pub(crate) struct Attempt {
    /// The seed of the campaign
    #[arg(long)]
    pub(crate) campaign: u64,

    /// The number of the story
    #[arg(long)]
    pub(crate) story: u64,

    /// Where output and checkpoints are
    #[arg(long)]
    pub(crate) dir: PathBuf,

    #[arg(long)]
    pub(crate) parallelism: usize,

    #[arg(long)]
    pub(crate) threads: usize,

    /// Microseconds for each record
    #[arg(long)]
    pub(crate) spin: u64,

    /// Records a second
    #[arg(long)]
    pub(crate) throttle: Option<f64>,

    /// Records to a batch
    #[arg(long)]
    pub(crate) batch: usize,

    /// Milliseconds between checkpoints
    #[arg(long)]
    pub(crate) every: u64,

    /// Milliseconds until barriers overtake
    #[arg(long)]
    pub(crate) alignment: Option<u64>,

    /// How many checkpoints may be based on each other
    #[arg(long)]
    pub(crate) chain: usize,

    /// Where the process kills itself
    #[arg(long)]
    pub(crate) kill_at: Option<KillAt>,
}

/// Runs the job, and says on standard output what happens.
pub(crate) fn run(attempt: &Attempt) -> Result<(), BoxError> {
    let story = Story::new(attempt.campaign, attempt.story);
    let mut environment = Environment::system();
    if let Some(at) = attempt.kill_at {
        environment.disk = Arc::new(KillingDisk::new(environment.disk, at));
    }
    let spin = Duration::from_micros(attempt.spin);
    let pace = Pace::new(Arc::clone(&environment.clock), spin);
    let mut runner = Runner::new()
        .parallelism(attempt.parallelism)
        .threads(attempt.threads)
        .buffer_timeout(Duration::from_millis(5))
        .buffers(BufferOptions {
            batch_records_max: attempt.batch,
            exclusive: 2,
            floating: 4,
            ..BufferOptions::default()
        })
        .checkpoints(checkpoints(attempt))
        .start_at(StartAt::Latest)
        .environment(environment);
    if let Some(rate) = attempt.throttle {
        runner = runner.throttle(rate);
    }
    let out = attempt.dir.join("out");
    let handle = runner.start(|job| jobs::build(story, &pace, &out, job))?;
    watch(&handle);
    handle.wait()?;
    Ok(())
}

fn checkpoints(attempt: &Attempt) -> CheckpointOptions {
    CheckpointOptions {
        every: Some(Duration::from_millis(attempt.every)),
        alignment_timeout: attempt.alignment.map(Duration::from_millis),
        chain_max: attempt.chain,
        ..CheckpointOptions::new(attempt.dir.join("checkpoints"))
    }
}

fn watch(handle: &Handle) {
    const LOOK: Duration = Duration::from_millis(2);
    let mut restored = None;
    let mut was_pressed = false;
    loop {
        let has_ended = handle.wait_for(LOOK);
        while let Ok(event) = handle.events().try_recv() {
            match event {
                Event::CheckpointCompleted(checkpoint) => say(&Said::Completed {
                    number: checkpoint.number,
                    records: checkpoint.in_flight_records,
                    overtaken: checkpoint.overtaken as u64,
                }),
                Event::CheckpointFailed { reason, .. } => say(&Said::Failed { reason }),
                _ => {}
            }
        }
        let metrics = handle.metrics();
        // It is told a little after the start.
        if restored.is_none() {
            restored = metrics.checkpoints.and_then(|all| all.restored);
            if let Some(number) = restored {
                say(&Said::Restored(number));
            }
        }
        if has_ended {
            return;
        }
        let is_pressed = metrics
            .tasks
            .iter()
            .any(|task| task.activity == levada::metrics::Activity::Backpressured);
        if is_pressed != was_pressed {
            say(&Said::Pressed(is_pressed));
            was_pressed = is_pressed;
        }
    }
}

fn say(said: &Said) {
    println!("{said}");
}

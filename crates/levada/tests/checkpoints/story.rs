//! Jobs that are killed and go on, and what happened to them.

use std::time::Duration;

use levada::prelude::*;
use levada::{CheckpointOptions, Runner, StartAt};
use levada_core::random::SplitMix64;
use levada_testing::{MemoryDisk, Simulated, Simulation};

/// What happened in one story of a job.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) kills: u32,
    pub(crate) completed: u64,
    pub(crate) restored: u32,
    pub(crate) in_flight: u64,
    pub(crate) overtaken: usize,
    pub(crate) parallelism: Vec<usize>,
}

/// Runs a job that is killed now and then, each time with other buffers, parallelism and timeouts, until it comes to its end.
pub(crate) fn live(seed: u64, job: &dyn Fn(&Job), kills_max: u32) -> Story {
    let mut random = SplitMix64::new(seed ^ 0xc4ec);
    let disk = MemoryDisk::default();
    let mut story = Story::default();
    loop {
        let mut options = CheckpointOptions::new("/checkpoints");
        options.every = Some(Duration::from_micros(500 + random.below(20_000)));
        options.alignment_timeout = match random.below(3) {
            0 => None,
            1 => Some(Duration::ZERO),
            _ => Some(Duration::from_micros(random.below(5_000))),
        };
        options.chain_max = 1 + random.below(5) as usize;
        let parallelism = 1 + random.below(4) as usize;
        let simulation = Simulation::new(random.next())
            .with_disk(disk.clone())
            .parallelism(parallelism)
            .runner(Runner::new().checkpoints(options).start_at(StartAt::Latest));
        story.parallelism.push(parallelism);
        let mut simulated = simulation
            .start(job)
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let last = story.kills >= kills_max;
        let polls = if last {
            u64::MAX
        } else {
            1 + random.below(800)
        };
        run_for(&mut simulated, polls, seed);
        let checkpoints = simulated.checkpoints();
        story.completed += checkpoints.completed;
        story.restored += u32::from(checkpoints.restored.is_some());
        if let Some(last) = checkpoints.last {
            story.in_flight += last.in_flight_records;
            story.overtaken += last.overtaken;
        }
        if simulated.is_done() {
            let run = simulated.finish();
            run.expect_finished();
            return story;
        }
        simulated.kill();
        disk.crash(random.next());
        story.kills += 1;
    }
}

fn run_for(simulated: &mut Simulated, polls: u64, seed: u64) {
    while simulated.polls() < polls && !simulated.is_done() {
        assert!(simulated.step(), "seed {seed}: the job is stuck");
        assert!(
            simulated.polls() < 20_000_000,
            "seed {seed}: the job does not end"
        );
    }
}

/// What happened in all of them; it must have happened.
pub(crate) fn tell(stories: &[Story]) -> String {
    let sum = |of: &dyn Fn(&Story) -> u64| stories.iter().map(of).sum::<u64>();
    let restored = sum(&|story| u64::from(story.restored));
    let in_flight = sum(&|story| story.in_flight);
    assert!(restored > 0 && in_flight > 0);
    format!(
        "{} stories: {} kills, {} checkpoints, {restored} restores, {in_flight} records in flight, overtaken in {} tasks",
        stories.len(),
        sum(&|story| u64::from(story.kills)),
        sum(&|story| story.completed),
        sum(&|story| story.overtaken as u64),
    )
}

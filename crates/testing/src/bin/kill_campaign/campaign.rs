//! Story after story, until there were enough kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use levada::{BoxError, Environment};
use levada_core::Clock;

use crate::child::Attempt;
use crate::judge::{Fault, judge};
use crate::left;
use crate::oracle::expected;
use crate::point::{KillAt, Moment, Point};
use crate::processes::{self, End, Ended};
use crate::story::{Dice, Story};
use crate::tally::Tally;

/// How many checkpoints a job keeps: the default.
const RETAINED: usize = 2;

/// A child that does not pass its point is killed after this time.
const LONGEST: Duration = Duration::from_millis(900);

/// The parallelism of attempts.
const PARALLELISM: [usize; 5] = [1, 2, 3, 4, 6];

/// Kills jobs so often, and says what it has seen. False if something is wrong.
pub(crate) fn run(kills: u64, seed: u64, only: Option<u64>) -> Result<bool, BoxError> {
    let dir = tempfile::Builder::new()
        .prefix("kill-campaign-")
        .tempdir()?;
    let mut campaign = Campaign {
        seed,
        dir: dir.path().to_owned(),
        clock: Environment::system().clock,
        tally: Tally::default(),
        findings: Vec::new(),
    };
    let mut number = only.unwrap_or(0);
    while campaign.tally.kills < kills && campaign.findings.is_empty() {
        campaign.live(number, kills)?;
        number += u64::from(only.is_none());
    }
    println!("{}", campaign.tally);
    let unseen = campaign.tally.unseen();
    for text in unseen.iter().chain(&campaign.findings) {
        println!("{text}");
    }
    if !campaign.findings.is_empty() {
        println!("the files are in {}", dir.keep().display());
    }
    let is_well = unseen.is_empty() && campaign.findings.is_empty();
    if is_well {
        println!("seed {seed}: nothing lost, duplicate, phantom, corrupt or reordered");
    }
    Ok(is_well)
}

struct Campaign {
    seed: u64,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    tally: Tally,
    /// What is wrong; the campaign ends with the first story that has some.
    findings: Vec<String>,
}

/// What a story knows of its attempts.
struct Past {
    dir: PathBuf,
    /// Those that have written something, in the order in which they were started.
    runs: Vec<String>,
    attempts: Vec<String>,
    parallelism: Option<usize>,
    /// By checkpoint: how many records were in flight.
    in_flight: BTreeMap<u64, u64>,
}

impl Campaign {
    /// Kills a job until it has been killed often enough or is at its end, and judges it.
    fn live(&mut self, number: u64, kills: u64) -> Result<(), BoxError> {
        let story = Story::new(self.seed, number);
        let mut dice = Dice::new(story.seed);
        let mut past = Past {
            dir: self.dir.join(format!("story-{number}")),
            runs: Vec::new(),
            attempts: Vec::new(),
            parallelism: None,
            in_flight: BTreeMap::new(),
        };
        fs::create_dir_all(&past.dir)?;
        let enough = (self.tally.kills + 6 + dice.below(8)).min(kills);
        loop {
            let is_last = self.tally.kills >= enough;
            let (attempt, kill_after) = self.attempt(number, is_last, &past, &mut dice);
            let ended = self.run(&attempt, kill_after, &mut past)?;
            match ended.end {
                End::AtPoint | End::AtTime => {}
                End::Finished => break,
                End::Hung | End::Failed => {
                    let text = format!("the job {:?}: {}", ended.end, ended.errors.trim());
                    self.findings.push(text);
                    return self.blame(&story, number, &past);
                }
            }
        }
        self.judge(&story, &mut past)?;
        if self.findings.is_empty() {
            self.run_again(number, &mut past, &mut dice)?;
        }
        *self.tally.stories.entry(story.kind).or_default() += 1;
        if self.findings.is_empty() {
            fs::remove_dir_all(&past.dir)?;
            return Ok(());
        }
        self.blame(&story, number, &past)
    }

    /// Draws what becomes of the job next. The last attempt is not disturbed.
    fn attempt(
        &self,
        number: u64,
        is_last: bool,
        past: &Past,
        dice: &mut Dice,
    ) -> (Attempt, Option<Duration>) {
        let others = PARALLELISM.into_iter();
        let others: Vec<_> = others.filter(|p| Some(*p) != past.parallelism).collect();
        // Some are at full speed, so that kills meet the end of jobs too.
        let is_quick = is_last || dice.below(6) == 0;
        let is_slow = !is_quick && dice.below(8) < 6;
        let kill_at = self.kill_at(dice).filter(|_| !is_last);
        let kill_after = match kill_at {
            _ if is_last => None,
            Some(_) => Some(LONGEST),
            None => Some(Duration::from_millis(5 + dice.below(400))),
        };
        let attempt = Attempt {
            campaign: self.seed,
            story: number,
            dir: past.dir.clone(),
            parallelism: dice.one_of(&others),
            threads: 1 + dice.below(3) as usize,
            spin: if is_slow { 20 } else { 0 },
            throttle: (!is_slow && !is_quick).then_some(40_000.0),
            batch: dice.one_of(&[1, 8, 64]),
            every: 3 + dice.below(40),
            alignment: match is_slow {
                true => Some(dice.one_of(&[0, 0, 1, 5])),
                false => dice.one_of(&[None, Some(0), Some(20)]),
            },
            chain: dice.one_of(&[1, 2, 5, 16]),
            kill_at,
        };
        (attempt, kill_after)
    }

    /// Two of three die at a point: one of those that were hit least.
    fn kill_at(&self, dice: &mut Dice) -> Option<KillAt> {
        if dice.below(3) == 0 {
            return None;
        }
        let points = Point::all();
        let least = points.iter().map(|point| self.tally.hits(*point)).min();
        let least: Vec<_> = points
            .into_iter()
            .filter(|point| Some(self.tally.hits(*point)) == least)
            .collect();
        let point = dice.one_of(&least);
        // Every append would be early in the first file, and a job removes leftovers once.
        let often = match point {
            Point {
                moment: Moment::Within,
                ..
            } => 20,
            point if point.operation == "part-remove" => 1,
            _ => 8,
        };
        Some(KillAt {
            point,
            occurrence: 1 + dice.below(often),
        })
    }

    fn run(
        &mut self,
        attempt: &Attempt,
        kill_after: Option<Duration>,
        past: &mut Past,
    ) -> Result<Ended, BoxError> {
        let ended = processes::run(attempt, kill_after, &*self.clock)?;
        let runs = left::runs(&past.dir.join("out"))?.into_iter();
        let new: Vec<_> = runs.filter(|run| !past.runs.contains(run)).collect();
        let point = attempt.kill_at.map(|at| at.point);
        let is_rescaled = past.parallelism != Some(attempt.parallelism);
        self.tally
            .count(&ended, point, &mut past.in_flight, is_rescaled);
        past.parallelism = Some(attempt.parallelism);
        let arguments = processes::arguments(attempt);
        let arguments: Vec<_> = arguments
            .iter()
            .map(|text| text.to_string_lossy())
            .collect();
        past.attempts.push(format!(
            "run {} {:?}, at most {kill_after:?}: kill_campaign {}",
            new.concat(),
            ended.end,
            arguments.join(" ")
        ));
        past.runs.extend(new);
        Ok(ended)
    }

    fn judge(&mut self, story: &Story, past: &mut Past) -> Result<(), BoxError> {
        let output = left::output(&past.dir.join("out"))?;
        let expected = expected(story);
        self.tally.rows += expected.len() as u64;
        let verdict = judge(&expected, &output, &past.runs, story.is_ordered());
        let mut by_fault: BTreeMap<Fault, Vec<String>> = BTreeMap::new();
        for (fault, text) in verdict {
            by_fault.entry(fault).or_default().push(text);
        }
        for (fault, texts) in by_fault {
            self.findings.push(format!("{fault:?}: {}", texts.len()));
            let few = texts.into_iter().take(5);
            self.findings.extend(few.map(|text| format!("    {text}")));
        }
        let faults = left::faults(&past.dir.join("checkpoints"), RETAINED)?;
        self.findings.extend(faults);
        Ok(())
    }

    /// A job that is at its end changes nothing when it is started again.
    fn run_again(&mut self, number: u64, past: &mut Past, dice: &mut Dice) -> Result<(), BoxError> {
        let before = left::output(&past.dir.join("out"))?;
        let (attempt, _) = self.attempt(number, true, past, dice);
        let ended = self.run(&attempt, None, past)?;
        if ended.end != End::Finished {
            let text = format!("a finished job {:?}: {}", ended.end, ended.errors.trim());
            self.findings.push(text);
        }
        if left::output(&past.dir.join("out"))? != before {
            let text = "a finished job has changed its output".to_owned();
            self.findings.push(text);
        }
        Ok(())
    }

    /// Says how to come back to a story that went wrong.
    fn blame(&mut self, story: &Story, number: u64, past: &Past) -> Result<(), BoxError> {
        self.findings.push(format!("in {story:?}, attempts:"));
        let attempts = past.attempts.iter().map(|text| format!("    {text}"));
        self.findings.extend(attempts);
        fs::write(past.dir.join("findings"), self.findings.join("\n"))?;
        self.findings.push(replay(self.seed, number, &past.dir));
        Ok(())
    }
}

fn replay(seed: u64, number: u64, dir: &Path) -> String {
    format!(
        "{}: replay by\n  cargo run --release -p levada-testing --bin kill_campaign -- --kills 20 --seed {seed} --story \
         {number}",
        dir.display()
    )
}

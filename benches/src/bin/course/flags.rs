//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use levada::CommonFlags;

use crate::generate::BASE_TIME;
use crate::query::Query;

/// Runs the queries of the course over a file of events, as a job of Levada or as a loop written by hand, and makes such
/// files. Each run prints one line.
#[derive(Debug, Parser)]
#[command(
    name = "course",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) make: Option<Make>,

    #[command(flatten)]
    pub(crate) run: Option<Run>,

    #[command(flatten)]
    pub(crate) common: CommonFlags,
}

/// Making a file.
#[derive(Debug, Subcommand)]
pub(crate) enum Make {
    /// Makes a file of the first N events
    Generate {
        /// The file to write
        file: PathBuf,

        /// How many events
        #[arg(value_name = "N")]
        count: usize,

        /// Time of the first event, in milliseconds since the epoch
        #[arg(long, value_name = "MS", default_value_t = BASE_TIME, value_parser = clap::value_parser!(u64).range(..=BASE_TIME_MAX))]
        base_time: u64,
    },
    /// Makes a file with the events of another one in the order in which they arrive late
    Shuffle {
        /// The file to read
        file: PathBuf,

        /// The file to write
        out: PathBuf,

        /// Gives the order; the same seed gives the same one
        #[arg(long, value_name = "S")]
        seed: u64,

        /// Each event arrives at random up to this much later, in milliseconds
        #[arg(long, value_name = "MS")]
        max_delay: u64,
    },
}

/// As late as event times can be, less some room for those of the events.
const BASE_TIME_MAX: u64 = i64::MAX as u64 / 2;

/// Running a query.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// The query
    #[arg(value_enum)]
    pub(crate) query: Query,

    /// The file of events
    #[arg(long, value_name = "FILE")]
    pub(crate) events: PathBuf,

    /// What runs the query
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: Engine,

    /// Hash the rows: their digest is the same for all engines, and takes its time
    #[arg(long)]
    pub(crate) digest: bool,

    /// Run so often, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) repeat: u64,

    /// How long after an event one that happened before it may come, in milliseconds [default: 0]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=BASE_TIME_MAX))]
    pub(crate) out_of_orderness: Option<u64>,

    /// Stop with a savepoint after so many events, if there are so many; the line has the rows up to there
    #[arg(long, value_name = "N", requires = "checkpoint_dir", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) stop_after: Option<u64>,

    /// Where that savepoint goes: an empty directory, or a new one [default: savepoint, in that of the checkpoints]
    #[arg(long, value_name = "DIR", requires = "stop_after")]
    pub(crate) savepoint: Option<PathBuf>,
}

/// What runs a query.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Engine {
    /// A job
    #[default]
    Levada,
    /// A loop that borrows the events
    Hand,
    /// The loop, with a clone of each event as a job gets it
    HandClone,
}

impl Engine {
    /// Its name in the line of a run.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Levada => "levada",
            Self::Hand => "hand",
            Self::HandClone => "hand-clone",
        }
    }
}

impl CommandLine {
    /// Refuses what the derive cannot say.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let Some(run) = &self.run else {
            return Ok(());
        };
        let common = &self.common;
        let problem = if run.engine == Engine::Levada {
            let begins_elsewhere = common.checkpoints.from.is_some() || run.stop_after.is_some();
            if run.repeat == 1 || !begins_elsewhere {
                return Ok(());
            }
            "only a run from the beginning to the end can be repeated: run it without --repeat, or without --from and --stop-after"
        } else if run.out_of_orderness.is_some() {
            "a loop reads events in the order of their time: run it without --out-of-orderness over the ordered file"
        } else if common.parallelism.is_some_and(|p| p.get() > 1) {
            "a loop runs on one thread: run it with -p 1"
        } else if common.plan.is_some() || common.report.is_some() {
            "a loop has no plan and no report: run it without --plan and --report"
        } else if common.checkpoints.checkpoint_dir.is_some() || common.checkpoints.from.is_some() {
            "a loop takes no checkpoints: run it without --checkpoint-dir and --from"
        } else if common.throttle.is_some() {
            "a loop goes as fast as it can: run it without --throttle"
        } else {
            return Ok(());
        };
        Err(Self::command().error(ErrorKind::ArgumentConflict, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        let line = CommandLine::try_parse_from(line.split(' '))?;
        line.check()?;
        Ok(line)
    }

    #[test]
    fn a_query_or_a_file_to_make_is_asked_for() {
        let run = parse("course q11 --events f --engine hand-clone --repeat 3 --digest -p 1");
        let run = run.unwrap().run.unwrap();
        assert_eq!((run.query, run.engine), (Query::Q11, Engine::HandClone));
        assert_eq!((run.repeat, run.digest), (3, true));
        let job = parse("course keyed --events f -p 2 --threads 2 --force-exchange").unwrap();
        assert!(job.common.force_exchange && job.make.is_none());
        let stopped = parse("course q0 --events f --checkpoint-dir d --stop-after 7 --savepoint s");
        let stopped = stopped.unwrap().run.unwrap();
        assert_eq!(stopped.stop_after, Some(7));
        assert_eq!(stopped.savepoint, Some("s".into()));
        let made = parse("course generate f 10").unwrap();
        assert!(
            matches!(
                made.make,
                Some(Make::Generate {
                    count: 10,
                    base_time: BASE_TIME,
                    ..
                })
            ),
            "{made:?}"
        );
        let made = parse("course shuffle f g --seed 3 --max-delay 40").unwrap();
        assert!(matches!(made.make, Some(Make::Shuffle { seed: 3, .. })));
    }

    #[test]
    fn what_is_wrong_ends_with_code_2() {
        for line in [
            "course",
            "course q0",
            "course q6 --events f",
            "course q0 --events f -p 0",
            "course q0 --events f --repeat 0",
            "course q0 --events f --engine flink",
            "course q0 --events f --stop-after 10",
            "course q5 --events f --engine hand --out-of-orderness 0",
            "course q5 --events f --engine hand-clone --out-of-orderness 10",
            "course q5 --events f --engine hand -p 2",
            "course q5 --events f --engine hand --plan",
            "course q5 --events f --engine hand --checkpoint-dir d",
            "course q5 --events f --engine hand --from d",
            "course q5 --events f --engine hand --throttle 5",
            "course q0 --events f --checkpoint-dir d --stop-after 0",
            "course q0 --events f --checkpoint-dir d --savepoint s",
            "course q0 --events f --checkpoint-dir d --stop-after 7 --repeat 2",
            "course q0 --events f --checkpoint-dir d --from latest --repeat 2",
            "course q5 --events f --out-of-orderness -1",
            "course generate f",
            "course generate f many",
            "course generate f 1 --base-time 18446744073709551615",
            "course shuffle f g --seed 1",
            "course q0 --events f generate f 1",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}

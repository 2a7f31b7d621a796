//! The flags of every job program, and the program's own beside them.

use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Command, FromArgMatches, ValueEnum};

use levada_core::KeyGroups;
use levada_runtime::Restart;

use crate::error::{Error, Result};

/// The flags of every job program.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Levada")]
pub struct CommonFlags {
    /// Subtasks of each operator that does not say otherwise [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub parallelism: Option<NonZeroUsize>,

    /// Worker threads [default: number of cores]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<NonZeroUsize>,

    /// Print the plan of the job instead of running it
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        conflicts_with = "report"
    )]
    pub plan: Option<PlanFormat>,

    /// Groups into which keys are divided; the most subtasks a keyed operator can have [default: 128]
    #[arg(long, value_name = "N", value_parser = key_groups)]
    pub key_groups: Option<NonZeroU16>,

    /// Keep exchanges between two single subtasks
    #[arg(long)]
    pub force_exchange: bool,

    /// Source records per second over the whole job
    #[arg(long, value_name = "N", value_parser = rate)]
    pub throttle: Option<f64>,

    /// How long a record waits in a batch that is not full [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub buffer_timeout: Option<Duration>,

    /// Memory for the batches of all exchanges [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub buffer_memory: Option<ByteSize>,

    /// Memory for keyed state, estimated; the job fails if it takes more [default: 70 % of what the machine or the control
    /// group has besides `--buffer-memory`]
    #[arg(long, value_name = "SIZE")]
    pub state_memory: Option<ByteSize>,

    /// What to log: off, error, warn, info, debug, trace, or a filter as in `RUST_LOG` [default: warn]
    #[arg(long, value_name = "LEVEL", value_parser = log_filter)]
    pub log: Option<String>,

    /// Write the report at the end as JSON, to standard error or to a file
    #[arg(long, value_name = "json[=FILE]")]
    pub report: Option<ReportTo>,

    /// Checkpoints and where the job goes on.
    #[command(flatten)]
    pub checkpoints: CheckpointFlags,
}

/// The flags about checkpoints.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Checkpoints")]
pub struct CheckpointFlags {
    /// Take checkpoints in this directory, which is this job's alone
    #[arg(long, value_name = "DIR")]
    pub checkpoint_dir: Option<PathBuf>,

    /// How often to take one [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = some_time, requires = "checkpoint_dir")]
    pub checkpoint_every: Option<Duration>,

    /// How long one may take until it is given up [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = some_time, requires = "checkpoint_dir")]
    pub checkpoint_timeout: Option<Duration>,

    /// The least time between the end of one and the beginning of the next [default: 0]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "checkpoint_dir")]
    pub checkpoint_pause: Option<Duration>,

    /// How many to keep [default: 2]
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "checkpoint_dir")]
    pub checkpoints_retained: Option<NonZeroUsize>,

    /// How many may be based on each other by what has changed; 1 makes each stand alone [default: 16]
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "checkpoint_dir")]
    pub checkpoint_chain: Option<NonZeroUsize>,

    /// How many in a row may fail before the job does [default: any number]
    #[arg(long, value_name = "N", requires = "checkpoint_dir")]
    pub checkpoint_failures: Option<u32>,

    /// How long barriers wait behind records before they overtake them, or `never` [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = patience, requires = "checkpoint_dir")]
    pub alignment_timeout: Option<Patience>,

    /// Do not wait for barriers: after a failure some records may be processed twice
    #[arg(
        long,
        requires = "checkpoint_dir",
        conflicts_with = "alignment_timeout"
    )]
    pub at_least_once: bool,

    /// Go on from the latest checkpoint in the directory, or from the one at a path
    #[arg(long, value_name = "latest|PATH")]
    pub from: Option<PathBuf>,

    /// Drop the state of operators that the job does not have any more
    #[arg(long, requires = "from")]
    pub allow_dropped: bool,

    /// Go back behind output that has been committed: it will be there twice
    #[arg(long, requires = "from")]
    pub allow_duplicates: bool,

    /// What to do after a failure: none, fixed:TIMES:DELAY, or exponential [default: none]
    #[arg(long, value_name = "STRATEGY", value_parser = restart)]
    pub restart: Option<Restart>,
}

/// How long something waits, if it does not wait for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience(pub Option<Duration>);

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For Graphviz.
    Dot,
    /// For programs.
    Json,
}

/// Where the report goes as JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReportTo {
    /// To standard error, instead of the report for people.
    Stderr,
    /// To a file.
    File(PathBuf),
}

impl FromStr for ReportTo {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            None if text == "json" => Ok(Self::Stderr),
            Some(("json", file)) if !file.is_empty() => Ok(Self::File(file.into())),
            _ => Err("expected `json` or `json=FILE`".to_owned()),
        }
    }
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; say for example 100ms"))
}

fn some_time(text: &str) -> std::result::Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time that is not zero".to_owned()),
        time => Ok(time),
    }
}

fn patience(text: &str) -> std::result::Result<Patience, String> {
    match text {
        "never" => Ok(Patience(None)),
        text => Ok(Patience(Some(duration(text)?))),
    }
}

fn restart(text: &str) -> std::result::Result<Restart, String> {
    let parts: Vec<_> = text.split(':').collect();
    match parts[..] {
        ["none"] => Ok(Restart::None),
        ["exponential"] => Ok(Restart::exponential()),
        ["fixed", times, delay] => Ok(Restart::Fixed {
            restarts_max: times
                .parse()
                .map_err(|_| format!("`{times}` is no number of restarts"))?,
            delay: duration(delay)?,
        }),
        _ => Err("expected `none`, `exponential`, or for example `fixed:3:10s`".to_owned()),
    }
}

fn at_least_one(text: &str) -> std::result::Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "expected a number from 1 on".to_owned())
}

fn key_groups(text: &str) -> std::result::Result<NonZeroU16, String> {
    match text.parse::<NonZeroU16>() {
        Ok(count) if count.get() <= KeyGroups::MAX => Ok(count),
        _ => Err(format!("expected a number from 1 to {}", KeyGroups::MAX)),
    }
}

fn log_filter(text: &str) -> std::result::Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("expected a positive number of records per second".to_owned()),
    }
}

/// The command line of a job, parsed once: together with the program's own flags if it has some.
pub(crate) struct CommandLine {
    program: String,
    args: Vec<OsString>,
    common: Option<CommonFlags>,
}

impl CommandLine {
    pub(crate) fn new(program: String, args: Vec<OsString>) -> Self {
        Self {
            program,
            args,
            common: None,
        }
    }

    /// Parses the program's flags and the common ones.
    pub(crate) fn parse<A: Args>(&mut self) -> Result<A> {
        if self.common.is_some() {
            return Err(Error::new("`job.args()` can be called once"));
        }
        let own = A::augment_args(self.command());
        let common = CommonFlags::augment_args(self.command());
        for flag in own.get_arguments() {
            let taken = common.get_arguments().any(|other| {
                flag.get_id() == other.get_id()
                    || (flag.get_long().is_some() && flag.get_long() == other.get_long())
                    || (flag.get_short().is_some() && flag.get_short() == other.get_short())
            });
            if taken {
                let name = match (flag.get_long(), flag.get_short()) {
                    (Some(long), _) => format!("--{long}"),
                    (None, Some(short)) => format!("-{short}"),
                    (None, None) => flag.get_id().to_string(),
                };
                return Err(Error::new(format!(
                    "the program's flag `{name}` is one that every job has: give it another name"
                )));
            }
        }
        let matches = CommonFlags::augment_args(own).try_get_matches_from(self.argv())?;
        self.common = Some(CommonFlags::from_arg_matches(&matches)?);
        Ok(A::from_arg_matches(&matches)?)
    }

    /// The common flags, parsed alone if the program has asked for none of its own.
    pub(crate) fn into_common(self) -> Result<CommonFlags> {
        if let Some(common) = self.common {
            return Ok(common);
        }
        let command = CommonFlags::augment_args(self.command());
        let matches = command.try_get_matches_from(self.argv())?;
        Ok(CommonFlags::from_arg_matches(&matches)?)
    }

    fn command(&self) -> Command {
        Command::new("job").bin_name(&self.program)
    }

    fn argv(&self) -> Vec<OsString> {
        let mut argv = vec![OsString::from(&self.program)];
        argv.extend(self.args.iter().cloned());
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Args, Debug)]
    struct Own {
        #[arg(long)]
        input: Vec<String>,
    }

    #[derive(Args, Debug)]
    struct Clashing {
        #[arg(long)]
        threads: u8,
    }

    fn line(args: &[&str]) -> CommandLine {
        CommandLine::new("job".to_owned(), args.iter().map(OsString::from).collect())
    }

    #[test]
    fn own_and_common_flags_stand_side_by_side() {
        let mut line = line(&[
            "--input",
            "a",
            "-p",
            "3",
            "--input=b",
            "--buffer-timeout",
            "1ms",
        ]);
        let own: Own = line.parse().unwrap();
        assert_eq!(own.input, ["a", "b"]);
        let common = line.into_common().unwrap();
        assert_eq!(common.parallelism.map(NonZeroUsize::get), Some(3));
        assert_eq!(common.buffer_timeout, Some(Duration::from_millis(1)));
    }

    #[test]
    fn values_are_understood() {
        let parse = |args: &[&str]| line(args).into_common().unwrap();
        assert_eq!(parse(&["--plan"]).plan, Some(PlanFormat::Text));
        assert_eq!(parse(&["--plan=dot"]).plan, Some(PlanFormat::Dot));
        assert_eq!(
            parse(&["--buffer-memory", "64MiB"]).buffer_memory,
            Some(ByteSize::mib(64))
        );
        assert_eq!(
            parse(&["--state-memory", "2GiB"]).state_memory,
            Some(ByteSize::gib(2))
        );
        assert_eq!(
            parse(&["--buffer-timeout", "0"]).buffer_timeout,
            Some(Duration::ZERO)
        );
        assert_eq!(
            parse(&["--report", "json=r.json"]).report,
            Some(ReportTo::File("r.json".into()))
        );
        assert_eq!(parse(&["--report", "json"]).report, Some(ReportTo::Stderr));
        assert_eq!(parse(&["--throttle", "2.5"]).throttle, Some(2.5));
    }

    #[test]
    fn what_is_wrong_or_contradictory_ends_with_code_2() {
        for args in [
            &["--no-such-flag"][..],
            &["-p", "0"],
            &["--threads", "x"],
            &["--plan=png"],
            &["--plan", "--report", "json"],
            &["--throttle", "0"],
            &["--throttle", "-1"],
            &["--buffer-timeout", "5"],
            &["--buffer-memory", "many"],
            &["--state-memory", "many"],
            &["--key-groups", "0"],
            &["--key-groups", "40000"],
            &["--log", "a=b=c"],
            &["--report", "xml"],
            &["-p", "1", "-p", "2"],
            &["stray"],
        ] {
            let error = line(args).into_common().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
        assert_eq!(line(&["--help"]).into_common().unwrap_err().exit_code(), 0);
    }

    #[test]
    fn flags_of_checkpoints_are_understood() {
        let parse = |args: &[&str]| {
            let args: Vec<_> = ["--checkpoint-dir", "c"]
                .iter()
                .chain(args)
                .copied()
                .collect();
            line(&args).into_common().unwrap().checkpoints
        };
        let flags = parse(&[
            "--alignment-timeout",
            "never",
            "--from",
            "latest",
            "--allow-dropped",
        ]);
        assert_eq!(flags.alignment_timeout, Some(Patience(None)));
        assert_eq!(flags.from, Some("latest".into()));
        assert!(flags.allow_dropped && !flags.allow_duplicates);
        let chain = parse(&["--checkpoint-chain", "4"]).checkpoint_chain;
        assert_eq!(chain.map(NonZeroUsize::get), Some(4));
        let flags = parse(&["--alignment-timeout", "0", "--checkpoint-pause", "0"]);
        assert_eq!(
            flags.alignment_timeout,
            Some(Patience(Some(Duration::ZERO)))
        );
        assert_eq!(flags.checkpoint_pause, Some(Duration::ZERO));
        let flags = parse(&["--restart", "fixed:3:10s", "--checkpoint-failures", "0"]);
        assert_eq!(
            flags.restart,
            Some(Restart::Fixed {
                delay: Duration::from_secs(10),
                restarts_max: 3
            })
        );
        assert_eq!(flags.checkpoint_failures, Some(0));
        let restart = |text| parse(&["--restart", text]).restart;
        assert_eq!(restart("exponential"), Some(Restart::exponential()));
        assert_eq!(restart("none"), Some(Restart::None));
    }

    #[test]
    fn flags_of_checkpoints_that_are_wrong_or_alone_end_with_code_2() {
        for args in [
            &["--checkpoint-every", "1s"][..],
            &["--at-least-once"],
            &["--checkpoint-dir", "c", "--checkpoint-every", "0"],
            &["--checkpoint-dir", "c", "--checkpoint-timeout", "0s"],
            &["--checkpoint-dir", "c", "--checkpoints-retained", "0"],
            &["--checkpoint-dir", "c", "--checkpoint-chain", "0"],
            &["--checkpoint-dir", "c", "--alignment-timeout", "always"],
            &[
                "--checkpoint-dir",
                "c",
                "--at-least-once",
                "--alignment-timeout",
                "1s",
            ],
            &["--allow-dropped"],
            &["--allow-duplicates"],
            &["--restart", "always"],
            &["--restart", "fixed:many:1s"],
            &["--restart", "fixed:3"],
        ] {
            let error = line(args).into_common().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn a_flag_that_every_job_has_cannot_be_the_programs_own() {
        let error = line(&[]).parse::<Clashing>().unwrap_err();
        assert!(error.to_string().contains("--threads"), "{error}");
    }

    #[test]
    fn flags_are_asked_for_once() {
        let mut line = line(&[]);
        line.parse::<Own>().unwrap();
        assert!(line.parse::<Own>().is_err());
    }
}

//! Starting children, killing them, and what they have said.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use levada::BoxError;
use levada_core::{Clock, Moment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::child::Attempt;
use crate::log::Said;

/// How a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// It has come to its end.
    Finished,
    /// It has killed itself, at its point.
    AtPoint,
    /// It was killed because its time was over.
    AtTime,
    /// It went on when nothing could hold it up.
    Hung,
    /// Anything else.
    Failed,
}

/// What became of a child.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) said: Vec<Said>,
    /// What it wrote to standard error.
    pub(crate) errors: String,
}

/// A job that nothing disturbs ends sooner, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a child until it ends, at most for some time if it is to be killed then.
pub(crate) fn run(
    attempt: &Attempt,
    kill_after: Option<Duration>,
    clock: &dyn Clock,
) -> Result<Ended, BoxError> {
    let said = attempt.dir.join("said");
    let errors = attempt.dir.join("errors");
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments(attempt))
        .stdin(Stdio::null())
        .stdout(File::create(&said)?)
        .stderr(File::create(&errors)?)
        .spawn()?;
    let deadline = clock.now() + kill_after.unwrap_or(PATIENCE);
    let mut end = None;
    if !dies_until(deadline, &child, clock)? {
        child.kill()?;
        end = Some(match kill_after {
            Some(_) => End::AtTime,
            None => End::Hung,
        });
    }
    let status = child.wait()?;
    const SIGKILL: i32 = 9;
    let end = match status.signal() {
        Some(SIGKILL) => end.unwrap_or(End::AtPoint),
        None if status.success() => End::Finished,
        _ => End::Failed,
    };
    Ok(Ended {
        end,
        said: fs::read_to_string(said)?
            .lines()
            .filter_map(Said::parse)
            .collect(),
        errors: read(&errors)?,
    })
}

/// Waits for the death of a child, at most until then. Whether it has died.
fn dies_until(deadline: Moment, child: &Child, clock: &dyn Clock) -> Result<bool, BoxError> {
    let death = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = Timespec::try_from(deadline - clock.now())?;
        match poll(&mut [PollFd::new(&death, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read(path: &Path) -> Result<String, BoxError> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// The command line of a child.
pub(crate) fn arguments(attempt: &Attempt) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("child")];
    let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    flag("--campaign", attempt.campaign.to_string().into());
    flag("--story", attempt.story.to_string().into());
    flag("--dir", attempt.dir.clone().into());
    flag("--parallelism", attempt.parallelism.to_string().into());
    flag("--threads", attempt.threads.to_string().into());
    flag("--spin", attempt.spin.to_string().into());
    flag("--batch", attempt.batch.to_string().into());
    flag("--every", attempt.every.to_string().into());
    flag("--chain", attempt.chain.to_string().into());
    if let Some(rate) = attempt.throttle {
        flag("--throttle", rate.to_string().into());
    }
    if let Some(millis) = attempt.alignment {
        flag("--alignment", millis.to_string().into());
    }
    if let Some(at) = attempt.kill_at {
        flag("--kill-at", at.to_string().into());
    }
    arguments
}

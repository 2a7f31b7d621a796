//! How long a run has taken, and the line that says so.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levada::Environment;
use levada_core::{Clock, Moment};
use rustix::time::{ClockId, clock_gettime};

use crate::digest::Totals;
use crate::query::Query;

/// Measures a run: by the clock on the wall, and by what the threads of this process have worked.
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    begin: Moment,
    cpu_begin: Duration,
}

impl Watch {
    /// Begins to measure.
    pub(crate) fn start() -> Self {
        let clock = Environment::system().clock;
        Self {
            cpu_begin: cpu(),
            begin: clock.now(),
            clock,
        }
    }

    /// What has passed.
    pub(crate) fn stop(self) -> Taken {
        Taken {
            wall: self.clock.now() - self.begin,
            cpu: cpu().saturating_sub(self.cpu_begin),
        }
    }
}

/// What a run has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    wall: Duration,
    cpu: Duration,
}

/// User and system time of this process since its start.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds =
        u64::try_from(time.tv_sec).expect("a process has not worked for less than nothing");
    let nanos = u32::try_from(time.tv_nsec).expect("nanoseconds stay below a second");
    Duration::new(seconds, nanos)
}

/// The line of a run.
pub(crate) struct Line {
    pub(crate) engine: &'static str,
    pub(crate) query: Query,
    pub(crate) parallelism: usize,
    pub(crate) events: u64,
    pub(crate) taken: Taken,
    pub(crate) totals: Totals,
    pub(crate) checkpoints: Option<Checkpoints>,
    /// Where the savepoint is with which it was stopped.
    pub(crate) savepoint: Option<PathBuf>,
}

/// The checkpoints of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checkpoints {
    pub(crate) every: Duration,
    pub(crate) completed: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { rows, sum, digest } = self.totals;
        let seconds = self.taken.wall.as_secs_f64();
        write!(
            f,
            "engine={} query={} p={} events={} secs={seconds:.6} eps={:.0} cpu={:.6} rows={rows} sum={sum}",
            self.engine,
            self.query,
            self.parallelism,
            self.events,
            self.events as f64 / seconds,
            self.taken.cpu.as_secs_f64(),
        )?;
        if let Some(digest) = digest {
            write!(f, " digest={digest:016x}")?;
        }
        if let Some(Checkpoints { every, completed }) = self.checkpoints {
            write!(f, " ckpt={} ckpts={completed}", every.as_millis())?;
        }
        match &self.savepoint {
            Some(dir) => write!(f, " savepoint={}", dir.display()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn the_line_is_that_of_the_course() {
        let line = |digest, checkpoints, savepoint: Option<&str>| {
            let line = Line {
                engine: "levada",
                query: Query::Q11,
                parallelism: 2,
                events: 200_000,
                taken: Taken {
                    wall: Duration::from_millis(125),
                    cpu: Duration::from_micros(234_567),
                },
                totals: Totals {
                    rows: 3_925,
                    sum: 184_000,
                    digest,
                },
                checkpoints,
                savepoint: savepoint.map(PathBuf::from),
            };
            line.to_string()
        };
        let begin = "engine=levada query=q11 p=2 events=200000 secs=0.125000 eps=1600000 cpu=0.234567 rows=3925 sum=184000";
        assert_eq!(line(None, None, None), begin);
        let digest = format!("{begin} digest=00000000000000ab");
        assert_eq!(line(Some(0xab), None, None), digest);
        let checkpoints = Checkpoints {
            every: Duration::from_millis(20),
            completed: 11,
        };
        assert_eq!(
            line(Some(0xab), Some(checkpoints), None),
            format!("{digest} ckpt=20 ckpts=11")
        );
        assert_eq!(
            line(None, Some(checkpoints), Some("a/b")),
            format!("{begin} ckpt=20 ckpts=11 savepoint=a/b")
        );
    }

    #[test]
    fn work_of_this_process_counts() {
        let watch = Watch::start();
        let mut n = 0u64;
        while cpu() < watch.cpu_begin + Duration::from_millis(2) {
            n = black_box(n + 1);
        }
        let taken = watch.stop();
        assert!(taken.cpu >= Duration::from_millis(2), "{taken:?}");
        assert!(taken.wall >= Duration::from_micros(100), "{taken:?}");
    }
}

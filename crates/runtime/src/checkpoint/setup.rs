//! Where the checkpoints of a job are, and which one it goes on from.

use std::fmt;
use std::sync::Arc;

use levada_checkpoint::{Archive, CheckpointError, Directory, Manifest};
use levada_core::sync::Mutex;
use levada_core::{Clock, Timestamp};
use levada_graph::Plan;

use crate::checkpoint::options::{Allowed, CheckpointOptions, StartAt};
use crate::checkpoint::restored::Restored;
use crate::checkpoint::types::{self, Mismatch};
use crate::environment::Environment;
use crate::wiring::Program;

/// The directory of a job's checkpoints, locked for as long as this lives: over all attempts of a run.
pub struct Setup {
    options: CheckpointOptions,
    directory: Arc<Directory>,
    clock: Arc<dyn Clock>,
    /// The number of the next one. None is used twice, whatever becomes of it.
    next: Mutex<u64>,
    /// The first one of this run.
    first: u64,
}

impl Setup {
    /// Opens and locks the directory.
    ///
    /// # Errors
    /// If another job writes there, or what the operating system says.
    pub fn open(
        options: CheckpointOptions,
        environment: &Environment,
    ) -> Result<Arc<Self>, CheckpointFailure> {
        let directory = Directory::open(Arc::clone(&environment.disk), &options.dir)?;
        let first = directory.next_number();
        Ok(Arc::new(Self {
            next: Mutex::new(first),
            options,
            directory: Arc::new(directory),
            clock: Arc::clone(&environment.clock),
            first,
        }))
    }

    /// What was asked for.
    #[must_use]
    pub fn options(&self) -> &CheckpointOptions {
        &self.options
    }

    /// Whether this run has completed a checkpoint, whether or not anybody has heard of it: from then on an attempt goes on
    /// from the latest.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub(crate) fn has_taken(&self) -> Result<bool, CheckpointFailure> {
        let newest = newest(Some(self.directory.archive()))?;
        Ok(newest.is_some_and(|newest| newest >= self.first))
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    pub(crate) fn next_number(&self) -> u64 {
        let mut next = self.next.lock();
        *next += 1;
        *next - 1
    }

    /// No number up to this one is used.
    fn skip(&self, number: u64) {
        let mut next = self.next.lock();
        *next = (*next).max(number + 1);
    }
}

/// Where a job begins.
#[derive(Default)]
pub struct Start {
    /// The checkpoint that it goes on from.
    pub restored: Option<Arc<Restored>>,
    /// What is worth telling, in sentences.
    pub remarks: Vec<String>,
}

impl Start {
    /// Finds the checkpoint that a job is to go on from, and reads it.
    ///
    /// # Errors
    /// If there is none at the path, it is damaged, it is of other key groups, it has state that the job would drop or cannot
    /// read, or the job would repeat output that has been committed.
    pub fn find(
        from: &StartAt,
        setup: Option<&Setup>,
        allowed: Allowed,
        program: &Program,
        plan: &Plan,
        environment: &Environment,
    ) -> Result<Self, CheckpointFailure> {
        let own = setup.map(|setup| setup.directory.archive());
        let (archive, number) = match from {
            StartAt::Beginning => return Ok(Self::default()),
            StartAt::Latest => match own {
                Some(own) => (own.clone(), None),
                None => return Err(CheckpointFailure::NoDirectory),
            },
            StartAt::Path(path) => Archive::locate(Arc::clone(&environment.disk), path)?,
        };
        let mut start = Self::default();
        let Some(restored) = start.read(&archive, number, allowed)? else {
            if *from != StartAt::Latest {
                return Err(CheckpointFailure::Nothing {
                    dir: archive.dir().display().to_string(),
                });
            }
            start.remarks.push(format!(
                "there is no checkpoint in {}: the job starts afresh",
                archive.dir().display()
            ));
            return Ok(start);
        };
        let manifest = restored.manifest();
        if let Some(newer) = newest(own)?.filter(|newest| *newest > manifest.number)
            && !allowed.duplicates
        {
            return Err(CheckpointFailure::Behind {
                number: manifest.number,
                newer,
            });
        }
        if let Some(setup) = setup {
            setup.skip(manifest.number);
        }
        let key_groups = plan.options().key_groups.count();
        if manifest.key_groups != key_groups {
            return Err(CheckpointFailure::KeyGroups {
                saved: manifest.key_groups,
                now: key_groups,
            });
        }
        let names = Names::compare(&restored, plan);
        if !names.dropped.is_empty() && !allowed.dropped {
            return Err(CheckpointFailure::Dropped(names));
        }
        types::compare(&restored, program, plan).map_err(CheckpointFailure::Types)?;
        start.remarks.push(format!(
            "goes on from checkpoint {} of {}: {names}; {} records were in flight",
            manifest.number,
            archive.dir().display(),
            restored.in_flight()
        ));
        start.restored = Some(restored);
        Ok(start)
    }

    /// Reads a checkpoint, or the latest one. If that is damaged an earlier one will do, if output may be repeated.
    fn read(
        &mut self,
        archive: &Archive,
        number: Option<u64>,
        allowed: Allowed,
    ) -> Result<Option<Arc<Restored>>, CheckpointFailure> {
        if let Some(number) = number {
            let manifest = archive.manifest(number)?;
            return Ok(Some(Restored::load(archive, &manifest)?));
        }
        for found in archive.list()? {
            let read = found
                .manifest
                .and_then(|manifest: Manifest| Restored::load(archive, &manifest));
            match read {
                Ok(restored) => return Ok(Some(restored)),
                // Nothing is wrong with it: the program is too old.
                Err(error @ CheckpointError::Version { .. }) if !allowed.duplicates => {
                    return Err(error.into());
                }
                Err(error) if !allowed.duplicates => {
                    return Err(CheckpointFailure::Damaged {
                        number: found.number,
                        source: Arc::new(error),
                    });
                }
                Err(error @ CheckpointError::Version { .. }) => self.remarks.push(format!(
                    "checkpoint {} is of another version of Levada, an earlier one is taken: {}",
                    found.number,
                    crate::error::chain(&error)
                )),
                Err(error) => self.remarks.push(format!(
                    "checkpoint {} is damaged, an earlier one is taken: {}",
                    found.number,
                    crate::error::chain(&error)
                )),
            }
        }
        Ok(None)
    }
}

/// The number of the newest checkpoint, damaged ones included.
fn newest(archive: Option<&Archive>) -> Result<Option<u64>, CheckpointError> {
    let Some(archive) = archive else {
        return Ok(None);
    };
    Ok(archive.list()?.first().map(|found| found.number))
}

/// What a checkpoint has that a job has, and what only one of them has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    /// Operators and edges that are in both.
    pub kept: Vec<String>,
    /// Those that the checkpoint does not have.
    pub new: Vec<String>,
    /// Those that the job does not have.
    pub dropped: Vec<String>,
}

impl Names {
    fn compare(restored: &Restored, plan: &Plan) -> Self {
        let saved = restored.names();
        let graph = plan.graph();
        let nodes = graph.nodes().map(|node| graph.node(node));
        let named = nodes.filter(|node| node.is_named());
        let named: Vec<_> = named.map(|node| node.origin.name().to_owned()).collect();
        let edges = graph.edges().map(|edge| plan.edge_name(edge).to_owned());
        let now: Vec<_> = named.iter().cloned().chain(edges).collect();
        let manifest = restored.manifest();
        let was_there = |name: &String| {
            saved.contains(name) || manifest.operators.iter().any(|entry| entry.name == *name)
        };
        let (kept, new) = named.into_iter().partition(was_there);
        // What an operator keeps in front of its exchange has its name, and says so in brackets.
        let base = |name: &String| name.split(" (").next().unwrap_or_default().to_owned();
        let dropped = saved
            .into_iter()
            .filter(|name| !now.contains(name) && !now.contains(&base(name)));
        Self {
            kept,
            new,
            dropped: dropped.collect(),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("kept", &self.kept),
            ("new", &self.new),
            ("dropped", &self.dropped),
        ];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<_> = parts
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        f.write_str(&parts.join("; "))
    }
}

/// Why a job cannot begin where it is to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CheckpointFailure {
    /// The files are not what they should be.
    Files(Arc<CheckpointError>),
    /// The latest one is damaged.
    Damaged {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        source: Arc<CheckpointError>,
    },
    /// The latest one is wanted, of no directory.
    NoDirectory,
    /// There is no checkpoint where there should be one.
    Nothing {
        /// The directory.
        dir: String,
    },
    /// There are newer ones, whose output has been committed.
    Behind {
        /// The number of the one that is wanted.
        number: u64,
        /// The number of the newest.
        newer: u64,
    },
    /// It is of another number of key groups.
    KeyGroups {
        /// Those of the checkpoint.
        saved: u16,
        /// Those of the job.
        now: u16,
    },
    /// The job does not have all operators of which there is state.
    Dropped(Names),
    /// State, or records in flight, look different than those of the job.
    Types(Vec<Mismatch>),
}

impl From<CheckpointError> for CheckpointFailure {
    fn from(error: CheckpointError) -> Self {
        Self::Files(Arc::new(error))
    }
}

impl fmt::Display for CheckpointFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => write!(f, "{error}"),
            Self::Damaged { number, .. } => write!(
                f,
                "the latest checkpoint, {number}, is damaged. To go on from the one before repeats the output that was \
                 committed since: `--allow-duplicates` does that"
            ),
            Self::NoDirectory => f.write_str(
                "`--from latest` goes on from the latest checkpoint of a directory: name it by `--checkpoint-dir`",
            ),
            Self::Nothing { dir } => write!(f, "there is no checkpoint in {dir}"),
            Self::Behind { number, newer } => write!(
                f,
                "checkpoint {number} is not the last one of this job, {newer} is. To go back behind that one repeats the output \
                 that was committed since: `--allow-duplicates` does that"
            ),
            Self::KeyGroups { saved, now } => write!(
                f,
                "the checkpoint has {saved} key groups and the job {now}, and their number cannot be changed: say \
                 `--key-groups {saved}`"
            ),
            Self::Dropped(names) => write!(
                f,
                "the checkpoint has state that the job would drop, which `--allow-dropped` allows; {names}"
            ),
            Self::Types(mismatches) => {
                let mismatches: Vec<_> = mismatches.iter().map(Mismatch::to_string).collect();
                f.write_str(&mismatches.join(". Also, "))
            }
        }
    }
}

impl std::error::Error for CheckpointFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Files(error) => error.source(),
            Self::Damaged { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

//! Which files a source reads: those that are there at its start, and those that come.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use levada_core::disk::Disk;
use levada_core::sync::Mutex;
use levada_core::{BoxError, codec};

use crate::error::Error;
use crate::files::pattern::{self, Patterns};

/// The most files that a watched pattern may match. Their paths are kept in memory.
const WATCHED_MAX: usize = 1 << 20;

/// The files of a source.
#[derive(Debug)]
pub(super) struct Selection {
    patterns: Vec<String>,
    /// How often to look for new ones; never if none.
    every: Option<Duration>,
    /// The files that have been found and are still there, if it is watched. Others are forgotten, so that there are no more
    /// of them than the directories hold.
    known: Mutex<BTreeSet<PathBuf>>,
}

/// A file with its length when it was found.
pub(super) type Found = (PathBuf, u64);

impl Selection {
    pub(super) fn new(patterns: impl Patterns) -> Self {
        Self {
            patterns: patterns.patterns(),
            every: None,
            known: Mutex::default(),
        }
    }

    pub(super) fn watch(self, every: Duration) -> Self {
        assert!(
            !every.is_zero(),
            "somebody who looks all the time does nothing else"
        );
        Self {
            every: Some(every),
            ..self
        }
    }

    /// How often to look for new files.
    pub(super) fn watched(&self) -> Option<Duration> {
        self.every
    }

    /// The files that are there.
    pub(super) fn find(&self, disk: &dyn Disk) -> Result<Vec<Found>, Error> {
        if self.every.is_some() {
            self.known.lock().clear();
            return self.find_new(disk);
        }
        let mut files = Vec::new();
        for pattern in &self.patterns {
            for path in pattern::resolve(pattern, disk)? {
                // Opened once to see whether it can be read: better before the job starts than in the middle.
                disk.open(&path).map_err(Error::file("read", &path))?;
                let metadata = disk.metadata(&path).map_err(Error::file("read", &path))?;
                files.push((path, metadata.len));
            }
        }
        Ok(files)
    }

    /// The files that have come since.
    pub(super) fn find_new(&self, disk: &dyn Disk) -> Result<Vec<Found>, Error> {
        let mut there = BTreeSet::new();
        for pattern in &self.patterns {
            look_at_directory(pattern, disk)?;
            match pattern::resolve(pattern, disk) {
                Ok(paths) => there.extend(paths),
                Err(Error::NoMatch { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if there.len() > WATCHED_MAX {
            return Err(Error::TooManyFiles {
                files_max: WATCHED_MAX,
            });
        }
        let mut known = self.known.lock();
        let mut files = Vec::new();
        for path in there.difference(&known) {
            let metadata = disk.metadata(path).map_err(Error::file("read", path))?;
            files.push((path.clone(), metadata.len));
        }
        *known = there;
        Ok(files)
    }
}

impl Selection {
    /// What must be remembered to find no file twice.
    pub(super) fn memory(&self) -> Result<Vec<u8>, BoxError> {
        match self.every {
            Some(_) => {
                let mut memory = Vec::new();
                codec::encode(&*self.known.lock(), &mut memory)?;
                Ok(memory)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Goes on with what was remembered. Who did not look for more files then, and does so now, knows those of the splits
    /// only by looking: it takes those that are there for known.
    pub(super) fn restore(&self, memory: &[u8], disk: &dyn Disk) -> Result<(), BoxError> {
        if self.every.is_none() {
            return Ok(());
        }
        self.known.lock().clear();
        if memory.is_empty() {
            self.find_new(disk)?;
            return Ok(());
        }
        for pattern in &self.patterns {
            look_at_directory(pattern, disk)?;
        }
        *self.known.lock() = codec::decode(memory)?;
        Ok(())
    }
}

/// A clone is another source, which has found nothing so far.
impl Clone for Selection {
    fn clone(&self) -> Self {
        Self {
            patterns: self.patterns.clone(),
            every: self.every,
            known: Mutex::default(),
        }
    }
}

/// The directory of a watched pattern must be there: where it is gone, nothing would come for ever.
fn look_at_directory(pattern: &str, disk: &dyn Disk) -> Result<(), Error> {
    let dir = pattern::directory(Path::new(pattern));
    match disk.metadata(&dir) {
        Ok(metadata) if metadata.is_dir => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("watch", &dir)(error))
        }
        _ => Err(Error::NotWatchable { path: dir }),
    }
}

//! The directory that a sink writes parts into: who may, under which names, and what becomes of what others have left.
//!
//! A part is `part-RUN-SUBTASK-EPOCH`, with a dot before it until its epoch is committed. `RUN` is new for each start of a
//! job, so no attempt ever meets a name of another one.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::disk::{Disk, Lock};
use levada_core::fault;

use crate::directory;
use crate::error::Error;

/// Held while a job writes into the directory. The file stays behind, empty.
const LOCK: &str = ".levada-lock";

/// A directory of parts, for the one job that holds it.
pub(super) struct Parts {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    _lock: Box<dyn Lock>,
}

impl Parts {
    /// Makes the directory if it does not exist, and takes it.
    pub(super) fn take(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Self, Error> {
        directory::create(&**disk, dir).map_err(Error::file("create", dir))?;
        let path = dir.join(LOCK);
        let lock = disk.lock(&path).map_err(Error::file("lock", &path))?;
        let lock = lock.ok_or_else(|| Error::InUse {
            path: dir.to_owned(),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            disk: Arc::clone(disk),
            _lock: lock,
        })
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Where a part is until it is committed.
    pub(super) fn hidden(&self, part: &str) -> PathBuf {
        self.dir.join(format!(".{part}"))
    }

    /// Fails if the directory holds anything that is complete.
    pub(super) fn refuse_complete(&self) -> Result<(), Error> {
        match self.list()?.into_iter().find(|name| !name.starts_with('.')) {
            Some(found) => Err(Error::NotEmpty {
                path: self.dir.clone(),
                found: self.dir.join(found),
            }),
            None => Ok(()),
        }
    }

    /// Removes hidden parts of attempts that are dead, since this job holds the directory: all but these.
    pub(super) fn remove_leftovers(&self, kept: &BTreeSet<&str>) -> Result<(), Error> {
        for name in self.list()? {
            let Some(part) = name.strip_prefix('.') else {
                continue;
            };
            if !is_part(part) || kept.contains(part) {
                continue;
            }
            let path = self.dir.join(&name);
            // We make no directory under such a name, so it is somebody else's.
            if self.disk.metadata(&path).is_ok_and(|found| found.is_dir) {
                continue;
            }
            match self.disk.remove(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::file("remove", &path)(error));
                }
                _ => tracing::info!("{} was never committed: it is removed", path.display()),
            }
        }
        Ok(())
    }

    /// Makes the hidden names durable, or the visible ones.
    pub(super) fn sync(&self) -> Result<(), Error> {
        let synced = self.disk.sync_dir(&self.dir);
        synced.map_err(Error::file("sync", &self.dir))
    }

    /// Gives a part the name under which it is complete; an earlier attempt may have done so.
    pub(super) fn publish(&self, part: &str) -> Result<(), Error> {
        let hidden = self.hidden(part);
        let complete = self.dir.join(part);
        let error = match self.disk.rename(&hidden, &complete) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::NotFound || fault!("commit-not-idempotent") {
            return Err(Error::file("rename", &hidden)(error));
        }
        match self.disk.metadata(&complete) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::LostPart {
                path: self.dir.clone(),
                part: part.to_owned(),
            }),
            Err(error) => Err(Error::file("look at", &complete)(error)),
        }
    }

    fn list(&self) -> Result<Vec<String>, Error> {
        let found = self.disk.list(&self.dir);
        let found = found.map_err(Error::file("list", &self.dir))?;
        let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        Ok(found.iter().filter_map(name).collect())
    }
}

/// The name of a part once it is committed. Those of a run sort by subtask, then by epoch.
pub(super) fn name(run: &str, subtask: usize, epoch: u64, extension: Option<&str>) -> String {
    let name = format!("part-{run}-{subtask:05}-{epoch:06}");
    match extension {
        Some(extension) => format!("{name}.{extension}"),
        None => name,
    }
}

/// Whether this is a name that [`name`] could have made.
fn is_part(name: &str) -> bool {
    let is_number = |text: &str, digits_min| {
        text.len() >= digits_min && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let name = [".gz", ".zst"]
        .iter()
        .find_map(|extension| name.strip_suffix(extension))
        .unwrap_or(name);
    let mut words = name.split('-');
    let is_run = |run: &str| run.len() == 16 && run.bytes().all(|byte| byte.is_ascii_hexdigit());
    words.next() == Some("part")
        && words.next().is_some_and(is_run)
        && words.next().is_some_and(|subtask| is_number(subtask, 5))
        && words.next().is_some_and(|epoch| is_number(epoch, 6))
        && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let run = "00ff00ff00ff00ff";
        for extension in [None, Some("gz"), Some("zst")] {
            for (subtask, epoch) in [(0, 0), (99_999, 7), (123_456, 12_345_678)] {
                let name = name(run, subtask, epoch, extension);
                assert!(is_part(&name), "{name}");
            }
        }
        assert_eq!(name(run, 3, 12, None), "part-00ff00ff00ff00ff-00003-000012");
        for foreign in [
            "",
            "part",
            "part-mine",
            "part-00ff00ff00ff00ff-00003",
            "part-00ff00ff00ff00ff-00003-000012-1",
            "part-00ff00ff00ff00ff-00003-000012.bak",
            "part-00ff00ff00ff00ff-00003-00001x",
            "part-00ff00ff00ff00fx-00003-000012",
            "my-part-00ff00ff00ff00ff-00003-000012",
        ] {
            assert!(!is_part(foreign), "{foreign}");
        }
    }
}

//! Writing checkpoints, by the one job that has the lock.
//!
//! What is written becomes durable in this order: the content of the data files ([`DataFile::finish`] syncs it), the content
//! of the manifest under a temporary name, the names of all of them, and then, by another sync of the directory, the name
//! under which the manifest counts. So a manifest with its name has all its files, whenever a crash comes: if one is
//! missing, it was there and has been lost.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::disk::{self, Disk, Kind, Lock};
use levada_core::fault;
use levada_core::sync::Mutex;

use crate::archive::{Archive, Found};
use crate::data_file::DataFile;
use crate::error::CheckpointError;
use crate::manifest::{CheckpointKind, FileEntry, Manifest};
use crate::name::{self, Name};

/// A directory of checkpoints, for the one job that writes there.
pub struct Directory {
    archive: Archive,
    /// The largest number of a manifest that is or was there.
    newest: Mutex<Option<u64>>,
    /// The largest number in the name of any file, when it was opened.
    last: Option<u64>,
    _lock: Box<dyn Lock>,
}

/// A checkpoint that is durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// Its manifest.
    pub path: PathBuf,
    /// Syncs, one after the other, that publishing took; the data files were synced before.
    pub syncs: u32,
}

impl Directory {
    /// Opens a directory, which is made if it does not exist, and locks it. Removes what an earlier job has left
    /// unfinished; files whose names are not ours, and links, stay.
    ///
    /// # Errors
    /// If another job writes there, or what the operating system says.
    pub fn open(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        Self::open_if(disk, dir.into(), |_| Ok(()))
    }

    /// Opens a directory for a savepoint: one that does not exist or is empty.
    ///
    /// # Errors
    /// As [`Directory::open`], and if the directory holds something.
    pub fn open_empty(
        disk: Arc<dyn Disk>,
        dir: impl Into<PathBuf>,
    ) -> Result<Self, CheckpointError> {
        let dir = dir.into();
        // Nothing is left in a directory that is somebody's, not even a lock. What is seen here may have changed by the time that
        // the lock is held, so it is looked at again then.
        if disk.kind(&dir).is_ok() {
            expect_empty(&*disk, &dir)?;
        }
        Self::open_if(disk, dir, |archive| {
            expect_empty(&**archive.disk(), archive.dir())
        })
    }

    /// For reading.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// A number that no file in the directory had when it was opened: larger than all of them, and not zero.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.last.map_or(1, |last| last.saturating_add(1))
    }

    /// Creates a file for the blocks of a checkpoint. One is enough for all tasks.
    ///
    /// # Errors
    /// If the name of the run cannot be part of a file's name, a checkpoint of this number or a later one is there, the
    /// file exists, or it cannot be created.
    pub fn create(
        &self,
        number: u64,
        run: &str,
        attempt: u32,
    ) -> Result<DataFile, CheckpointError> {
        name::check_run(run)?;
        self.check_number(number, *self.newest.lock())?;
        let name = name::data(number, run, attempt);
        let path = self.path(&name);
        DataFile::create(Arc::clone(self.disk()), path, name, number, attempt)
    }

    /// Removes a finished file of a checkpoint that will not be published.
    ///
    /// # Errors
    /// If it cannot be removed. Then [`retain`](Self::retain) will remove it later.
    pub fn discard(&self, file: &FileEntry) -> Result<(), CheckpointError> {
        let path = self.path(&file.name);
        match Name::parse(&file.name) {
            Some(Name::Data { .. }) => self.remove(&path),
            _ => Err(CheckpointError::NoManifest { path }),
        }
    }

    /// Makes a checkpoint count: writes its manifest, and returns when manifest and names are durable.
    ///
    /// # Errors
    /// If its number is not larger than all before it, a file that it names is missing or has another length, or what the
    /// operating system says. Then it does not count, its manifest is removed, and its number is not used again.
    /// [`CheckpointError::Undecided`] if it may be there all the same after a crash.
    pub fn publish(&self, manifest: &Manifest) -> Result<Published, CheckpointError> {
        let number = manifest.number;
        let path = self.archive.manifest_path(number);
        let temporary = self.path(&name::temporary(number));
        manifest.check(&path)?;
        self.archive.expect_files(manifest)?;
        let mut newest = self.newest.lock();
        self.check_number(number, *newest)?;
        // Something that is not ours.
        if self.disk().kind(&path).is_ok() {
            let error = io::ErrorKind::AlreadyExists.into();
            return Err(CheckpointError::file("create", &path)(error));
        }
        *newest = Some(number);
        match self.write(manifest, &temporary, &path) {
            Ok(syncs) => Ok(Published { path, syncs }),
            Err(error) => Err(self.take_back(error, &temporary, path)),
        }
    }

    /// Keeps the newest checkpoints, so many of them, and removes older ones with the files that only they need; returns
    /// what it has removed. Savepoints are kept. A damaged checkpoint does not count as kept, and goes with those that are
    /// older than the oldest one that is.
    ///
    /// Data files with numbers beyond the newest manifest belong to checkpoints that are being written, and stay.
    ///
    /// # Errors
    /// What the operating system says. What is not removed is removed by a later call.
    pub fn retain(&self, keep: usize) -> Result<Vec<PathBuf>, CheckpointError> {
        // Nothing is published meanwhile.
        let _newest = self.newest.lock();
        let found = self.archive.list()?;
        let complete = found.iter().filter(|found| {
            let kind = found.manifest.as_ref().map(|manifest| manifest.kind);
            kind.is_ok_and(|kind| kind != CheckpointKind::Savepoint)
        });
        let Some(oldest) = complete.map(|found| found.number).take(keep.max(1)).last() else {
            return Ok(Vec::new());
        };
        let mut removed = Vec::new();
        for found in &found {
            let kind = found.manifest.as_ref().map(|manifest| manifest.kind);
            if found.number < oldest && !matches!(kind, Ok(CheckpointKind::Savepoint)) {
                self.remove(&found.path)?;
                removed.push(found.path.clone());
            }
        }
        let newest = found.first().map_or(0, |found| found.number);
        let mut unneeded = self.unreferenced(&found)?;
        unneeded.retain(|(_, number)| *number <= newest);
        if !unneeded.is_empty() {
            // Before the files: a manifest that comes back must find them.
            self.sync()?;
        }
        for (path, _) in unneeded {
            self.remove(&path)?;
            removed.push(path);
        }
        Ok(removed)
    }

    fn open_if(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        check: impl FnOnce(&Archive) -> Result<(), CheckpointError>,
    ) -> Result<Self, CheckpointError> {
        disk::create_durable_dir(&*disk, &dir).map_err(CheckpointError::file("create", &dir))?;
        let path = dir.join(name::LOCK);
        // To lock a link is to lock, and perhaps to make, a file elsewhere.
        if disk.kind(&path).is_ok_and(|kind| kind != Kind::File) {
            let error = io::Error::other("it is no plain file");
            return Err(CheckpointError::file("lock", &path)(error));
        }
        let lock = disk
            .lock(&path)
            .map_err(CheckpointError::file("lock", &path))?
            .ok_or_else(|| CheckpointError::Locked { dir: dir.clone() })?;
        let archive = Archive::new(disk, dir);
        check(&archive)?;
        let names = archive.names()?;
        let is_manifest = |name: &Name| matches!(name, Name::Manifest { .. });
        let numbers = names.iter().map(|(_, name)| name);
        let newest = numbers.clone().filter(|name| is_manifest(name));
        let opened = Self {
            newest: Mutex::new(newest.map(|name| name.number()).max()),
            last: numbers.map(|name| name.number()).max(),
            archive,
            _lock: lock,
        };
        for (path, name) in names {
            if matches!(name, Name::Temporary { .. }) {
                opened.remove(&path)?;
            }
        }
        // What was made and removed by a job that was killed may not be durable. What is read now counts, so it must be;
        // and a manifest that comes back must find its files.
        opened.sync()?;
        for (path, _) in opened.unreferenced(&[])? {
            opened.remove(&path)?;
        }
        Ok(opened)
    }

    fn check_number(&self, number: u64, newest: Option<u64>) -> Result<(), CheckpointError> {
        match newest {
            Some(newest) if number <= newest => Err(CheckpointError::Stale {
                dir: self.archive.dir().to_owned(),
                number,
                newest,
            }),
            _ => Ok(()),
        }
    }

    /// Writes a manifest; returns how many syncs that took.
    fn write(
        &self,
        manifest: &Manifest,
        temporary: &Path,
        path: &Path,
    ) -> Result<u32, CheckpointError> {
        let disk = self.disk();
        let mut file = disk
            .create_new(temporary)
            .map_err(CheckpointError::file("create", temporary))?;
        file.append(&manifest.to_bytes())
            .map_err(CheckpointError::file("write", temporary))?;
        if !fault!("manifest-unsynced") {
            file.sync()
                .map_err(CheckpointError::file("sync", temporary))?;
        }
        drop(file);
        if !fault!("names-unsynced") {
            self.sync()?;
        }
        disk.rename(temporary, path)
            .map_err(CheckpointError::file("rename", temporary))?;
        if !fault!("directory-unsynced") {
            self.sync()?;
        }
        Ok(3)
    }

    /// After a manifest could not be written: its names must not outlive a crash.
    fn take_back(
        &self,
        error: CheckpointError,
        temporary: &Path,
        path: PathBuf,
    ) -> CheckpointError {
        let disk = self.disk();
        // If it cannot be removed it stays until a job opens the directory.
        let _ = disk.remove(temporary);
        let is_there = disk.kind(&path);
        if is_there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return error;
        }
        match disk.remove(&path).is_ok() && self.sync().is_ok() {
            true => error,
            false => CheckpointError::Undecided {
                path,
                source: Box::new(error),
            },
        }
    }

    /// The data files that no manifest needs, with their numbers. Of manifests, those that have just been read are not read again.
    fn unreferenced(&self, read: &[Found]) -> Result<Vec<(PathBuf, u64)>, CheckpointError> {
        let mut needed = BTreeSet::new();
        // A manifest that cannot be read may need any file that is not newer.
        let mut unknown = None;
        let names = self.archive.names()?;
        for (path, name) in &names {
            let Name::Manifest { number } = *name else {
                continue;
            };
            let known = read.iter().find(|found| found.number == number);
            let mut need = |manifest: &Manifest| {
                let files = manifest.files.iter();
                needed.extend(files.map(|file| self.path(&file.name)));
            };
            if let Some(manifest) = known.and_then(|found| found.manifest.as_ref().ok()) {
                need(manifest);
                continue;
            }
            match Manifest::read(&**self.disk(), path) {
                Ok(manifest) => need(&manifest),
                Err(_) => unknown = unknown.max(Some(number)),
            }
        }
        let unreferenced = names.into_iter().filter_map(|(path, name)| match name {
            Name::Data { number, .. } => {
                let is_needed = needed.contains(&path) || unknown.is_some_and(|max| number <= max);
                (!is_needed).then_some((path, number))
            }
            _ => None,
        });
        Ok(unreferenced.collect())
    }

    /// Removes a plain file.
    fn remove(&self, path: &Path) -> Result<(), CheckpointError> {
        let disk = self.disk();
        match disk.kind(path) {
            Ok(Kind::File) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(CheckpointError::file("remove", path)(error)),
        }
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CheckpointError::file("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        let dir = self.archive.dir();
        self.disk()
            .sync_dir(dir)
            .map_err(CheckpointError::file("sync", dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.archive.dir().join(name)
    }

    fn disk(&self) -> &Arc<dyn Disk> {
        self.archive.disk()
    }
}

/// That there is nothing in a directory but a lock.
fn expect_empty(disk: &dyn Disk, dir: &Path) -> Result<(), CheckpointError> {
    let paths = disk.list(dir).map_err(CheckpointError::file("read", dir))?;
    let is_foreign = |path: &PathBuf| path.file_name().is_none_or(|name| name != name::LOCK);
    match paths.into_iter().find(is_foreign) {
        None => Ok(()),
        Some(found) => Err(CheckpointError::NotEmpty {
            dir: dir.to_owned(),
            found,
        }),
    }
}

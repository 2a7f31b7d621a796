//! Reading checkpoints, without a lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::BoxError;
use levada_core::disk::{Disk, Kind};

use crate::block::Block;
use crate::block_reader::{BlockFile, BlockReader, Place, check_length};
use crate::error::CheckpointError;
use crate::manifest::{FileEntry, Manifest};
use crate::name::{self, Name};

/// The checkpoints in a directory, for whoever reads them. A job may write there at the same time.
#[derive(Clone)]
pub struct Archive {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// A manifest that was found.
#[derive(Debug)]
pub struct Found {
    /// The number of the checkpoint, by the name of the manifest.
    pub number: u64,
    /// Where the manifest is.
    pub path: PathBuf,
    /// The manifest, if it is undamaged and all files that it names are there and as long as they were. What is in them
    /// is looked at by [`Archive::verify`].
    pub manifest: Result<Manifest, CheckpointError>,
}

/// The newest checkpoint from which a job can go on.
#[derive(Debug, Default)]
pub struct Latest {
    /// Its manifest; none if there is no checkpoint.
    pub manifest: Option<Manifest>,
    /// What is wrong with those that are newer. If there are any, somebody should hear of it.
    pub skipped: Vec<CheckpointError>,
}

impl Archive {
    /// The checkpoints in a directory, which need not exist.
    pub fn new(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        Self {
            disk,
            dir: dir.into(),
        }
    }

    /// The checkpoints at a path: a directory, or a manifest, of which the number is given too.
    ///
    /// # Errors
    /// If there is nothing at the path, or something else.
    pub fn locate(
        disk: Arc<dyn Disk>,
        path: &Path,
    ) -> Result<(Self, Option<u64>), CheckpointError> {
        let found = disk
            .metadata(path)
            .map_err(CheckpointError::file("read", path))?;
        if found.is_dir {
            return Ok((Self::new(disk, path), None));
        }
        match name_of(path) {
            Some(Name::Manifest { number }) => {
                let dir = path.parent().unwrap_or_else(|| Path::new(""));
                let dir = if dir.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    dir
                };
                Ok((Self::new(disk, dir), Some(number)))
            }
            _ => Err(CheckpointError::NoManifest {
                path: path.to_owned(),
            }),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the directory is there.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn exists(&self) -> Result<bool, CheckpointError> {
        match self.disk.metadata(&self.dir) {
            Ok(found) => Ok(found.is_dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CheckpointError::file("read", &self.dir)(error)),
        }
    }

    /// All checkpoints, newest first, with what is wrong with them. A directory that is not there has none.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Found>, CheckpointError> {
        let mut numbers: Vec<_> = self
            .names()?
            .into_iter()
            .filter_map(|(_, name)| match name {
                Name::Manifest { number } => Some(number),
                _ => None,
            })
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let found = numbers.into_iter().filter_map(|number| {
            let path = self.manifest_path(number);
            let manifest = self.complete(&path);
            // A job has removed it in between.
            let is_gone = manifest.is_err() && !self.is_there(&path);
            (!is_gone).then_some(Found {
                number,
                path,
                manifest,
            })
        });
        Ok(found.collect())
    }

    /// The newest checkpoint whose manifest is undamaged and whose files are there.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn latest_complete(&self) -> Result<Latest, CheckpointError> {
        let mut latest = Latest::default();
        for found in self.list()? {
            match found.manifest {
                Ok(manifest) => {
                    latest.manifest = Some(manifest);
                    break;
                }
                Err(error) => latest.skipped.push(error),
            }
        }
        Ok(latest)
    }

    /// The manifest of a checkpoint, whose files are there.
    ///
    /// # Errors
    /// If there is no such checkpoint, it is damaged, or a file is missing or has another length.
    pub fn manifest(&self, number: u64) -> Result<Manifest, CheckpointError> {
        self.complete(&self.manifest_path(number)).map_err(|error| {
            if error.is_not_found() {
                let dir = self.dir.clone();
                CheckpointError::NoCheckpoint { dir, number }
            } else {
                error
            }
        })
    }

    /// Reads all blocks of a checkpoint, in the order in which they are to be applied. A block is checked before it is
    /// handed out, and a file with its last block: what was handed out counts if this returns without an error.
    ///
    /// # Errors
    /// If a file is missing or damaged in any way, or what `take` says.
    pub fn load(
        &self,
        manifest: &Manifest,
        mut take: impl FnMut(Block<'_>) -> Result<(), BoxError>,
    ) -> Result<(), CheckpointError> {
        let mut files = manifest.files.iter();
        files.try_for_each(|entry| self.load_file(manifest, entry, |_, block| take(block)))
    }

    /// Reads all blocks of one of the files of a checkpoint, with their places, as [`Archive::load`] does.
    ///
    /// # Errors
    /// As there.
    pub fn load_file(
        &self,
        manifest: &Manifest,
        entry: &FileEntry,
        mut take: impl FnMut(Place, Block<'_>) -> Result<(), BoxError>,
    ) -> Result<(), CheckpointError> {
        let path = self.dir.join(&entry.name);
        let of = || self.manifest_path(manifest.number);
        let mut reader = BlockReader::open(&*self.disk, path, entry, of)?;
        while let Some((place, block)) = reader.next()? {
            take(place, block).map_err(|source| CheckpointError::Refused {
                path: self.dir.join(&entry.name),
                offset: place.offset(),
                block: block.to_string(),
                source,
            })?;
        }
        Ok(())
    }

    /// Opens a file that has been loaded, to read some of its blocks once more.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(&self, entry: &FileEntry) -> Result<BlockFile, CheckpointError> {
        BlockFile::open(&*self.disk, self.dir.join(&entry.name))
    }

    /// Looks at every byte of a checkpoint; returns its manifest.
    ///
    /// # Errors
    /// If anything is missing or damaged.
    pub fn verify(&self, number: u64) -> Result<Manifest, CheckpointError> {
        let manifest = self.manifest(number)?;
        self.load(&manifest, |_| Ok(()))?;
        Ok(manifest)
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn manifest_path(&self, number: u64) -> PathBuf {
        self.dir.join(name::manifest(number))
    }

    /// The plain files of ours in the directory.
    pub(crate) fn names(&self) -> Result<Vec<(PathBuf, Name)>, CheckpointError> {
        let paths = match self.disk.list(&self.dir) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CheckpointError::file("read", &self.dir)(error)),
        };
        let ours = paths.into_iter().filter_map(|path| {
            let name = name_of(&path)?;
            let is_file = matches!(self.disk.kind(&path), Ok(Kind::File));
            is_file.then_some((path, name))
        });
        Ok(ours.collect())
    }

    fn is_there(&self, path: &Path) -> bool {
        let found = self.disk.kind(path);
        !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Reads a manifest, and looks whether all its files are there.
    fn complete(&self, path: &Path) -> Result<Manifest, CheckpointError> {
        let manifest = Manifest::read(&*self.disk, path)?;
        self.expect_files(&manifest)?;
        Ok(manifest)
    }

    pub(crate) fn expect_files(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        manifest.files.iter().try_for_each(|entry| {
            let of = || self.manifest_path(manifest.number);
            check_length(&*self.disk, self.dir.join(&entry.name), entry, of)
        })
    }
}

fn name_of(path: &Path) -> Option<Name> {
    Name::parse(path.file_name()?.to_str()?)
}

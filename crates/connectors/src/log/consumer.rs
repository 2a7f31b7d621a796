//! How far a consumer has read.

use std::path::PathBuf;

use levada_core::disk::Lock;

use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::offsets::{self, Kind};

/// A consumer of a log, for the one job that reads as it.
pub(super) struct Consumer {
    home: Home,
    path: PathBuf,
    /// The offset of the next record, by partition.
    offsets: Vec<u64>,
    /// Partitions that have been read to their end by this job.
    read: Vec<bool>,
    _lock: Box<dyn Lock>,
}

impl Consumer {
    /// Takes the name, and finds out where the consumer goes on, if it has read before.
    pub(super) fn open(
        home: &Home,
        name: &str,
        partitions: usize,
    ) -> Result<(Self, Option<Vec<u64>>), LogError> {
        let path = home.consumer(name)?;
        let dir = home.consumers();
        home.disk
            .create_dir_all(&dir)
            .map_err(LogError::file("create", &dir))?;
        let lock = path.with_extension("lock");
        let lock = home
            .disk
            .lock(&lock)
            .map_err(LogError::file("lock", &lock))?;
        let lock = lock.ok_or_else(|| LogError::ConsumerLocked {
            dir: home.dir.clone(),
            consumer: name.to_owned(),
        })?;
        let stored = offsets::read(&*home.disk, &path, Kind::Consumer, partitions)?;
        let consumer = Self {
            home: home.clone(),
            path,
            offsets: Vec::new(),
            read: vec![false; partitions],
            _lock: lock,
        };
        Ok((consumer, stored))
    }

    /// Says where the job begins to read.
    pub(super) fn begin(&mut self, offsets: &[u64]) {
        self.offsets = offsets.to_vec();
    }

    /// A partition has been read as far as this offset. The last one of them stores all, so that the job goes on with all
    /// partitions or with none.
    pub(super) fn read(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.offsets[partition as usize] = offset;
        self.read[partition as usize] = true;
        if self.read.contains(&false) {
            return Ok(());
        }
        offsets::write(&*self.home.disk, &self.path, Kind::Consumer, &self.offsets)
    }
}

/// The offsets that a consumer has stored, by partition; none if it has stored none.
pub(super) fn stored(
    home: &Home,
    name: &str,
    partitions: usize,
) -> Result<Option<Vec<u64>>, LogError> {
    offsets::read(
        &*home.disk,
        &home.consumer(name)?,
        Kind::Consumer,
        partitions,
    )
}

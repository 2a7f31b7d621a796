//! How far a consumer has read.

use std::path::PathBuf;

use levada_core::disk::Lock;
use serde::{Deserialize, Serialize};

use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::offsets::{self, Kind};

/// A consumer of a log, for the one job that reads as it.
pub(super) struct Consumer {
    home: Home,
    path: PathBuf,
    /// The offset of the next record, by partition: of what has been processed. None sinks.
    offsets: Vec<u64>,
    /// Where the job is through with a partition, if it ever is.
    ends: Vec<u64>,
    /// Partitions that something has been heard of since offsets were stored.
    heard: Vec<bool>,
    /// What is in the file.
    stored: Option<Vec<u64>>,
    _lock: Box<dyn Lock>,
}

impl Consumer {
    /// Takes the name, and looks where the consumer goes on, if it has read before.
    pub(super) fn open(home: &Home, name: &str, partitions: usize) -> Result<Self, LogError> {
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
        Ok(Self {
            home: home.clone(),
            path,
            offsets: vec![0; partitions],
            ends: vec![u64::MAX; partitions],
            heard: vec![false; partitions],
            stored,
            _lock: lock,
        })
    }

    /// Where the consumer goes on, if it has read before.
    pub(super) fn stored(&self) -> Option<&Vec<u64>> {
        self.stored.as_ref()
    }

    /// Says where the job begins to read, and where it ends.
    pub(super) fn begin(&mut self, Progress { offsets, ends }: Progress) -> Result<(), LogError> {
        for found in [&offsets, &ends] {
            if found.len() != self.offsets.len() {
                return Err(LogError::Partitions {
                    path: self.home.dir.clone(),
                    found: self.offsets.len(),
                    expected: found.len(),
                });
            }
        }
        self.offsets = offsets;
        self.ends = ends;
        Ok(())
    }

    /// What a checkpoint must keep, so that the consumer can go on with the partitions that are left.
    pub(super) fn progress(&self, finished: &[(u32, u64)]) -> Progress {
        let mut offsets = self.offsets.clone();
        for (partition, offset) in finished {
            raise(&mut offsets[*partition as usize], *offset);
        }
        Progress {
            offsets,
            ends: self.ends.clone(),
        }
    }

    /// Partitions are read from these offsets on: what lies behind them has not been processed, although a reader may have been
    /// there when the checkpoint was taken.
    pub(super) fn goes_on(&mut self, read: impl IntoIterator<Item = (u32, u64)>) {
        for (partition, offset) in read {
            let known = &mut self.offsets[partition as usize];
            *known = offset.min(*known);
        }
    }

    /// Partitions have been read as far as these offsets, and what was read has been processed. Offsets are stored once
    /// something has been heard of every partition that is not read to its end: so a checkpoint costs one sync however many
    /// subtasks there are, and a job without checkpoints stores all or nothing.
    pub(super) fn read(
        &mut self,
        read: impl IntoIterator<Item = (u32, u64)>,
    ) -> Result<(), LogError> {
        for (partition, offset) in read {
            raise(&mut self.offsets[partition as usize], offset);
            self.heard[partition as usize] = true;
        }
        let all = self.offsets.iter().zip(&self.ends).zip(&self.heard);
        let mut waiting = all.filter(|((offset, end), heard)| !**heard && offset < end);
        if waiting.next().is_some() {
            return Ok(());
        }
        self.heard.fill(false);
        let mut offsets = self.offsets.clone();
        // A job that goes on from an older checkpoint reads again what has been processed: nobody else has to.
        for (offset, stored) in offsets.iter_mut().zip(self.stored.iter().flatten()) {
            raise(offset, *stored);
        }
        if self.stored.as_ref() == Some(&offsets) {
            return Ok(());
        }
        offsets::write(&*self.home.disk, &self.path, Kind::Consumer, &offsets)?;
        self.stored = Some(offsets);
        Ok(())
    }
}

/// How far a consumer has come, as a checkpoint keeps it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Progress {
    pub(super) offsets: Vec<u64>,
    pub(super) ends: Vec<u64>,
}

fn raise(offset: &mut u64, to: u64) {
    *offset = to.max(*offset);
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

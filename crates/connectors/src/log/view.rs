//! A log as somebody sees it who neither writes nor reads its records.

use std::path::Path;
use std::sync::Arc;

use levada_core::disk::Disk;
use levada_runtime::Environment;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::log::appender::Appender;
use crate::log::consumer;
use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::manifest::Manifest;
use crate::log::partition::{self, Limits};

/// A log, to be asked how much it holds and how far its consumers are.
///
/// ```
/// use levada_connectors::Log;
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("orders");
/// Log::create::<(u64, String)>(&dir, 2)?;
/// let log = Log::open(&dir)?;
/// assert_eq!(log.partitions(), 2);
/// assert_eq!(log.end(0)?, 0);
/// assert_eq!(log.lag("billing")?.records(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log {
    home: Home,
    manifest: Manifest,
}

impl Log {
    /// Opens a log on the disk of this machine.
    ///
    /// # Errors
    /// If there is none, or it is of another version.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LogError> {
        Self::open_on(&Environment::system().disk, dir)
    }

    /// Opens a log on another disk: that of a simulation.
    ///
    /// # Errors
    /// If there is none, or it is of another version.
    pub fn open_on(disk: &Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<Self, LogError> {
        let home = Home::new(dir.as_ref(), disk);
        let manifest = Manifest::of_existing(&home)?;
        Ok(Self { home, manifest })
    }

    /// Makes an empty log for records of type `T`, on the disk of this machine, if there is none. A sink makes one by
    /// itself; this is for readers that may come first.
    ///
    /// # Errors
    /// If the directory holds something else, or a log for other records or with another number of partitions.
    pub fn create<T: DeserializeOwned>(
        dir: impl AsRef<Path>,
        partitions: u32,
    ) -> Result<(), LogError> {
        let Environment { disk, clock, .. } = Environment::system();
        let limits = Limits::default();
        let dir = dir.as_ref();
        Appender::open::<T>(dir, &disk, &clock, Some(partitions), limits).map(drop)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.manifest.partitions
    }

    /// The committed end of a partition: the offset of the next record.
    ///
    /// # Errors
    /// If the file with the ends cannot be read.
    ///
    /// # Panics
    /// If the log has no such partition.
    pub fn end(&self, partition: u32) -> Result<u64, LogError> {
        Ok(self.manifest.ends(&self.home)?[partition as usize])
    }

    /// The offset of the earliest record of a partition; its end if it has none.
    ///
    /// # Errors
    /// If the partition cannot be listed.
    ///
    /// # Panics
    /// If the log has no such partition.
    pub fn earliest(&self, partition: u32) -> Result<u64, LogError> {
        let end = self.end(partition)?;
        let dir = self.home.partition(partition);
        partition::earliest(&*self.home.disk, &dir, end)
    }

    /// How many records a consumer has not read. One that has never stored an offset has read none.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn lag(&self, consumer: &str) -> Result<Lag, LogError> {
        let partitions = self.manifest.partitions;
        let stored = consumer::stored(&self.home, consumer, partitions as usize)?;
        let ends = self.manifest.ends(&self.home)?;
        let mut lag = Vec::new();
        for (partition, end) in (0..partitions).zip(ends) {
            let dir = self.home.partition(partition);
            let earliest = partition::earliest(&*self.home.disk, &dir, end)?;
            let next = stored.as_ref().map(|stored| stored[partition as usize]);
            lag.push(PartitionLag {
                partition,
                next,
                end,
                records: end.saturating_sub(next.unwrap_or(0).max(earliest)),
                lost: earliest.saturating_sub(next.unwrap_or(earliest)),
            });
        }
        Ok(Lag { partitions: lag })
    }
}

/// How far a consumer is behind the end of a log.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Lag {
    /// By partition.
    pub partitions: Vec<PartitionLag>,
}

/// How far a consumer is behind the end of a partition.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PartitionLag {
    /// The partition.
    pub partition: u32,
    /// The offset of the record that it reads next, if it has stored one.
    pub next: Option<u64>,
    /// The committed end.
    pub end: u64,
    /// Records that it can still read.
    pub records: u64,
    /// Records that were removed before it read them.
    pub lost: u64,
}

impl Lag {
    /// The records of all partitions that it can still read.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|lag| lag.records).sum()
    }
}

//! The right to append to a log, shared by the subtasks of a sink.

use std::path::Path;
use std::sync::Arc;

use levada_core::Clock;
use levada_core::disk::{Disk, Lock};
use levada_core::sync::Mutex;
use serde::de::DeserializeOwned;

use crate::directory;
use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::manifest::Manifest;
use crate::log::offsets::{self, Kind};
use crate::log::partition::{Limits, Partition};

/// Appends to a log. There is one for each log, on all the machine: it holds the lock.
pub(super) struct Appender {
    home: Home,
    clock: Arc<dyn Clock>,
    limits: Limits,
    partitions: Vec<Mutex<Partition>>,
    published: Mutex<Published>,
    _lock: Box<dyn Lock>,
}

/// The partitions of a log for which nobody asked for a number.
const PARTITIONS_DEFAULT: u32 = 4;

/// What readers see.
struct Published {
    ends: Vec<u64>,
    /// Whether ends could not be published: nobody knows then which of them a reader will see after a crash.
    failed: bool,
}

/// The offset behind the last record that was made safe, by partition.
pub(super) type Ends = Vec<(u32, u64)>;

impl Appender {
    /// Opens a log for appending, and makes it with `partitions` partitions if there is none. A log that is there must have
    /// as many, if `partitions` was asked for.
    pub(super) fn open<T: DeserializeOwned>(
        dir: &Path,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        partitions: Option<u32>,
        limits: Limits,
    ) -> Result<Self, LogError> {
        let home = Home::new(dir, disk);
        directory::create(&**disk, dir).map_err(LogError::file("create", dir))?;
        if Manifest::read(&home)?.is_none() {
            refuse_foreign(&home)?;
        }
        let lock = disk
            .lock(&home.lock())
            .map_err(LogError::file("lock", &home.lock()))?;
        let lock = lock.ok_or_else(|| LogError::Locked {
            dir: dir.to_owned(),
        })?;
        // Read behind the lock: another process may have made the log since.
        let manifest = match Manifest::read(&home)? {
            Some(manifest) => manifest,
            None => {
                let manifest = Manifest::of::<T>(partitions.unwrap_or(PARTITIONS_DEFAULT));
                manifest.create(&home)?;
                manifest
            }
        };
        if let Some(partitions) = partitions
            && partitions != manifest.partitions
        {
            return Err(LogError::Partitions {
                path: dir.to_owned(),
                found: manifest.partitions as usize,
                expected: partitions as usize,
            });
        }
        manifest.expect::<T>(&home)?;
        let ends = manifest.ends(&home)?;
        let mut partitions = Vec::new();
        for (index, end) in (0..).zip(&ends) {
            let dir = home.partition(index);
            let partition = Partition::open(disk, dir, index, *end)?;
            partitions.push(Mutex::new(partition));
        }
        let appender = Self {
            home,
            clock: Arc::clone(clock),
            limits,
            partitions,
            published: Mutex::new(Published {
                ends,
                failed: false,
            }),
            _lock: lock,
        };
        appender.retain();
        Ok(appender)
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("the manifest has a u32 of partitions")
    }

    /// Appends whole frames to a partition.
    pub(super) fn append(
        &self,
        partition: u32,
        frames: &[u8],
        records: u64,
    ) -> Result<(), LogError> {
        let now = self.clock.wall();
        let mut partition = self.partitions[partition as usize].lock();
        partition.append(frames, records, &self.limits, now)
    }

    /// Makes what was appended to these partitions safe.
    pub(super) fn sync(&self, partitions: impl Iterator<Item = u32>) -> Result<Ends, LogError> {
        partitions
            .map(|index| {
                let mut partition = self.partitions[index as usize].lock();
                partition.sync()?;
                Ok((index, partition.synced()))
            })
            .collect()
    }

    /// Makes what was prepared visible. The first subtask that commits does it for all of them, in one step: every one has
    /// prepared by then. The others find it done.
    pub(super) fn commit(&self, prepared: &Ends) -> Result<(), LogError> {
        let mut published = self.published.lock();
        if published.failed {
            return Err(LogError::Distrusted {
                path: self.home.dir.clone(),
            });
        }
        let mut ends = published.ends.clone();
        for (end, partition) in ends.iter_mut().zip(&self.partitions) {
            *end = (*end).max(partition.lock().synced());
        }
        for (index, prepared) in prepared {
            self.partitions[*index as usize].lock().expect(*prepared)?;
            let end = &mut ends[*index as usize];
            *end = (*end).max(*prepared);
        }
        if ends == published.ends {
            return Ok(());
        }
        let written = offsets::write(&*self.home.disk, &self.home.ends(), Kind::Ends, &ends);
        if let Err(error) = written {
            published.failed = true;
            return Err(error);
        }
        for (end, partition) in ends.iter().zip(&self.partitions) {
            partition.lock().committed(*end)?;
        }
        published.ends = ends;
        self.retain();
        Ok(())
    }

    /// Gives up what was appended and not committed.
    pub(super) fn give_up(&self) -> Result<(), LogError> {
        let mut result = Ok(());
        for partition in &self.partitions {
            let given_up = partition.lock().give_up();
            result = result.and(given_up);
        }
        result
    }

    /// Removes old segments. Output that is committed is not called off because an old file could not be removed.
    fn retain(&self) {
        let now = self.clock.wall();
        for partition in &self.partitions {
            if let Err(error) = partition.lock().retain(&self.limits, now) {
                tracing::warn!("old segments stay: {error}");
            }
        }
    }
}

/// A directory that holds something else is not made a log.
fn refuse_foreign(home: &Home) -> Result<(), LogError> {
    let found = home.disk.list(&home.dir);
    let found = found.map_err(LogError::file("list", &home.dir))?;
    let foreign = found.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !Home::is_ours(&name)
    });
    match foreign {
        Some(found) => Err(LogError::Foreign {
            dir: home.dir.clone(),
            found,
        }),
        None => Ok(()),
    }
}

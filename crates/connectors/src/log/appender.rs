//! The right to append to a log, shared by the subtasks of a sink.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use levada_core::Clock;
use levada_core::disk::{Disk, Lock};
use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_core::sync::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;

use crate::directory;
use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::manifest::Manifest;
use crate::log::offsets::Committed;
use crate::log::partition::{Limits, Partition};
use crate::log::staged::{self, Epoch, Staged};

/// Appends to a log. There is one for each log, on all the machine: it holds the lock.
pub(super) struct Appender {
    home: Home,
    clock: Arc<dyn Clock>,
    limits: Limits,
    partitions: Vec<Mutex<Partition>>,
    published: Mutex<Published>,
    /// Whether something has been prepared: it may belong to a checkpoint that is complete.
    has_prepared: AtomicBool,
    _lock: Box<dyn Lock>,
}

/// The partitions of a log for which nobody asked for a number.
const PARTITIONS_DEFAULT: u32 = 4;

/// What readers see.
struct Published {
    committed: Committed,
    /// Runs whose copied epochs are remembered: those that the job goes on from, and its own.
    runs: BTreeSet<String>,
    /// Whether ends could not be published: nobody knows then which of them a reader will see after a crash.
    failed: bool,
    /// Whether the job has failed: what is appended now is dropped.
    given_up: bool,
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
        let committed = manifest.committed(&home)?;
        let mut partitions = Vec::new();
        for (index, end) in (0..).zip(&committed.ends) {
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
                committed,
                runs: BTreeSet::new(),
                failed: false,
                given_up: false,
            }),
            has_prepared: AtomicBool::new(false),
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
        // Before anything is prepared, so that nobody cuts it off.
        self.has_prepared.store(true, Ordering::Release);
        partitions
            .map(|index| {
                let mut partition = self.partitions[index as usize].lock();
                partition.sync()?;
                Ok((index, partition.synced()))
            })
            .collect()
    }

    /// Where the log lies.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// Makes what was prepared in partitions visible. The first subtask that commits does it for all of them, in one step:
    /// every one has prepared by then. The others find it done.
    pub(super) fn commit(&self, prepared: &Ends) -> Result<(), LogError> {
        let mut published = self.trusted()?;
        for (index, prepared) in prepared {
            self.partitions[*index as usize].lock().expect(*prepared)?;
        }
        let mut committed = published.committed.clone();
        for (index, prepared) in prepared {
            let end = &mut committed.ends[*index as usize];
            *end = (*end).max(*prepared);
        }
        self.publish(&mut published, committed)
    }

    /// Makes epochs visible that wait beside the log, in this order and in one step. Those that are in it stay as they are.
    pub(super) fn commit_staged(&self, epochs: &[Staged]) -> Result<(), LogError> {
        let mut published = self.trusted()?;
        if published.given_up {
            // Whoever goes on from the checkpoint commits it.
            return Err(LogError::Distrusted {
                path: self.home.dir.clone(),
            });
        }
        let mut committed = published.committed.clone();
        // What has been appended in part must not become visible with what others commit.
        published.failed = true;
        let copied = self.copy(epochs, &mut published.runs, &mut committed);
        copied?;
        published.failed = false;
        self.publish(&mut published, committed)?;
        drop(published);
        for staged in epochs {
            staged::remove(&self.home, &staged.epoch.path(&self.home))?;
        }
        Ok(())
    }

    fn copy(
        &self,
        epochs: &[Staged],
        runs: &mut BTreeSet<String>,
        committed: &mut Committed,
    ) -> Result<(), LogError> {
        for staged in epochs {
            let epoch = &staged.epoch;
            runs.insert(epoch.run.clone());
            if committed.holds(epoch) {
                continue;
            }
            let unknown = |partition: u32| LogError::Unreadable {
                path: epoch.path(&self.home),
                why: format!("it has records of partition {partition}, and the log has none"),
            };
            staged.copy(&self.home, |partition, frames, records| {
                if partition >= self.partitions() {
                    return Err(unknown(partition));
                }
                self.append(partition, frames, records)
            })?;
            let is_other =
                |copied: &Epoch| copied.run != epoch.run || copied.subtask != epoch.subtask;
            committed.copied.retain(is_other);
            committed.copied.push(epoch.clone());
        }
        for partition in &self.partitions {
            partition.lock().sync()?;
        }
        committed.copied.retain(|copied| runs.contains(&copied.run));
        Ok(())
    }

    fn trusted(&self) -> Result<MutexGuard<'_, Published>, LogError> {
        let published = self.published.lock();
        if published.failed {
            return Err(LogError::Distrusted {
                path: self.home.dir.clone(),
            });
        }
        Ok(published)
    }

    /// Replaces what readers see.
    fn publish(&self, published: &mut Published, mut committed: Committed) -> Result<(), LogError> {
        for (end, partition) in committed.ends.iter_mut().zip(&self.partitions) {
            *end = (*end).max(partition.lock().synced());
        }
        if committed == published.committed {
            return Ok(());
        }
        if let Err(error) = committed.write(&*self.home.disk, &self.home.ends()) {
            published.failed = true;
            return Err(error);
        }
        for (end, partition) in committed.ends.iter().zip(&self.partitions) {
            partition.lock().committed(*end)?;
        }
        published.committed = committed;
        self.retain();
        Ok(())
    }

    /// Gives up what was appended. It is cut off, unless something was prepared: that may belong to a checkpoint that is
    /// complete, and whoever goes on from there commits it. Whoever does not cuts it off when he appends.
    pub(super) fn give_up(&self) -> Result<(), LogError> {
        self.published.lock().given_up = true;
        let cuts = !self.has_prepared.load(Ordering::Acquire);
        let mut result = Ok(());
        for partition in &self.partitions {
            let given_up = partition.lock().give_up(cuts);
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

//! What a log is: written once, when it is made.

use std::any::type_name;

use levada_core::codec::CODEC;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::directory;
use crate::log::error::LogError;
use crate::log::home::Home;
use crate::log::offsets::{self, Committed, Kind};
use crate::log::publish;
use crate::log::shape::shape_of;

/// The most partitions of a log: their names have four digits.
pub(super) const PARTITIONS_MAX: u32 = 10_000;

const MAGIC: &str = "levada log";
const VERSION: u16 = 1;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    magic: String,
    version: u16,
    codec: u16,
    pub(super) partitions: u32,
    /// What the records look like.
    fields: String,
    /// The type of whoever made the log, for people to read.
    pub(super) record_type: String,
}

impl Manifest {
    pub(super) fn of<T: DeserializeOwned>(partitions: u32) -> Self {
        Self {
            magic: MAGIC.to_owned(),
            version: VERSION,
            codec: CODEC,
            partitions,
            fields: shape_of::<T>(),
            record_type: type_name::<T>().to_owned(),
        }
    }

    /// Reads the manifest of a log; none if there is no log.
    pub(super) fn read(home: &Home) -> Result<Option<Self>, LogError> {
        let path = home.manifest();
        let Some(bytes) = publish::read(&*home.disk, &path)? else {
            return Ok(None);
        };
        let version = |what, found, expected| LogError::Version {
            path: path.clone(),
            what,
            found,
            expected,
        };
        let unreadable = |why| LogError::Unreadable {
            path: path.clone(),
            why,
        };
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if manifest.magic != MAGIC {
            return Err(unreadable(format!("its magic is `{}`", manifest.magic)));
        }
        if manifest.version != VERSION {
            return Err(version("version", manifest.version, VERSION));
        }
        if manifest.codec != CODEC {
            return Err(version("codec", manifest.codec, CODEC));
        }
        if !(1..=PARTITIONS_MAX).contains(&manifest.partitions) {
            return Err(unreadable(format!(
                "it has {} partitions",
                manifest.partitions
            )));
        }
        Ok(Some(manifest))
    }

    /// Reads the manifest of a log that must be there.
    pub(super) fn of_existing(home: &Home) -> Result<Self, LogError> {
        Self::read(home)?.ok_or_else(|| LogError::NoLog {
            dir: home.dir.clone(),
        })
    }

    /// Makes an empty log. Only for whoever holds its lock. The manifest comes last: a log that has one is complete.
    pub(super) fn create(&self, home: &Home) -> Result<(), LogError> {
        let disk = &*home.disk;
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(LogError::BadPartitions {
                asked: self.partitions,
                max: PARTITIONS_MAX,
            });
        }
        for index in 0..self.partitions {
            let dir = home.partition(index);
            disk.create_dir_all(&dir)
                .map_err(LogError::file("create", &dir))?;
        }
        let dir = home.consumers();
        disk.create_dir_all(&dir)
            .map_err(LogError::file("create", &dir))?;
        let ends = vec![0; self.partitions as usize];
        offsets::write(disk, &home.ends(), Kind::Ends, &ends)?;
        let mut bytes = serde_json::to_vec_pretty(self).expect("numbers and text can be JSON");
        bytes.push(b'\n');
        publish::publish(disk, &home.manifest(), &bytes)?;
        // The directory's own name.
        directory::sync_name(disk, &home.dir).map_err(LogError::file("sync", &home.dir))
    }

    /// Whether records of this type may be in the log.
    pub(super) fn expect<T: DeserializeOwned>(&self, home: &Home) -> Result<(), LogError> {
        let expected = shape_of::<T>();
        if self.fields == expected {
            return Ok(());
        }
        Err(LogError::Fields {
            dir: home.dir.clone(),
            found: self.fields.clone(),
            written_as: self.record_type.clone(),
            expected,
            asked_as: type_name::<T>(),
        })
    }

    /// The committed ends of the partitions.
    pub(super) fn ends(&self, home: &Home) -> Result<Vec<u64>, LogError> {
        Ok(self.committed(home)?.ends)
    }

    /// What has been committed.
    pub(super) fn committed(&self, home: &Home) -> Result<Committed, LogError> {
        let path = home.ends();
        let committed = Committed::read(&*home.disk, &path, self.partitions as usize)?;
        committed.ok_or_else(|| LogError::Unreadable {
            path,
            why: "it is not there, and every log has one".to_owned(),
        })
    }
}

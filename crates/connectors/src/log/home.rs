//! Where everything of a log lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::disk::Disk;

use crate::log::error::LogError;

/// The directory of a log, on its disk.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
}

/// The names of files in the directory of a log.
pub(super) const MANIFEST: &str = "log.json";
pub(super) const ENDS: &str = "ends.json";
pub(super) const LOCK: &str = "lock";
const CONSUMERS: &str = "consumers";
const STAGED: &str = "staged";

/// The longest name of a consumer: file systems have a limit of some 255 bytes.
const CONSUMER_BYTES_MAX: usize = 100;

impl Home {
    pub(super) fn new(dir: &Path, disk: &Arc<dyn Disk>) -> Self {
        Self {
            dir: dir.to_owned(),
            disk: Arc::clone(disk),
        }
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.dir.join(MANIFEST)
    }

    pub(super) fn ends(&self) -> PathBuf {
        self.dir.join(ENDS)
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join(LOCK)
    }

    pub(super) fn partition(&self, index: u32) -> PathBuf {
        self.dir.join(format!("{index:04}"))
    }

    pub(super) fn staged(&self) -> PathBuf {
        self.dir.join(STAGED)
    }

    pub(super) fn consumers(&self) -> PathBuf {
        self.dir.join(CONSUMERS)
    }

    /// The file of a consumer, whose name becomes the name of the file.
    pub(super) fn consumer(&self, name: &str) -> Result<PathBuf, LogError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=CONSUMER_BYTES_MAX).contains(&name.len());
        if !fits || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(LogError::BadConsumer {
                consumer: name.to_owned(),
            });
        }
        Ok(self.consumers().join(format!("{name}.json")))
    }

    /// Whether a name in the directory may be left from a log that was not made to its end.
    pub(super) fn is_ours(name: &str) -> bool {
        let is_partition = name.len() == 4 && name.bytes().all(|byte| byte.is_ascii_digit());
        let is_temporary = name.starts_with('.') && name.ends_with(".tmp");
        is_partition || is_temporary || [MANIFEST, ENDS, LOCK, CONSUMERS, STAGED].contains(&name)
    }
}

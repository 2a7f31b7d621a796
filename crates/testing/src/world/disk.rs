//! A disk in memory, which can be full.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::disk::{Append, Disk, Metadata, ReadAt};
use levada_core::sync::Mutex;

/// Files in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<PathBuf, Vec<u8>>,
    dirs: BTreeSet<PathBuf>,
    /// Bytes that may still be written; no limit if none.
    free: Option<usize>,
    read_only: BTreeSet<PathBuf>,
}

impl MemoryDisk {
    /// Puts a file there, with the directories above it.
    pub fn put(&self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) {
        let path = path.as_ref();
        let mut inner = self.inner.lock();
        if let Some(dir) = path.parent() {
            inner.create_dirs(dir);
        }
        inner.files.insert(path.to_owned(), content.into());
    }

    /// The content of a file.
    #[must_use]
    pub fn get(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.inner.lock().files.get(path.as_ref()).cloned()
    }

    /// The paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.inner.lock().files.keys().cloned().collect()
    }

    /// Nothing can be created in this directory.
    pub fn forbid(&self, dir: impl Into<PathBuf>) {
        self.inner.lock().read_only.insert(dir.into());
    }

    /// Writing fails once so many more bytes have been written.
    pub fn fill_after(&self, bytes: usize) {
        self.inner.lock().free = Some(bytes);
    }
}

impl Inner {
    fn create_dirs(&mut self, dir: &Path) {
        self.dirs.extend(dir.ancestors().map(Path::to_owned));
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.dirs.contains(path)
    }

    /// A directory in which something is to be created.
    fn writable_parent(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or_else(|| Path::new(""));
        if !self.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.read_only.contains(dir) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let inner = self.inner.lock();
        match inner.files.contains_key(path) {
            true => Ok(Box::new(self.file(path))),
            false if inner.is_dir(path) => Err(io::ErrorKind::IsADirectory.into()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        let mut inner = self.inner.lock();
        inner.writable_parent(path)?;
        if inner.files.contains_key(path) || inner.is_dir(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.files.insert(path.to_owned(), Vec::new());
        Ok(Box::new(self.file(path)))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let inner = self.inner.lock();
        if let Some(content) = inner.files.get(path) {
            return Ok(Metadata {
                len: content.len() as u64,
                is_dir: false,
            });
        }
        if inner.is_dir(path) {
            return Ok(Metadata {
                len: 0,
                is_dir: true,
            });
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner.lock();
        if !inner.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = inner.files.keys().chain(&inner.dirs);
        let mut paths: Vec<_> = paths
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.is_dir(dir) {
            return Ok(());
        }
        let existing = dir.ancestors().skip(1).find(|above| inner.is_dir(above));
        if existing.is_some_and(|above| inner.read_only.contains(above)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if dir.ancestors().any(|above| inner.files.contains_key(above)) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        inner.create_dirs(dir);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.writable_parent(to)?;
        let content = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.inner.lock().files.remove(path);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.metadata(dir).map(drop)
    }
}

impl MemoryDisk {
    fn file(&self, path: &Path) -> MemoryFile {
        MemoryFile {
            path: path.to_owned(),
            inner: Arc::clone(&self.inner),
        }
    }
}

struct MemoryFile {
    path: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

impl ReadAt for MemoryFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.inner.lock();
        let content = inner.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let begin = usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
        let len = buffer.len().min(content.len() - begin);
        buffer[..len].copy_from_slice(&content[begin..begin + len]);
        Ok(len)
    }
}

impl Append for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let fits = inner.free.map_or(bytes.len(), |free| free.min(bytes.len()));
        if let Some(free) = &mut inner.free {
            *free -= fits;
        }
        let content = inner
            .files
            .get_mut(&self.path)
            .ok_or(io::ErrorKind::NotFound)?;
        // A disk that runs full has taken a part, as the real one does.
        content.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

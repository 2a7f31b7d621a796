//! A disk in memory, which can be full, lose its power, and fail to sync.
//!
//! It distinguishes what was written from what was synced: [`MemoryDisk::crash`] keeps what was synced, and of the rest as
//! much as it likes. Directories and links are durable once they are made.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::disk::{Append, Disk, Kind, Lock, Metadata, ReadAt};
use levada_core::random::SplitMix64;
use levada_core::sync::Mutex;

/// Files in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<PathBuf, Node>,
    /// The names as of the last sync of each directory.
    durable: BTreeMap<PathBuf, Node>,
    /// Files that were renamed since their directories were synced: from where, and to where.
    renamed: Vec<(PathBuf, PathBuf)>,
    dirs: BTreeSet<PathBuf>,
    /// Where each link leads.
    links: BTreeMap<PathBuf, PathBuf>,
    /// Bytes that may still be written; no limit if none.
    free: Option<usize>,
    /// Changes until the power fails; it does not if none.
    power: Option<u64>,
    /// Syncs that still work; all do if none.
    syncs: Option<u64>,
    read_only: BTreeSet<PathBuf>,
    locked: BTreeMap<PathBuf, Arc<()>>,
}

/// A file, whatever its name is: one that is removed lives on for whoever has it open.
type Node = Arc<Mutex<Content>>;

#[derive(Clone, Debug, Default)]
struct Content {
    written: Vec<u8>,
    /// What it held at its last sync.
    synced: Vec<u8>,
}

impl MemoryDisk {
    /// Puts a file there, with the directories above it.
    pub fn put(&self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) {
        let path = path.as_ref();
        let mut inner = self.inner.lock();
        if let Some(dir) = path.parent() {
            inner.create_dirs(dir);
        }
        let written: Vec<u8> = content.into();
        let node = Arc::new(Mutex::new(Content {
            synced: written.clone(),
            written,
        }));
        inner.durable.insert(path.to_owned(), Arc::clone(&node));
        inner.files.insert(path.to_owned(), node);
    }

    /// Puts a symbolic link there, to a file or directory that need not exist.
    pub fn link(&self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) {
        self.inner.lock().links.insert(path.into(), target.into());
    }

    /// Takes away a directory with all that is in it.
    pub fn remove_dir(&self, dir: impl AsRef<Path>) {
        let mut inner = self.inner.lock();
        inner.files.retain(|path, _| !path.starts_with(&dir));
        inner.dirs.retain(|path| !path.starts_with(&dir));
        inner.links.retain(|path, _| !path.starts_with(&dir));
    }

    /// The content of a file.
    #[must_use]
    pub fn get(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        let node = inner.files.get(path.as_ref())?;
        let written = node.lock().written.clone();
        Some(written)
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

    /// The power fails after so many more changes: nothing can be changed until the [`crash`](Self::crash) is over.
    pub fn power_off_after(&self, changes: u64) {
        self.inner.lock().power = Some(changes);
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.inner.lock().power == Some(0)
    }

    /// There is room again, and syncs work.
    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.free = None;
        inner.syncs = None;
    }

    /// Syncs of files and directories fail after so many more of them.
    pub fn fail_syncs_after(&self, syncs: u64) {
        self.inner.lock().syncs = Some(syncs);
    }

    /// What a machine finds that comes up after it lost its power: all that was synced; of what was written since then any
    /// beginning, perhaps with zeros behind it; of the names that were made, changed or removed since then any, and of each
    /// rename all or nothing. Nobody holds a lock, and files that were open before write to nowhere.
    pub fn crash(&self, seed: u64) {
        let mut random = SplitMix64::new(seed);
        let mut inner = self.inner.lock();
        let names: BTreeSet<_> = inner.files.keys().chain(inner.durable.keys()).collect();
        let mut left = BTreeMap::new();
        let mut renames = BTreeMap::new();
        for (from, to) in &inner.renamed {
            let known = renames.get(from).or_else(|| renames.get(to)).copied();
            let is_new = known.unwrap_or_else(|| random.below(2) == 1);
            renames.extend([(from, is_new), (to, is_new)]);
        }
        for path in names {
            let is_new = renames.get(path).copied();
            let found = if is_new.unwrap_or_else(|| random.below(2) == 1) {
                inner.files.get(path)
            } else {
                inner.durable.get(path)
            };
            if let Some(node) = found {
                let survived = node.lock().survive(&mut random);
                left.insert(path.clone(), Arc::new(Mutex::new(survived)));
            }
        }
        inner.durable = left.clone();
        inner.files = left;
        inner.renamed.clear();
        inner.locked.clear();
        inner.power = None;
        inner.syncs = None;
    }
}

impl Content {
    /// What of it a crash leaves.
    fn survive(&self, random: &mut SplitMix64) -> Self {
        let pairs = self.synced.iter().zip(&self.written);
        let unchanged = pairs
            .take_while(|(synced, written)| synced == written)
            .count();
        let more = (self.written.len() - unchanged) as u64;
        let kept = unchanged + random.below(more + 1) as usize;
        let mut left = self.written[..kept].to_vec();
        match random.below(3) {
            0 => left.clone_from(&self.synced),
            1 => left.resize(self.written.len(), 0),
            _ => {}
        }
        Self {
            written: left.clone(),
            synced: left,
        }
    }
}

impl Inner {
    fn create_dirs(&mut self, dir: &Path) {
        self.dirs.extend(dir.ancestors().map(Path::to_owned));
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.dirs.contains(path)
    }

    /// Where a path leads, if it is a link.
    fn follow<'a>(&'a self, path: &'a Path) -> &'a Path {
        self.links.get(path).map_or(path, PathBuf::as_path)
    }

    /// Before something is changed.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(changes) => {
                *changes -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Before something is synced.
    fn sync(&mut self) -> io::Result<()> {
        self.change()?;
        match &mut self.syncs {
            Some(0) => Err(io::Error::other("the device has failed")),
            Some(syncs) => {
                *syncs -= 1;
                Ok(())
            }
            None => Ok(()),
        }
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
        let path = inner.follow(path);
        match inner.files.get(path) {
            Some(node) => Ok(Box::new(self.file(node))),
            None if inner.is_dir(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        let mut inner = self.inner.lock();
        inner.writable_parent(path)?;
        let taken = inner.files.contains_key(path) || inner.links.contains_key(path);
        if taken || inner.is_dir(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.change()?;
        let node = Node::default();
        inner.files.insert(path.to_owned(), Arc::clone(&node));
        Ok(Box::new(self.file(&node)))
    }

    fn reopen(&self, path: &Path, len: u64) -> io::Result<Box<dyn Append>> {
        let mut inner = self.inner.lock();
        inner.writable_parent(path)?;
        inner.change()?;
        let node = inner.files.get(inner.follow(path));
        let node = node.ok_or(io::ErrorKind::NotFound)?;
        let mut content = node.lock();
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if content.written.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.written.truncate(len);
        drop(content);
        Ok(Box::new(self.file(node)))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut inner = self.inner.lock();
        inner.writable_parent(path)?;
        if inner.locked.contains_key(path) {
            return Ok(None);
        }
        let token = Arc::new(());
        inner.files.entry(path.to_owned()).or_default();
        inner.locked.insert(path.to_owned(), Arc::clone(&token));
        Ok(Some(Box::new(MemoryLock {
            path: path.to_owned(),
            token,
            inner: Arc::clone(&self.inner),
        })))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let inner = self.inner.lock();
        let path = inner.follow(path);
        if let Some(content) = inner.files.get(path) {
            return Ok(Metadata {
                len: content.lock().written.len() as u64,
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

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let inner = self.inner.lock();
        if inner.links.contains_key(path) {
            Ok(Kind::Link)
        } else if inner.files.contains_key(path) {
            Ok(Kind::File)
        } else if inner.is_dir(path) {
            Ok(Kind::Directory)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner.lock();
        if !inner.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = inner.files.keys().chain(&inner.dirs);
        let paths = paths.chain(inner.links.keys());
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
        inner.change()?;
        inner.create_dirs(dir);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.writable_parent(to)?;
        inner.change()?;
        let content = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.links.remove(to);
        inner.files.insert(to.to_owned(), content);
        inner.renamed.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.change()?;
        if inner.links.remove(path).is_some() {
            return Ok(());
        }
        inner
            .files
            .remove(path)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.metadata(dir)?;
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.sync()?;
        inner
            .durable
            .retain(|path, _| path.parent() != Some(dir) || inner.files.contains_key(path));
        let names = inner.files.iter();
        let names = names.filter(|(path, _)| path.parent() == Some(dir));
        let names = names.map(|(path, node)| (path.clone(), Arc::clone(node)));
        inner.durable.extend(names);
        inner.renamed.retain(|(_, to)| to.parent() != Some(dir));
        Ok(())
    }
}

impl MemoryDisk {
    fn file(&self, node: &Node) -> MemoryFile {
        MemoryFile {
            node: Arc::clone(node),
            inner: Arc::clone(&self.inner),
        }
    }
}

struct MemoryLock {
    path: PathBuf,
    token: Arc<()>,
    inner: Arc<Mutex<Inner>>,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut inner = self.inner.lock();
        // After a crash the lock may be somebody else's.
        let held = inner.locked.get(&self.path);
        if held.is_some_and(|token| Arc::ptr_eq(token, &self.token)) {
            inner.locked.remove(&self.path);
        }
    }
}

struct MemoryFile {
    node: Node,
    inner: Arc<Mutex<Inner>>,
}

impl ReadAt for MemoryFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = &self.node.lock().written;
        let begin = usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
        let len = buffer.len().min(content.len() - begin);
        buffer[..len].copy_from_slice(&content[begin..begin + len]);
        Ok(len)
    }
}

impl Append for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.change()?;
        let fits = inner.free.map_or(bytes.len(), |free| free.min(bytes.len()));
        if let Some(free) = &mut inner.free {
            *free -= fits;
        }
        // A disk that runs full has taken a part, as the real one does.
        self.node.lock().written.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.lock().sync()?;
        let mut content = self.node.lock();
        content.synced = content.written.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_but_for_what_stands_under_its_name() {
        let disk = MemoryDisk::default();
        disk.put("/dir/file", "content");
        disk.link("/dir/link", "/dir/file");
        disk.link("/dir/broken", "/nowhere");
        let kind = |path: &str| disk.kind(Path::new(path)).unwrap();
        assert_eq!(kind("/dir"), Kind::Directory);
        assert_eq!(kind("/dir/file"), Kind::File);
        assert_eq!(kind("/dir/link"), Kind::Link);
        assert_eq!(kind("/dir/broken"), Kind::Link);
        assert!(disk.kind(Path::new("/dir/none")).is_err());
        assert_eq!(disk.list(Path::new("/dir")).unwrap().len(), 3);

        assert_eq!(disk.metadata(Path::new("/dir/link")).unwrap().len, 7);
        assert!(disk.open(Path::new("/dir/broken")).is_err());
        assert!(disk.create_new(Path::new("/dir/broken")).is_err());
        disk.remove(Path::new("/dir/link")).unwrap();
        assert_eq!(disk.get("/dir/file").unwrap(), b"content");
    }
}

//! Files as the engine sees them: few operations, each with the failure that matters.

use std::io;
use std::path::{Path, PathBuf};

/// What is known about a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// Length of a file in bytes.
    pub len: u64,
    /// Whether the path is a directory.
    pub is_dir: bool,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, wherever it leads.
    Link,
    /// A socket, a pipe, a device.
    Other,
}

/// The file system (invariant: nothing else in the engine touches files).
pub trait Disk: Send + Sync {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;

    /// Creates a file for writing; fails if the path exists.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn Append>>;

    /// Opens an existing file for writing behind its first `len` bytes; what lies behind them is cut off.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::UnexpectedEof`] if the file is shorter.
    fn reopen(&self, path: &Path, len: u64) -> io::Result<Box<dyn Append>>;

    /// Takes the lock of a path, which is made if it does not exist: none if somebody has it, in this process or another.
    /// It is given back when it is dropped, or with the end of the process; the file stays.
    ///
    /// # Errors
    /// What the operating system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// Length and kind of a path, links followed.
    ///
    /// # Errors
    /// What the operating system says.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// What stands under a name itself, links not followed: what is removed or replaced there is that.
    ///
    /// # Errors
    /// What the operating system says.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// The paths in a directory, sorted by name so that every run sees them in one order.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Creates a directory and its parents; an existing one is fine.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file, replacing the target.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the operating system says; names created or renamed before may then be lost in a crash.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A lock, while it is held.
pub trait Lock: Send + Sync {}

/// A file open for reading.
pub trait ReadAt: Send {
    /// Reads at `offset` into `buffer`; returns how many bytes came, zero at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A file open for appending.
pub trait Append: Send {
    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// What the operating system says; the file then ends anywhere within `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// What the operating system says. A file whose sync failed is never trusted again: the pages may be marked clean
    /// although they were not written ("Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    fn sync(&mut self) -> io::Result<()>;
}

/// Makes a directory and those above it that are missing, and makes their names durable: what is synced in a directory is
/// lost all the same if the directory is.
///
/// # Errors
/// What the operating system says.
pub fn create_durable_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && disk.metadata(dir).is_err();
    let missing: Vec<_> = dir.ancestors().take_while(is_missing).collect();
    disk.create_dir_all(dir)?;
    missing.iter().try_for_each(|made| sync_name(disk, made))
}

/// Makes the name of a directory durable.
///
/// # Errors
/// What the operating system says.
pub fn sync_name(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let above = match dir.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    match disk.metadata(above) {
        Ok(metadata) if metadata.is_dir => disk.sync_dir(above),
        // A disk in memory has no directory of the program.
        _ => Ok(()),
    }
}

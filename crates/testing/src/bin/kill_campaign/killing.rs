//! A disk that kills its own process at a point.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use levada_core::disk::{Append, Disk, Kind, Lock, Metadata, ReadAt};
use rustix::process::{Signal, getpid, kill_process};

use crate::point::{KillAt, Moment, Point, on_dir, on_file};

/// The disk of a process that is to die at a point.
pub(crate) struct KillingDisk {
    disk: Arc<dyn Disk>,
    fuse: Arc<Fuse>,
}

struct Fuse {
    point: Point,
    /// How often the operation is done until it kills.
    left: AtomicU64,
}

impl KillingDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>, at: KillAt) -> Self {
        let fuse = Fuse {
            point: at.point,
            left: AtomicU64::new(at.occurrence),
        };
        Self {
            disk,
            fuse: Arc::new(fuse),
        }
    }
}

impl Fuse {
    /// Whether this is the operation in which the process dies.
    fn burns(&self, operation: Option<&'static str>) -> bool {
        // The one who counts to zero is one; later ones wrap around and are never there again.
        operation == Some(self.point.operation) && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Does an operation, and dies if it is the one.
    fn around<T>(
        &self,
        operation: Option<&'static str>,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let burns = self.burns(operation);
        if burns && self.point.moment == Moment::Before {
            die();
        }
        let done = act();
        if burns {
            die();
        }
        done
    }
}

/// Ends the process as a kill from outside does: nothing is dropped, flushed or told.
fn die() -> ! {
    let killed = kill_process(getpid(), Signal::KILL);
    killed.expect("a process may kill itself");
    loop {
        thread::park();
    }
}

impl Disk for KillingDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        self.disk.open(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        let operation = on_file("create", path);
        let file = self.fuse.around(operation, || self.disk.create_new(path))?;
        Ok(Box::new(KillingFile {
            file,
            path: path.to_owned(),
            fuse: Arc::clone(&self.fuse),
        }))
    }

    fn reopen(&self, path: &Path, len: u64) -> io::Result<Box<dyn Append>> {
        self.disk.reopen(path, len)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.disk.metadata(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.disk.kind(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let operation = on_file("rename", to);
        self.fuse.around(operation, || self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let operation = on_file("remove", path);
        self.fuse.around(operation, || self.disk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fuse.around(on_dir(dir), || self.disk.sync_dir(dir))
    }
}

struct KillingFile {
    file: Box<dyn Append>,
    path: PathBuf,
    fuse: Arc<Fuse>,
}

impl Append for KillingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let first = match self.fuse.point.moment {
            Moment::Within => bytes.len() / 2,
            _ => bytes.len(),
        };
        let (first, rest) = bytes.split_at(first);
        let file = &mut self.file;
        let operation = on_file("append", &self.path);
        self.fuse.around(operation, || file.append(first))?;
        if rest.is_empty() {
            return Ok(());
        }
        file.append(rest)
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = &mut self.file;
        self.fuse
            .around(on_file("sync", &self.path), || file.sync())
    }
}

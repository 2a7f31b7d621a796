//! Directories whose names a crash does not take away, and what is in them with the names.

use std::io;
use std::path::Path;

use levada_core::disk::Disk;

/// Makes a directory and those above it that are missing, and makes their names durable: what is synced in a directory is
/// lost all the same if the directory is.
pub(crate) fn create(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && disk.metadata(dir).is_err();
    let missing: Vec<_> = dir.ancestors().take_while(is_missing).collect();
    disk.create_dir_all(dir)?;
    missing.iter().try_for_each(|made| sync_name(disk, made))
}

/// Makes the name of a directory durable.
pub(crate) fn sync_name(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use levada_testing::MemoryDisk;

    use super::*;

    /// Each directory that is made needs a sync of the one above it.
    #[test]
    fn every_name_is_made_durable_once() {
        let check = |made: &str, syncs: u64| {
            let disk = MemoryDisk::default();
            disk.create_dir_all(Path::new("/there")).unwrap();
            disk.fail_syncs_after(syncs);
            create(&disk, Path::new(made)).is_ok()
        };
        assert!(check("/there", 0));
        assert!(!check("/there/a", 0));
        assert!(check("/there/a", 1));
        assert!(!check("/there/a/b/c", 2));
        assert!(check("/there/a/b/c", 3));
    }

    #[test]
    fn on_the_disk_of_the_machine_too() {
        let disk = levada_runtime::Environment::system().disk;
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        create(&*disk, &below).unwrap();
        create(&*disk, &below).unwrap();
        assert!(below.is_dir());
        // A name in the directory of the program, which has no path above it.
        sync_name(&*disk, Path::new("src")).unwrap();
    }
}

//! Directories whose names a crash does not take away, and what is in them with the names.

pub(crate) use levada_core::disk::{create_durable_dir as create, sync_name};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use levada_core::disk::Disk;
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

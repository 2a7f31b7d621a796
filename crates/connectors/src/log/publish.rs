//! Small files that are replaced as a whole: a reader sees the old content or the new one.

use std::io;
use std::path::Path;

use levada_core::disk::Disk;

use crate::log::error::LogError;

/// The most that is read of such a file: more is no file of ours.
const BYTES_MAX: u64 = 1 << 20;

/// Replaces the content of a file. It is there when this has returned; if it fails, the old content or the new one is.
///
/// Only for whoever holds the lock of what the file belongs to: the temporary name is always the same.
pub(super) fn publish(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<(), LogError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dir = path.parent().unwrap_or_else(|| Path::new(""));
    let temporary = dir.join(format!(".{name}.tmp"));
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(LogError::file("remove", &temporary)(error));
        }
        _ => {}
    }
    let mut file = disk
        .create_new(&temporary)
        .map_err(LogError::file("create", &temporary))?;
    file.append(content)
        .map_err(LogError::file("write", &temporary))?;
    file.sync().map_err(LogError::file("sync", &temporary))?;
    drop(file);
    disk.rename(&temporary, path)
        .map_err(LogError::file("rename", &temporary))?;
    disk.sync_dir(dir).map_err(LogError::file("sync", dir))
}

/// The content of a file; none if there is no such file.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    let mut file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::file("read", path)(error)),
    };
    let mut content = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let at = content.len() as u64;
        if at > BYTES_MAX {
            return Err(LogError::Unreadable {
                path: path.to_owned(),
                why: format!("it is longer than {BYTES_MAX} bytes"),
            });
        }
        let read = file
            .read_at(at, &mut chunk)
            .map_err(LogError::file("read", path))?;
        if read == 0 {
            return Ok(Some(content));
        }
        content.extend_from_slice(&chunk[..read]);
    }
}

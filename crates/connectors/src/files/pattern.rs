//! From patterns to files.

use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use levada_core::disk::Disk;

use crate::error::Error;

/// One or several patterns of files: paths with `*`, `?`, `[..]` within a name, and `**` for any directories.
pub trait Patterns {
    /// The patterns.
    fn patterns(self) -> Vec<String>;
}

impl Patterns for &str {
    fn patterns(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Patterns for String {
    fn patterns(self) -> Vec<String> {
        vec![self]
    }
}

impl Patterns for &Path {
    fn patterns(self) -> Vec<String> {
        vec![self.to_string_lossy().into_owned()]
    }
}

impl Patterns for PathBuf {
    fn patterns(self) -> Vec<String> {
        self.as_path().patterns()
    }
}

impl<P: Patterns> Patterns for Vec<P> {
    fn patterns(self) -> Vec<String> {
        self.into_iter().flat_map(Patterns::patterns).collect()
    }
}

impl<P: Patterns, const N: usize> Patterns for [P; N] {
    fn patterns(self) -> Vec<String> {
        self.into_iter().flat_map(Patterns::patterns).collect()
    }
}

/// The files that a pattern names, sorted. A path that exists is taken as it is, whatever characters it has.
pub(super) fn resolve(pattern: &str, disk: &dyn Disk) -> Result<Vec<PathBuf>, Error> {
    let path = Path::new(pattern);
    match disk.metadata(path) {
        Ok(metadata) if metadata.is_dir => {
            return Err(Error::IsDirectory {
                path: path.to_owned(),
            });
        }
        Ok(_) => return Ok(vec![path.to_owned()]),
        Err(_) if is_pattern(pattern) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoMatch {
                pattern: pattern.to_owned(),
            });
        }
        Err(error) => return Err(Error::file("read", path)(error)),
    }
    let mut found = Vec::new();
    let components: Vec<_> = path.components().collect();
    expand(PathBuf::new(), &components, disk, &mut found)?;
    if found.is_empty() {
        return Err(Error::NoMatch {
            pattern: pattern.to_owned(),
        });
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The directory that the files of a pattern are in or below.
pub(super) fn directory(pattern: &Path) -> PathBuf {
    let literal = |component: &Component<'_>| !is_pattern(&component.as_os_str().to_string_lossy());
    let mut dir: PathBuf = pattern.components().take_while(literal).collect();
    if dir == pattern {
        dir.pop();
    }
    if dir.as_os_str().is_empty() {
        dir.push(".");
    }
    dir
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Walks the components of a pattern, from `base` on.
fn expand(
    base: PathBuf,
    components: &[Component<'_>],
    disk: &dyn Disk,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let Some((first, rest)) = components.split_first() else {
        if disk.metadata(&base).is_ok_and(|metadata| !metadata.is_dir) {
            found.push(base);
        }
        return Ok(());
    };
    let name = first.as_os_str().to_string_lossy();
    if !is_pattern(&name) {
        return expand(base.join(first), rest, disk, found);
    }
    let dir = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &base
    };
    if name == "**" {
        // Any number of directories: none...
        expand(base.clone(), rest, disk, found)?;
        // ...or one and any number again.
        for name in names(dir, disk)? {
            let path = base.join(&name);
            let is_dir = disk.metadata(&path).is_ok_and(|metadata| metadata.is_dir);
            if is_dir && !name.starts_with('.') {
                expand(path, components, disk, found)?;
            }
        }
        return Ok(());
    }
    let pattern = Pattern::new(&name).map_err(|source| Error::BadPattern {
        pattern: name.clone().into_owned(),
        source,
    })?;
    let options = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    for name in names(dir, disk)? {
        if pattern.matches_with(&name, options) {
            expand(base.join(&name), rest, disk, found)?;
        }
    }
    Ok(())
}

/// The names in a directory; one that does not exist has none.
fn names(dir: &Path, disk: &dyn Disk) -> Result<Vec<String>, Error> {
    match disk.list(dir) {
        Ok(paths) => Ok(paths
            .iter()
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(Vec::new()),
        Err(error) => Err(Error::file("list", dir)(error)),
    }
}

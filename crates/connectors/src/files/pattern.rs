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
    let mut walk = Walk {
        pattern,
        disk,
        found: Vec::new(),
        listed: 0,
    };
    let components: Vec<_> = path.components().collect();
    walk.expand(PathBuf::new(), &components)?;
    let mut found = walk.found;
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

/// The most directories that a pattern may lead into: links that lead back would let `**` go on for years.
const DIRECTORIES_MAX: usize = 100_000;

/// A walk through the directories that a pattern leads into.
struct Walk<'a> {
    pattern: &'a str,
    disk: &'a dyn Disk,
    found: Vec<PathBuf>,
    /// How many directories have been listed.
    listed: usize,
}

impl Walk<'_> {
    /// Walks the components of a pattern, from `base` on.
    fn expand(&mut self, base: PathBuf, components: &[Component<'_>]) -> Result<(), Error> {
        let Some((first, rest)) = components.split_first() else {
            if self
                .disk
                .metadata(&base)
                .is_ok_and(|metadata| !metadata.is_dir)
            {
                self.found.push(base);
            }
            return Ok(());
        };
        let name = first.as_os_str().to_string_lossy();
        if !is_pattern(&name) {
            return self.expand(base.join(first), rest);
        }
        let dir = if base.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &base
        };
        if name == "**" {
            // Any number of directories: none...
            self.expand(base.clone(), rest)?;
            // ...or one and any number again.
            for name in self.names(dir)? {
                let path = base.join(&name);
                let is_dir = self
                    .disk
                    .metadata(&path)
                    .is_ok_and(|metadata| metadata.is_dir);
                if is_dir && !name.starts_with('.') {
                    self.expand(path, components)?;
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
        for name in self.names(dir)? {
            if pattern.matches_with(&name, options) {
                self.expand(base.join(&name), rest)?;
            }
        }
        Ok(())
    }

    /// The names in a directory; one that does not exist has none.
    fn names(&mut self, dir: &Path) -> Result<Vec<String>, Error> {
        if self.listed == DIRECTORIES_MAX {
            return Err(Error::TooManyDirectories {
                pattern: self.pattern.to_owned(),
                directories_max: DIRECTORIES_MAX,
            });
        }
        self.listed += 1;
        match self.disk.list(dir) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_that_lead_back_do_not_let_a_walk_go_on_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["back", "again"] {
            std::os::unix::fs::symlink(dir.path(), dir.path().join(name)).unwrap();
        }
        let disk = levada_runtime::Environment::system().disk;
        let pattern = dir.path().join("**/*.txt").to_string_lossy().into_owned();
        let error = resolve(&pattern, &*disk).unwrap_err().to_string();
        assert!(error.starts_with(&pattern), "{error}");
        assert!(error.contains("a link that leads back"), "{error}");
    }
}

//! The points of the protocol at which a process can kill itself.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What is done to the disk. `data` and `manifest` are files of checkpoints, a `part` is one of the sink's.
pub(crate) const OPERATIONS: [&str; 16] = [
    "data-create",
    "data-append",
    "data-sync",
    "data-remove",
    "manifest-create",
    "manifest-append",
    "manifest-sync",
    "manifest-rename",
    "manifest-remove",
    "checkpoints-sync",
    "part-create",
    "part-append",
    "part-sync",
    "part-rename",
    "part-remove",
    "out-sync",
];

/// When, in an operation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Moment {
    Before,
    /// A half of the bytes have been written.
    Within,
    After,
}

/// A moment in an operation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Point {
    pub(crate) operation: &'static str,
    pub(crate) moment: Moment,
}

/// A point, and how often it is passed before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KillAt {
    pub(crate) point: Point,
    /// Counted from 1.
    pub(crate) occurrence: u64,
}

impl Point {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for operation in OPERATIONS {
            for moment in [Moment::Before, Moment::Within, Moment::After] {
                if moment != Moment::Within || operation.ends_with("append") {
                    all.push(Self { operation, moment });
                }
            }
        }
        all
    }
}

/// The operation on a file, by what is done and the name of the file; none if it is no file of ours.
pub(crate) fn on_file(what: &str, path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let file = if name.starts_with("data-") {
        "data"
    } else if name.starts_with("checkpoint-") || name.starts_with(".checkpoint-") {
        "manifest"
    } else if name.starts_with("part-") || name.starts_with(".part-") {
        "part"
    } else {
        return None;
    };
    known(file, what)
}

/// The operation that syncs a directory.
pub(crate) fn on_dir(dir: &Path) -> Option<&'static str> {
    known(dir.file_name()?.to_str()?, "sync")
}

fn known(of: &str, what: &str) -> Option<&'static str> {
    OPERATIONS
        .into_iter()
        .find(|operation| operation.split_once('-') == Some((of, what)))
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::Within => "within",
            Moment::After => "after",
        };
        write!(f, "{moment}-{}", self.operation)
    }
}

impl fmt::Display for KillAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.point, self.occurrence)
    }
}

impl FromStr for KillAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a point and a number, as after-part-rename:2, not {text}");
        let (point, occurrence) = text.split_once(':').ok_or_else(expected)?;
        let mut all = Point::all().into_iter();
        Ok(Self {
            point: all
                .find(|known| known.to_string() == point)
                .ok_or_else(expected)?,
            occurrence: occurrence.parse().map_err(|_| expected())?,
        })
    }
}

//! How many lines lie before the ranges of a file.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use levada_core::sync::Mutex;

use crate::error::Error;

/// Files whose counts are kept. It is a cache: beyond this it is emptied.
const FILES_MAX: usize = 1_024;

/// What the readers of one source have counted, so that the lines before a range are counted once, not once for each
/// range behind them. It has an entry for each range in which something was wrong.
#[derive(Debug, Default)]
pub(super) struct LineIndex {
    files: Mutex<HashMap<PathBuf, BTreeMap<u64, u64>>>,
}

impl LineIndex {
    /// Forgets a file, which may be another one by now.
    pub(super) fn forget(&self, path: &Path) {
        self.files.lock().remove(path);
    }

    /// An offset, `begin`, and how many lines lie before it; `count` counts those between two offsets.
    pub(super) fn lines_before(
        &self,
        path: &Path,
        begin: u64,
        count: impl FnOnce(u64, u64) -> Result<u64, Error>,
    ) -> Result<(u64, u64), Error> {
        if begin == 0 {
            return Ok((0, 0));
        }
        let known = self.files.lock().get(path).and_then(|counts| {
            let (offset, lines) = counts.range(..=begin).next_back()?;
            Some((*offset, *lines))
        });
        let (from, before) = known.unwrap_or((0, 0));
        let lines = before + count(from, begin)?;
        let mut files = self.files.lock();
        if files.len() >= FILES_MAX && !files.contains_key(path) {
            files.clear();
        }
        files
            .entry(path.to_owned())
            .or_default()
            .insert(begin, lines);
        Ok((begin, lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_before_a_range_is_counted_once() {
        let index = LineIndex::default();
        let mut bytes = 0;
        for begin in [400, 100, 300, 400, 900, 0] {
            let found = index.lines_before(Path::new("x"), begin, |from, to| {
                bytes += to - from;
                Ok((to - from) / 10)
            });
            assert_eq!(found.unwrap(), (begin, begin / 10));
        }
        index.forget(Path::new("x"));
        let found = index.lines_before(Path::new("x"), 50, |from, to| Ok(to - from));
        assert_eq!(found.unwrap(), (50, 50));
        // 400 at first, then 100 and 200 again, because they came out of order, and 500 behind the 400.
        assert_eq!(bytes, 400 + 100 + 200 + 500);
    }
}

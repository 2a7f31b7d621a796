//! The names of the files in a directory of checkpoints. What is named otherwise is somebody else's.

use crate::error::CheckpointError;

/// The file that is locked by the job that writes here.
pub(crate) const LOCK: &str = ".lock";

/// The longest name of a run.
pub const RUN_BYTES_MAX: usize = 64;

/// What a name says about a file of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    /// The manifest of a checkpoint.
    Manifest { number: u64 },
    /// A manifest that was being written.
    Temporary { number: u64 },
    /// Blocks.
    Data { number: u64, attempt: u32 },
}

impl Name {
    /// What a name says; none if it is not exactly as we write it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if let Some(number) = between(name, ".checkpoint-", ".json.tmp") {
            let number = number.parse().ok()?;
            return (temporary(number) == name).then_some(Self::Temporary { number });
        }
        if let Some(number) = between(name, "checkpoint-", ".json") {
            let number = number.parse().ok()?;
            return (manifest(number) == name).then_some(Self::Manifest { number });
        }
        let (number, rest) = between(name, "data-", ".blocks")?.split_once('-')?;
        let (run, attempt) = rest.rsplit_once('-')?;
        let (number, attempt) = (number.parse().ok()?, attempt.parse().ok()?);
        let is_ours = is_run(run) && data(number, run, attempt) == name;
        is_ours.then_some(Self::Data { number, attempt })
    }

    /// The number of the checkpoint.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Manifest { number } | Self::Temporary { number } | Self::Data { number, .. } => {
                number
            }
        }
    }
}

pub(crate) fn manifest(number: u64) -> String {
    format!("checkpoint-{number:08}.json")
}

pub(crate) fn temporary(number: u64) -> String {
    format!(".checkpoint-{number:08}.json.tmp")
}

pub(crate) fn data(number: u64, run: &str, attempt: u32) -> String {
    format!("data-{number:08}-{run}-{attempt}.blocks")
}

/// Whether a run may have this name: it becomes a part of the names of files.
pub(crate) fn check_run(run: &str) -> Result<(), CheckpointError> {
    if is_run(run) {
        return Ok(());
    }
    Err(CheckpointError::BadRun {
        run: run.to_owned(),
    })
}

fn is_run(run: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=RUN_BYTES_MAX).contains(&run.len()) && run.bytes().all(is_allowed)
}

fn between<'a>(name: &'a str, prefix: &str, suffix: &str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_suffix(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_ours_is_read_back() {
        for number in [0, 12, 99_999_999, 100_000_000, u64::MAX] {
            let check = |name: String, expect| assert_eq!(Name::parse(&name), Some(expect));
            check(manifest(number), Name::Manifest { number });
            check(temporary(number), Name::Temporary { number });
            for run in ["r", "2026-11-28_7", "a--1"] {
                let attempt = 3;
                let expect = Name::Data { number, attempt };
                check(data(number, run, attempt), expect);
            }
        }
    }

    #[test]
    fn a_name_that_differs_in_anything_is_foreign() {
        for name in [
            "",
            ".lock",
            "checkpoint-12.json",
            "checkpoint-000000012.json",
            "checkpoint-+0000012.json",
            "checkpoint-00000012.json.bak",
            "checkpoint-00000012.json.tmp",
            "xcheckpoint-00000012.json",
            ".checkpoint-00000012.json",
            "data-00000012.blocks",
            "data-00000012-1.blocks",
            "data-00000012--1.blocks",
            "data-00000012-r-.blocks",
            "data-00000012-r-01.blocks",
            "data-00000012-r/../x-1.blocks",
            "data-00000012-r s-1.blocks",
            "data-00000012-r-1.blocks~",
            "data-99999999999999999999-r-1.blocks",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
        assert!(check_run("../x").is_err());
        assert!(check_run("").is_err());
        assert!(check_run(&"x".repeat(65)).is_err());
    }
}

//! What a child says before it dies.

use std::fmt;

/// Something that a child says, in a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// The job goes on from the checkpoint of this number.
    Restored(u64),
    /// A checkpoint is complete.
    Completed {
        number: u64,
        /// In flight.
        records: u64,
        /// Tasks in which the barrier overtook some.
        overtaken: u64,
    },
    /// A checkpoint is not.
    Failed { reason: String },
    /// Whether some task has no room for what it makes.
    Pressed(bool),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored(number) => write!(f, "restored {number}"),
            Self::Completed {
                number,
                records,
                overtaken,
            } => write!(f, "completed {number} {records} {overtaken}"),
            Self::Failed { reason } => write!(f, "failed {reason}"),
            Self::Pressed(true) => f.write_str("pressed"),
            Self::Pressed(false) => f.write_str("free"),
        }
    }
}

impl Said {
    /// None if the line is none of these: the child died while it wrote it.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        Some(match line.split_once(' ').unwrap_or((line, "")) {
            ("restored", number) => Self::Restored(number.parse().ok()?),
            ("completed", numbers) => {
                let mut numbers = numbers.split(' ').map(str::parse);
                Self::Completed {
                    number: numbers.next()?.ok()?,
                    records: numbers.next()?.ok()?,
                    overtaken: numbers.next()?.ok()?,
                }
            }
            ("failed", reason) => Self::Failed {
                reason: reason.to_owned(),
            },
            ("pressed", "") => Self::Pressed(true),
            ("free", "") => Self::Pressed(false),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for said in [
            Said::Restored(7),
            Said::Completed {
                number: 7,
                records: 30,
                overtaken: 2,
            },
            Said::Failed {
                reason: "it took too long".to_owned(),
            },
            Said::Pressed(true),
            Said::Pressed(false),
        ] {
            assert_eq!(Said::parse(&said.to_string()), Some(said));
        }
        assert_eq!(Said::parse("comp"), None);
    }
}

//! What a child says before it dies.

use std::fmt;

/// Something that a child says, in a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// The job runs, from the checkpoint of this number.
    Began { restored: Option<u64> },
    /// A checkpoint is complete.
    Completed { overtaken: bool },
    /// A checkpoint is not.
    Failed { reason: String },
    /// Whether some task has no room for what it makes.
    Pressed(bool),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { restored: None } => f.write_str("began"),
            Self::Began {
                restored: Some(number),
            } => write!(f, "began {number}"),
            Self::Completed { overtaken: false } => f.write_str("completed"),
            Self::Completed { overtaken: true } => f.write_str("completed overtaken"),
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
            ("began", "") => Self::Began { restored: None },
            ("began", number) => Self::Began {
                restored: Some(number.parse().ok()?),
            },
            ("completed", "") => Self::Completed { overtaken: false },
            ("completed", "overtaken") => Self::Completed { overtaken: true },
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
            Said::Began { restored: None },
            Said::Began { restored: Some(7) },
            Said::Completed { overtaken: false },
            Said::Completed { overtaken: true },
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

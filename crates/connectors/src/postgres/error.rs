//! What can go wrong on the way into a table, in sentences that name the table and what is missing.

use std::fmt;
use std::time::Duration;

use levada_core::BoxError;

use super::database::Refusal;
use super::staging::Epoch;
use super::statement::Table;

/// The most bytes of a record, and of what the server says of it, that a message shows.
const SHOWN_BYTES_MAX: usize = 300;

/// Why rows could not be written.
#[derive(Debug)]
#[non_exhaustive]
pub enum PostgresError {
    /// The connection string cannot be understood.
    BadAddress {
        /// Why, unless that could show a password.
        reason: Option<String>,
    },
    /// There is no session to be had.
    Connect {
        /// Where the server should be.
        place: String,
        /// What was said.
        source: BoxError,
    },
    /// There is no such table.
    NoTable {
        /// The table.
        table: Table,
        /// Where it should be.
        place: String,
        /// A table with nearly the same name.
        alike: Option<String>,
    },
    /// The table has no such columns.
    NoColumn {
        /// The table.
        table: Table,
        /// The columns that it does not have.
        missing: Vec<String>,
        /// Those that it has.
        has: Vec<String>,
    },
    /// The table needs a value that the records do not have.
    Required {
        /// The table.
        table: Table,
        /// The column.
        column: String,
    },
    /// The database computes the column.
    Generated {
        /// The table.
        table: Table,
        /// The column.
        column: String,
    },
    /// No unique index has the columns of the key.
    NoIndex {
        /// The table.
        table: Table,
        /// The columns of the key.
        key: Vec<String>,
        /// The columns of the unique indexes.
        unique: Vec<Vec<String>>,
    },
    /// The records have no such key.
    NoKey {
        /// The columns of the key that are missing.
        missing: Vec<String>,
        /// The columns of the records.
        columns: Vec<String>,
    },
    /// The user may not write to the table.
    NoRight {
        /// The table.
        table: Table,
        /// What the user may not do.
        right: &'static str,
    },
    /// A record has a shape that is no row.
    NoRow {
        /// The shape.
        shape: &'static str,
    },
    /// A record does not have the fields that a row needs.
    Fields {
        /// The columns.
        columns: Vec<String>,
        /// What the record has.
        found: String,
    },
    /// A record could not be written as JSON.
    Json(serde_json::Error),
    /// The database does not take a record.
    Refused {
        /// The table.
        table: Table,
        /// The record as JSON, cut.
        record: String,
        /// Why.
        source: Box<Refusal>,
    },
    /// The database takes no record.
    Failed {
        /// The table.
        table: Table,
        /// Why.
        source: BoxError,
    },
    /// Another job has the name of the sink.
    InUse {
        /// The name.
        sink: String,
        /// Where the server is.
        place: String,
        /// The session that has it, if it can be told.
        holder: Option<String>,
    },
    /// An epoch that a checkpoint has prepared is not in the database.
    LostEpoch {
        /// The table.
        table: Table,
        /// The epoch.
        epoch: Box<Epoch>,
        /// How many parts it had.
        parts: i64,
        /// How many are there.
        found: i64,
    },
    /// The database has been away for too long.
    GaveUp {
        /// Where the server should be.
        place: String,
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
        /// What was said last.
        source: BoxError,
    },
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress { reason } => {
                f.write_str(
                    "the connection string cannot be understood: write `host=.. port=.. user=.. dbname=..` or \
                     `postgresql://user@host:port/dbname`",
                )?;
                match reason {
                    Some(reason) => write!(f, " ({reason})"),
                    None => Ok(()),
                }
            }
            Self::Connect { place, .. } => write!(f, "cannot connect to PostgreSQL at {place}"),
            Self::NoTable {
                table,
                place,
                alike,
            } => {
                write!(f, "there is no table {table} at {place}")?;
                match alike {
                    Some(alike) => write!(f, ", but there is {alike}"),
                    None => Ok(()),
                }
            }
            Self::NoColumn {
                table,
                missing,
                has,
            } => write!(
                f,
                "the table {table} has no column {}: it has {}",
                list(missing),
                list(has)
            ),
            Self::Required { table, column } => write!(
                f,
                "the table {table} needs a value for \"{column}\", which has no default and is no field of the records"
            ),
            Self::Generated { table, column } => write!(
                f,
                "the column \"{column}\" of {table} is generated by the database: leave it out of the records, or of \
                 `.columns(..)`"
            ),
            Self::NoIndex { table, key, unique } => {
                write!(
                    f,
                    "the table {table} has no unique index on exactly {}, which `.key(..)` needs",
                    list(key)
                )?;
                if unique.is_empty() {
                    return f.write_str(": it has none at all");
                }
                let unique: Vec<_> = unique.iter().map(|columns| list(columns)).collect();
                write!(f, ": it has one on {}", unique.join(" and one on "))
            }
            Self::NoKey { missing, columns } => write!(
                f,
                "the key {} is no field of the records: they have {}",
                list(missing),
                list(columns)
            ),
            Self::NoRight { table, right } => {
                write!(f, "the user may not {right} rows of the table {table}")
            }
            Self::NoRow { shape } => write!(
                f,
                "a record that is {shape} is no row: write structs, or tuples with their `.columns([..])`"
            ),
            Self::Fields { columns, found } => write!(
                f,
                "a record has {found}, but the columns are {}",
                list(columns)
            ),
            Self::Json(_) => f.write_str("a record cannot be written as JSON"),
            Self::Refused { table, record, .. } => {
                write!(f, "the table {table} does not take the record {record}")
            }
            Self::Failed { table, .. } => write!(f, "cannot write to the table {table}"),
            Self::InUse {
                sink,
                place,
                holder,
            } => {
                write!(
                    f,
                    "another job, or another sink of this one, has the name '{sink}' at {place}"
                )?;
                if let Some(holder) = holder {
                    write!(f, " ({holder})")?;
                }
                f.write_str(
                    ": wait until it has ended, or give `.exactly_once(..)` a name of its own",
                )
            }
            Self::LostEpoch {
                table,
                epoch,
                parts,
                found,
            } => write!(
                f,
                "epoch {} of subtask {} for the table {table} is lost: the checkpoint has prepared it, and {found} of its \
                 {parts} batches are in levada_staged under sink '{}', run '{}'",
                epoch.number, epoch.subtask, epoch.sink, epoch.run
            ),
            Self::GaveUp {
                place,
                attempts,
                elapsed,
                ..
            } => write!(
                f,
                "PostgreSQL at {place} took no rows for {:.1} s, in {attempts} attempts",
                elapsed.as_secs_f64()
            ),
        }
    }
}

impl std::error::Error for PostgresError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Failed { source, .. } => Some(&**source),
            Self::GaveUp { source, .. } => Some(&**source),
            Self::Refused { source, .. } => Some(&**source),
            Self::Json(source) => Some(source),
            _ => None,
        }
    }
}

fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

/// The beginning of a text, if it is long.
pub(super) fn cut(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    format!("{}.. ({} bytes)", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_record_is_cut_between_characters() {
        assert_eq!(cut("{}"), "{}");
        let long = "ä".repeat(200);
        assert_eq!(cut(&long), format!("{}.. (400 bytes)", "ä".repeat(150)));
        let odd = format!("x{long}");
        assert!(cut(&odd).ends_with("ä.. (401 bytes)"));
    }
}

//! What the sink asks of a database: the one side is a server, the other the model of a test.

use std::fmt;
use std::time::Duration;

use levada_core::BoxError;

use super::staging::Epoch;
use super::statement::{Statement, Table};

/// A database that rows are written to.
///
/// The sink's batches, retries and skips are its own, and use nothing but this: a test can put a model of a table behind
/// it, and lose connections as it likes.
pub trait Database: Send + Sync + 'static {
    /// A session.
    type Connection: Connection;

    /// Opens a session; may block.
    ///
    /// # Errors
    /// If there is none to be had: for now ([`Fault::Passing`]), or ever.
    fn connect(&self) -> Result<Self::Connection, Fault>;

    /// Where it is, for messages: never with a password.
    fn place(&self) -> String;

    /// A job begins: what an earlier one has cancelled works again.
    fn begin(&self) {}

    /// Waits, unless the job is cancelled. A model of a test has no reason to.
    fn pause(&self, delay: Duration) {
        let _ = delay;
    }

    /// Makes calls that block, now and from here on, come back with [`Fault::Cancelled`]. Called from another thread.
    fn cancel(&self) {}
}

/// A session with a database. A call that fails with [`Fault::Passing`] or [`Fault::Cancelled`] is its last.
pub trait Connection: Send + 'static {
    /// Looks at a table; none if it does not exist.
    ///
    /// # Errors
    /// If it cannot be looked at.
    fn look(&mut self, table: &Table) -> Result<Found, Fault>;

    /// Writes rows, all or none: a JSON array of objects with the statement's columns.
    ///
    /// # Errors
    /// If none was written, or it is not known whether they were ([`Fault::Passing`]).
    fn write(&mut self, statement: &Statement, rows: &str) -> Result<(), Fault>;

    /// Makes the tables for epochs, if they are not there.
    ///
    /// # Errors
    /// If they cannot be made.
    fn set_up(&mut self) -> Result<(), Fault>;

    /// Takes the name of a sink, among those whose epochs are in the same tables, unless another session has it. This one
    /// has it until it ends, and may ask again.
    ///
    /// # Errors
    /// If it is not known whether it has been taken.
    fn claim(&mut self, sink: &str) -> Result<Claimed, Fault>;

    /// Keeps rows of an epoch, all or none, where they are no rows of the table yet. A part with the same number that is kept
    /// already stays: it is the same one.
    ///
    /// # Errors
    /// As those of [`write`](Self::write), as far as the types of the columns are concerned.
    fn stage(
        &mut self,
        statement: &Statement,
        epoch: &Epoch,
        part: i64,
        rows: &str,
    ) -> Result<(), Fault>;

    /// Makes the parts of an epoch rows of the table, in their order and in one transaction, which notes that it has happened
    /// and removes them. Does nothing if it has happened.
    ///
    /// # Errors
    /// If it has not happened, or it is not known whether it has ([`Fault::Passing`]).
    fn publish(
        &mut self,
        statement: &Statement,
        epoch: &Epoch,
        parts: i64,
    ) -> Result<Outcome, Fault>;

    /// Removes all parts of a sink, and what is noted of its epochs too if `forget` is set.
    ///
    /// # Errors
    /// If they cannot be removed.
    fn discard(&mut self, sink: &str, forget: bool) -> Result<(), Fault>;

    /// Whether a value could be stored in a column, as far as its type is concerned. Writes nothing.
    ///
    /// # Errors
    /// If it could not.
    fn convert(&mut self, statement: &Statement, column: &str, row: &str) -> Result<(), Fault>;
}

/// Whose the name of a sink is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claimed {
    /// This session's.
    Ours,
    /// Another session's.
    Other {
        /// Which one, if it can be told.
        holder: Option<String>,
    },
}

/// What came of publishing an epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It has become rows.
    Done,
    /// It had become rows before.
    WasDone,
    /// Parts of it are not there, and nothing has happened.
    Missing {
        /// How many are there.
        found: i64,
    },
}

/// What was found where a table should be.
#[derive(Clone, Debug)]
pub enum Found {
    /// The table.
    Shape(Shape),
    /// No table, but perhaps one with nearly the same name.
    Nothing {
        /// The one with nearly the same name.
        alike: Option<String>,
    },
}

/// What a table looks like.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Its columns.
    pub columns: Vec<Column>,
    /// The columns of each unique index that a key can use.
    pub unique: Vec<Vec<String>>,
    /// Whether rows may be inserted.
    pub can_insert: bool,
    /// Whether rows may be updated.
    pub can_update: bool,
}

/// A column of a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as the database writes it.
    pub kind: String,
    /// Whether every row must have a value for it.
    pub required: bool,
    /// Whether the database computes it, so that no row can have a value for it.
    pub generated: bool,
}

/// Why the database did not do it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It may work later, on another connection: the server is away, goes down, is full, or chose another transaction.
    Passing(BoxError),
    /// A row cannot be stored. If there are several, it is not known which.
    Row(Box<Refusal>),
    /// Two rows of the batch are the same one to the database.
    SameRow(Box<Refusal>),
    /// It will not work, whatever the rows are.
    Lasting(BoxError),
    /// The job was cancelled.
    Cancelled,
}

/// What the server said against it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refusal {
    /// The SQLSTATE.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// The column that is to blame.
    pub column: Option<String>,
    /// The constraint that is violated.
    pub constraint: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {}", self.message, self.code)?;
        if let Some(column) = &self.column {
            write!(f, ", column \"{column}\"")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, ", constraint \"{constraint}\"")?;
        }
        f.write_str(")")?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

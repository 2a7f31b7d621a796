//! What the sink asks of a database: the one side is a server, the other the model of a test.

use std::fmt;

use levada_core::BoxError;

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

    /// Whether a value could be stored in a column, as far as its type is concerned. Writes nothing.
    ///
    /// # Errors
    /// If it could not.
    fn convert(&mut self, statement: &Statement, column: &str, row: &str) -> Result<(), Fault>;
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

//! Rows of a PostgreSQL table.

mod batch;
mod check;
mod claim;
mod database;
mod error;
mod fields;
mod float;
mod queries;
mod server;
mod staging;
mod statement;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use levada_core::retry::Retry;
use levada_core::sync::Mutex;
use levada_core::{BoxError, OnError};
use levada_runtime::{Sink, SinkContext};
use serde::Serialize;

pub use database::{Claimed, Column, Connection, Database, Fault, Found, Outcome, Refusal, Shape};
pub use error::PostgresError;
pub use server::{Server, Session};
pub use staging::{Epoch, PreparedEpoch};
pub use statement::{Statement, Table};
pub use writer::PostgresWriter;

use claim::Claim;

/// Writes records into a table of a PostgreSQL server: structs, whose fields are columns, or tuples with
/// [`columns`](Postgres::columns). With a [`key`](Postgres::key) a record replaces the row with the same key, without one
/// every record is a new row.
///
/// The connection string is that of libpq: `host=.. port=.. user=.. dbname=..`, or `postgresql://user@host:port/dbname`.
/// The table is `table` or `schema.table`; names are taken as they are written, upper and lower case included.
///
/// **Promise.** A row is written at least once: each batch is a transaction of its own, and one whose end was lost with its
/// connection is repeated. With a key that is effectively once per key. Rows are visible before the job ends, and stay if it
/// fails. With [`exactly_once`](Postgres::exactly_once) they become visible once, when their checkpoint is complete. Let the stream be keyed by the key (`key_by`), so that the records of one key come to one subtask, in their order.
///
/// **Start.** The job does not start unless the server can be reached and the table exists, may be written, and has a unique
/// index on exactly the key; so also the columns, if they are named. Else the columns are those of the first record, and are
/// looked at then.
///
/// **Batches.** Up to 1,000 records or 1 MiB go in one statement, as one JSON parameter. A batch that is not full is written
/// when there is nothing more to take for now. Of several records with one key in a batch the last one is written.
///
/// **Faults.** While the server is away, the batch is repeated, with growing waits, for a minute
/// ([`retry`](Postgres::retry)); meanwhile no records are taken. So are deadlocks and a server that is full. A record that
/// the table does not take fails the job, or is left out ([`on_error`](Postgres::on_error)); the records before it may have
/// been written.
///
/// **Types.** Values travel as JSON, and PostgreSQL converts them as `jsonb_populate_recordset` does: `Option` is NULL, bytes
/// become `bytea`, a nested struct goes into `json`, `jsonb` or a composite type, a list into an array. A float that is not
/// finite stays what it is, except within a nested value, where JSON has no word for it but null. A value of more than 256 MB is refused by the server.
///
/// There is no TLS: the server is on this machine, or behind a tunnel. The sink can be simulated with a model of the
/// database, see [`Postgres::with_database`].
///
/// ```no_run
/// use levada_connectors::postgres;
///
/// # #[derive(serde::Serialize)]
/// # struct Count { word: String, count: u64 }
/// let counts = postgres("host=/var/run/postgresql user=app dbname=shop", "counts").key(["word"]);
/// # fn is_sink<T>(_: impl levada_runtime::Sink<T>) {}
/// # is_sink::<Count>(counts);
/// ```
#[must_use]
pub fn postgres(connection: impl Into<String>, table: impl AsRef<str>) -> Postgres<Server> {
    Postgres::with_database(Server::new(connection.into()), table)
}

/// The sink made by [`postgres`].
pub struct Postgres<D: Database = Server> {
    database: Arc<D>,
    settings: Settings,
    started: Mutex<Option<Started<D>>>,
}

/// What the start of a job has found, and taken.
struct Started<D: Database> {
    shape: Arc<Shape>,
    /// Of the sink's name, if epochs wait for their checkpoints: until every writer has been opened, so that it is free when
    /// the last of them is gone.
    claim: Option<Arc<Claim<D::Connection>>>,
    unopened: usize,
}

#[derive(Clone)]
pub(crate) struct Settings {
    table: Table,
    key: Vec<String>,
    columns: Option<Vec<String>>,
    /// The name under which epochs wait for their checkpoints, if they do.
    sink: Option<String>,
    on_error: OnError,
    retry: Retry,
    batch_records_max: usize,
    batch_bytes_max: usize,
}

impl<D: Database> Postgres<D> {
    /// A sink that writes into a table of this database: in a test, into a model of it.
    #[must_use]
    pub fn with_database(database: D, table: impl AsRef<str>) -> Self {
        let seconds = Duration::from_secs;
        Self {
            database: Arc::new(database),
            settings: Settings {
                table: Table::new(table.as_ref()),
                key: Vec::new(),
                columns: None,
                sink: None,
                on_error: OnError::Fail,
                retry: Retry::exponential(Duration::from_millis(100), seconds(5))
                    .elapsed_max(seconds(60)),
                batch_records_max: 1_000,
                batch_bytes_max: 1 << 20,
            },
            started: Mutex::new(None),
        }
    }

    /// The columns by which a record replaces a row. They need a unique index or a primary key on exactly them.
    #[must_use]
    pub fn key<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.settings.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The columns to write. A struct may then have other fields, which are left out; a tuple has its values in this order.
    ///
    /// ```
    /// use levada_connectors::postgres;
    ///
    /// let counts = postgres("host=localhost dbname=shop", "counts").columns(["word", "count"]).key(["word"]);
    /// # fn is_sink<T>(_: impl levada_runtime::Sink<T>) {}
    /// # is_sink::<(String, u64)>(counts);
    /// ```
    #[must_use]
    pub fn columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.settings.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Writes every row exactly once, also without a key, in a job with checkpoints: rows wait in a table of their own until
    /// their checkpoint is complete, and become rows of the table in one transaction for each subtask. Without checkpoints
    /// that is the end of the job.
    ///
    /// The tables `levada_staged` and `levada_epochs` are made in the first schema of the search path, if they are not there.
    /// `sink` names this sink in them: no other one of any job may have the same name, since a job that starts afresh
    /// removes what it finds under it. A job that runs holds the name by an advisory lock of a session of its own, and a second
    /// one is refused; a pooler that hands the session on after each transaction would break that. Rows are written twice. Their types are looked at when they are written first; what is
    /// against a constraint of the table fails the job when they are to become visible, and cannot be left out.
    ///
    /// ```no_run
    /// use levada_connectors::postgres;
    ///
    /// # #[derive(serde::Serialize)]
    /// # struct Hit { url: String }
    /// let hits = postgres("host=/var/run/postgresql dbname=shop", "hits").exactly_once("hits-of-the-shop");
    /// # fn is_sink<T>(_: impl levada_runtime::Sink<T>) {}
    /// # is_sink::<Hit>(hits);
    /// ```
    ///
    /// # Panics
    /// If the name is empty.
    #[must_use]
    pub fn exactly_once(mut self, sink: impl Into<String>) -> Self {
        let sink = sink.into();
        assert!(!sink.is_empty(), "a sink has a name");
        self.settings.sink = Some(sink);
        self
    }

    /// What becomes of a record that the table does not take: of the wrong type, or against a constraint. To find it, its
    /// batch is written in halves.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.settings.on_error = on_error;
        self
    }

    /// When to repeat a batch, and when to give up: waits of at most 100 ms that double up to 5 s, for 60 s, unless it is
    /// set.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// The most records of a batch, 1,000 unless it is set.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn batch_records_max(mut self, records: usize) -> Self {
        assert!(records > 0, "a batch has at least one record");
        self.settings.batch_records_max = records;
        self
    }

    /// The bytes of JSON at which a batch is full, 1 MiB unless it is set. One record may be larger.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a batch has at least one byte");
        self.settings.batch_bytes_max = bytes;
        self
    }
}

impl Postgres<Server> {
    /// The password, where it does not stand in the connection string. It is in no message.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        let database = Server::clone(&self.database).with_password(password.into());
        self.database = Arc::new(database);
        self
    }
}

impl<T: Serialize + Send + 'static, D: Database> Sink<T> for Postgres<D> {
    type Writer = PostgresWriter<D>;

    fn start(&self, context: &SinkContext) -> Result<(), BoxError> {
        let settings = &self.settings;
        let mut started = self.started.lock();
        // Of an attempt that came no further.
        *started = None;
        self.database.begin();
        let (mut connection, shape) =
            check::table(&*self.database, &settings.table, &settings.key)?;
        if let Some(columns) = &settings.columns {
            let statement = Statement {
                table: settings.table.clone(),
                columns: columns.clone(),
                key: settings.key.clone(),
            };
            check::columns(&statement, &shape)?;
        }
        let claim = match &settings.sink {
            Some(sink) => {
                let begun = staging::begin(&*self.database, &mut connection, sink, context);
                let claim = begun.map_err(|fault| check::connecting(&*self.database, fault))?;
                Some(Arc::new(claim))
            }
            None => None,
        };
        *started = Some(Started {
            shape: Arc::new(shape),
            claim,
            unopened: context.parallelism,
        });
        Ok(())
    }

    fn recover(
        &self,
        pending: Vec<Option<PreparedEpoch>>,
        context: &SinkContext,
    ) -> Result<(), BoxError> {
        let started = self.started.lock();
        let claim = started
            .as_ref()
            .and_then(|started| started.claim.as_deref());
        let mut connection = None;
        for prepared in pending.iter().flatten() {
            let (database, settings) = (&*self.database, &self.settings);
            staging::publish(
                database,
                claim,
                &mut connection,
                settings,
                prepared,
                context,
            )?;
        }
        if let Some(sink) = &self.settings.sink {
            // What is left belongs to no checkpoint that anybody goes on from.
            let left = staging::reach(&*self.database, &mut connection)
                .and_then(|session| session.discard(sink, false));
            left.map_err(|fault| check::connecting(&*self.database, fault))?;
        }
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<PostgresWriter<D>, BoxError> {
        let mut started = self.started.lock();
        let started = started.as_mut().ok_or("the table has not been looked at")?;
        let (shape, claim) = (Arc::clone(&started.shape), started.claim.clone());
        started.unopened = started.unopened.saturating_sub(1);
        if started.unopened == 0 {
            started.claim = None;
        }
        let database = Arc::clone(&self.database);
        let (settings, context) = (self.settings.clone(), context.clone());
        Ok(PostgresWriter::new(
            database, settings, context, shape, claim,
        )?)
    }

    fn is_blocking(&self) -> bool {
        true
    }

    fn cancel(&self) {
        self.database.cancel();
    }
}

//! Writes batches, repeats them while the database is away, and finds the row that it does not take.
//!
//! ```text
//!            full, or flush           Fault::Passing
//!  filling ─────────────────▶ writing ─────────────▶ waiting
//!     ▲                        │   ▲                    │ its time has come
//!     └── nothing is left ─────┘   └────────────────────┘
//! ```
//!
//! While a batch is being written or waits, no record is taken: it stays in the drain, and so backpressure begins. A batch
//! with a row that the database does not take is written in halves until the row is alone.

use std::ops::Range;
use std::sync::Arc;

use levada_core::{BoxError, Moment, OnError};
use levada_runtime::{Drain, SinkContext, Writer};
use serde::Serialize;

use super::Settings;
use crate::on_error::Skipped;

use super::batch::{Batch, Encoder};
use super::check;
use super::claim::Claim;
use super::database::{Connection, Database, Fault, Refusal, Shape};
use super::error::{PostgresError, cut};
use super::staging::{self, Epoch, PreparedEpoch};
use super::statement::Statement;

/// Writes rows in one subtask.
pub struct PostgresWriter<D: Database> {
    database: Arc<D>,
    settings: Settings,
    context: SinkContext,
    shape: Arc<Shape>,
    /// Of the sink's name, if epochs wait for their checkpoints.
    claim: Option<Arc<Claim<D::Connection>>>,
    /// None until it is needed, and after a fault.
    connection: Option<D::Connection>,
    encoder: Encoder,
    /// None until the columns are known.
    statement: Option<Statement>,
    batch: Batch,
    /// Parts of the batch that are still to be written, the last one first; none while it is being filled.
    parts: Vec<Range<usize>>,
    waiting: Option<Waiting>,
    /// Whether the task waits for the batch: with a record that was left in the drain, or with the end of its input.
    awaited: bool,
    /// Cancelled or failed: nothing more is sent.
    stopped: bool,
    skipped: Skipped,
    /// The epoch that is being written, if epochs wait for their checkpoints.
    epoch: Option<Epoch>,
    /// Batches of it that are in the database.
    staged: i64,
}

/// A batch that could not be written for now.
struct Waiting {
    attempts: u32,
    since: Moment,
    again_at: Moment,
}

impl<D: Database> PostgresWriter<D> {
    pub(super) fn new(
        database: Arc<D>,
        settings: Settings,
        context: SinkContext,
        shape: Arc<Shape>,
        claim: Option<Arc<Claim<D::Connection>>>,
    ) -> Result<Self, PostgresError> {
        let skipped = Skipped::by_writer(&context);
        let epoch = settings.sink.as_ref().map(|sink| Epoch {
            sink: sink.clone(),
            run: context.run.to_string(),
            subtask: i32::try_from(context.subtask).expect("subtasks are fewer"),
            number: 0,
        });
        let mut writer = Self {
            database,
            settings,
            context,
            shape,
            claim,
            connection: None,
            encoder: Encoder::new(),
            statement: None,
            batch: Batch::default(),
            parts: Vec::new(),
            waiting: None,
            awaited: false,
            stopped: false,
            skipped,
            epoch,
            staged: 0,
        };
        if let Some(columns) = writer.settings.columns.clone() {
            writer.set_columns(columns, true)?;
        }
        Ok(writer)
    }

    fn set_columns(&mut self, columns: Vec<String>, named: bool) -> Result<(), PostgresError> {
        let statement = Statement {
            table: self.settings.table.clone(),
            columns,
            key: self.settings.key.clone(),
        };
        check::columns(&statement, &self.shape)?;
        self.encoder
            .set_columns(&statement.columns, &statement.key, &self.shape, named);
        self.statement = Some(statement);
        Ok(())
    }

    fn take<T: Serialize>(&mut self, record: &T) -> Result<(), PostgresError> {
        let read = self.encoder.read(record);
        if read.is_ok() && self.statement.is_none() {
            let columns = self.encoder.names()?;
            self.set_columns(columns, false)?;
        }
        match read.and_then(|()| self.encoder.encode(&mut self.batch)) {
            Err(error @ PostgresError::Json(_)) if self.settings.on_error == OnError::Skip => {
                self.skip(&error)
            }
            taken => taken,
        }
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= self.settings.batch_records_max
            || self.batch.bytes() >= self.settings.batch_bytes_max
    }

    /// Writes what there is; false if it has to wait.
    fn send(&mut self) -> Result<bool, PostgresError> {
        let sent = self.send_parts();
        // The task flushes once more before it fails.
        self.stopped |= sent.is_err();
        sent
    }

    fn send_parts(&mut self) -> Result<bool, PostgresError> {
        if self.parts.is_empty() {
            if self.batch.len() == 0 {
                return Ok(true);
            }
            self.parts.push(0..self.batch.len());
        }
        let again_at = self.waiting.as_ref().map(|waiting| waiting.again_at);
        if self.stopped || again_at.is_some_and(|at| self.now() < at) {
            return Ok(false);
        }
        while let Some(part) = self.parts.pop() {
            match self.send_part(part.clone()) {
                Ok(()) => self.waiting = None,
                Err(Fault::Row(refusal) | Fault::SameRow(refusal)) => self.split(part, refusal)?,
                Err(Fault::Lasting(source)) => {
                    return Err(PostgresError::Failed {
                        table: self.settings.table.clone(),
                        source,
                    });
                }
                Err(Fault::Passing(source)) => {
                    self.parts.push(part);
                    self.connection = None;
                    self.wait(source)?;
                    return Ok(false);
                }
                Err(Fault::Cancelled) => {
                    self.parts.push(part);
                    self.connection = None;
                    // The command to give up is on its way, and wakes the task.
                    self.stopped = true;
                    return Ok(false);
                }
            }
        }
        self.batch.clear();
        if std::mem::take(&mut self.awaited) {
            self.context.waker.wake();
        }
        Ok(true)
    }

    fn send_part(&mut self, part: Range<usize>) -> Result<(), Fault> {
        if self.batch.count(part.clone()) == 0 {
            return Ok(());
        }
        let statement = self.statement.as_ref();
        let statement = statement.expect("a batch that is not empty has columns");
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.database.connect()?),
        };
        let rows = self.batch.array(part);
        match &self.epoch {
            None => connection.write(statement, &rows)?,
            Some(epoch) => {
                connection.stage(statement, epoch, self.staged, &rows)?;
                self.staged += 1;
            }
        }
        Ok(())
    }

    /// A part was refused: halves it, or says what is wrong with its one row.
    fn split(
        &mut self,
        part: Range<usize>,
        mut refusal: Box<Refusal>,
    ) -> Result<(), PostgresError> {
        if self.batch.count(part.clone()) > 1 {
            let middle = part.start + part.len() / 2;
            self.parts.push(middle..part.end);
            self.parts.push(part.start..middle);
            return Ok(());
        }
        let row = self.batch.first(part).to_owned();
        let skips = self.context.counters.records_skipped.get();
        let tell = self.settings.on_error == OnError::Fail || skips == 0;
        // The place is worth a few queries once.
        if refusal.column.is_none() && refusal.constraint.is_none() && tell {
            refusal.column = self.find_column(&row);
        }
        let error = PostgresError::Refused {
            table: self.settings.table.clone(),
            record: cut(&row),
            source: refusal,
        };
        match self.settings.on_error {
            OnError::Fail => Err(error),
            OnError::Skip => self.skip(&error),
        }
    }

    /// The server does not say which value of a row it cannot convert: asks for one after the other.
    fn find_column(&mut self, row: &str) -> Option<String> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row).ok()?;
        for (name, value) in fields {
            let field = serde_json::json!({ &name: value }).to_string();
            let statement = self.statement.as_ref()?;
            let connection = self.connection.as_mut()?;
            match connection.convert(statement, &name, &field) {
                Ok(()) => {}
                Err(Fault::Row(_)) => return Some(name),
                Err(_) => {
                    self.connection = None;
                    return None;
                }
            }
        }
        None
    }

    fn skip(&self, error: &PostgresError) -> Result<(), PostgresError> {
        let skipped = self.skipped.skip(|| {
            Ok(match std::error::Error::source(error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            })
        });
        skipped.map_err(|source| PostgresError::Failed {
            table: self.settings.table.clone(),
            source,
        })
    }

    /// The database is away: sets the time of the next attempt.
    fn wait(&mut self, source: BoxError) -> Result<(), PostgresError> {
        let now = self.now();
        let (attempts, since) = match &self.waiting {
            Some(waiting) => (waiting.attempts + 1, waiting.since),
            None => (1, now),
        };
        let elapsed = now - since;
        let random = &*self.context.environment.random;
        let zero = std::time::Duration::ZERO;
        let Some(delay) = self
            .settings
            .retry
            .delay_after(attempts, elapsed, zero, random)
        else {
            return Err(PostgresError::GaveUp {
                place: self.database.place(),
                attempts,
                elapsed,
                source,
            });
        };
        if attempts == 1 {
            tracing::warn!(
                "{}: PostgreSQL at {} is away, trying again: {source}",
                self.context.operator,
                self.database.place()
            );
        }
        self.waiting = Some(Waiting {
            attempts,
            since,
            again_at: now + delay,
        });
        Ok(())
    }

    fn now(&self) -> Moment {
        self.context.environment.clock.now()
    }
}

impl<T: Serialize, D: Database> Writer<T> for PostgresWriter<D> {
    /// The epoch, if it has rows and waits for its checkpoint.
    type Pending = Option<PreparedEpoch>;

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        if !self.parts.is_empty() && !self.send()? {
            self.awaited = true;
            return Ok(());
        }
        while !records.is_over() {
            let Some(record) = records.next() else {
                return Ok(());
            };
            self.take(&record)?;
            if self.is_full() && !self.send()? {
                self.awaited = true;
                return Ok(());
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.send()?;
        Ok(())
    }

    fn flush_again(&self) -> Option<Moment> {
        let waiting = self.waiting.as_ref().filter(|_| !self.stopped);
        waiting.map(|waiting| waiting.again_at)
    }

    fn is_drained(&mut self) -> Result<bool, BoxError> {
        let drained = self.send()?;
        self.awaited |= !drained;
        Ok(drained)
    }

    fn prepare(&mut self) -> Result<Option<PreparedEpoch>, BoxError> {
        debug_assert!(self.batch.len() == 0, "it was asked whether it is drained");
        let Some(epoch) = &mut self.epoch else {
            return Ok(None);
        };
        let prepared = PreparedEpoch {
            epoch: epoch.clone(),
            parts: std::mem::take(&mut self.staged),
            columns: self
                .statement
                .iter()
                .flat_map(|it| it.columns.clone())
                .collect(),
        };
        epoch.number += 1;
        Ok(Some(prepared).filter(|prepared| prepared.parts > 0))
    }

    fn commit(&mut self, pending: Option<PreparedEpoch>) -> Result<(), BoxError> {
        let Some(prepared) = pending else {
            return Ok(());
        };
        let (database, settings) = (&*self.database, &self.settings);
        let connection = &mut self.connection;
        Ok(staging::publish(
            database,
            self.claim.as_deref(),
            connection,
            settings,
            &prepared,
            &self.context,
        )?)
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        self.connection = None;
        Ok(())
    }
}

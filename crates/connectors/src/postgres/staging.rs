//! Epochs that wait in a table of their own until they are committed.
//!
//! Two tables are made beside the user's. `levada_staged` has the batches of an epoch, each as the JSON that becomes its rows;
//! `levada_epochs` has the last epoch of each subtask of a run that has become rows. One transaction notes the epoch, inserts
//! its rows and removes its batches: it happens once, however often it is tried, and whoever tries it.

use levada_runtime::SinkContext;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::claim::Claim;
use super::database::{Connection, Database, Fault, Outcome};
use super::error::PostgresError;
use super::statement::Statement;

/// An epoch of a subtask, as the database knows it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Epoch {
    /// The name that was given to [`exactly_once`](super::Postgres::exactly_once).
    pub sink: String,
    /// The run of the job.
    pub run: String,
    /// The subtask.
    pub subtask: i32,
    /// Its number in the run, from 0.
    pub number: i64,
}

/// An epoch whose batches are in the database.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PreparedEpoch {
    pub(super) epoch: Epoch,
    /// How many batches it has.
    pub(super) parts: i64,
    pub(super) columns: Vec<String>,
}

/// Attempts to commit an epoch, whatever the sink is told about retries: a clock that stands still ends none.
const ATTEMPTS_MAX: u32 = 1_000;

/// Makes an epoch visible, or finds that it is. Waits while the database is away, as long as retries are to go on.
pub(super) fn publish<D: Database>(
    database: &D,
    claim: Option<&Claim<D::Connection>>,
    connection: &mut Option<D::Connection>,
    settings: &Settings,
    prepared: &PreparedEpoch,
    context: &SinkContext,
) -> Result<(), PostgresError> {
    let statement = Statement {
        table: settings.table.clone(),
        columns: prepared.columns.clone(),
        key: settings.key.clone(),
    };
    let clock = &context.environment.clock;
    let since = clock.now();
    for attempts in 1.. {
        let published = claim
            .map_or(Ok(()), |claim| claim.confirm(database))
            .and_then(|()| reach(database, connection))
            .and_then(|session| session.publish(&statement, &prepared.epoch, prepared.parts));
        let fault = match published {
            Ok(Outcome::Done | Outcome::WasDone) => return Ok(()),
            Ok(Outcome::Missing { found }) => {
                return Err(PostgresError::LostEpoch {
                    table: settings.table.clone(),
                    epoch: Box::new(prepared.epoch.clone()),
                    parts: prepared.parts,
                    found,
                });
            }
            Err(fault) => fault,
        };
        // Its transaction is broken, if not the session.
        *connection = None;
        let source = match fault {
            Fault::Passing(source) => source,
            Fault::Lasting(source) => return Err(failed(settings, source)),
            Fault::Row(refusal) | Fault::SameRow(refusal) => {
                return Err(failed(settings, refusal.into()));
            }
            Fault::Cancelled => return Err(failed(settings, "the job was cancelled".into())),
        };
        let elapsed = clock.now() - since;
        let random = &*context.environment.random;
        let zero = std::time::Duration::ZERO;
        let delay = settings.retry.delay_after(attempts, elapsed, zero, random);
        let Some(delay) = delay.filter(|_| attempts < ATTEMPTS_MAX) else {
            return Err(PostgresError::GaveUp {
                place: database.place(),
                attempts,
                elapsed,
                source,
            });
        };
        database.pause(delay);
    }
    unreachable!("attempts have an end")
}

/// Makes the tables, takes the name, and removes what dead jobs of this name have left.
pub(super) fn begin<D: Database>(
    database: &D,
    connection: &mut D::Connection,
    sink: &str,
    context: &SinkContext,
) -> Result<Claim<D::Connection>, Fault> {
    connection.set_up()?;
    let claim = Claim::take(database, database.connect()?, sink, &context.operator)?;
    // What the checkpoint has prepared is still to be committed.
    if !context.is_restored {
        connection.discard(sink, true)?;
    }
    Ok(claim)
}

pub(super) fn reach<'a, D: Database>(
    database: &D,
    connection: &'a mut Option<D::Connection>,
) -> Result<&'a mut D::Connection, Fault> {
    match connection {
        Some(session) => Ok(session),
        none => Ok(none.insert(database.connect()?)),
    }
}

fn failed(settings: &Settings, source: levada_core::BoxError) -> PostgresError {
    PostgresError::Failed {
        table: settings.table.clone(),
        source,
    }
}

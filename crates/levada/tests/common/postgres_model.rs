//! A table in memory, behind what the PostgreSQL sink asks of a database, with faults.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use levada::connectors::postgres::{
    Claimed, Column, Connection, Database, Epoch, Fault, Found, Outcome, Refusal, Shape, Statement,
    Table,
};
use levada_core::random::SplitMix64;
use serde_json::{Map, Value};

/// A row: the columns with their values.
pub(crate) type Row = Map<String, Value>;

pub(crate) type Watch = Box<dyn FnMut(Option<&Row>, &Row) + Send>;

/// A database with one table.
#[derive(Clone)]
pub(crate) struct Model(Arc<Mutex<State>>);

/// What the model holds and has done.
pub(crate) struct State {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Rows in the order of their first insertion; with a key, by the key as the database compares it.
    pub(crate) rows: Vec<Row>,
    by_key: BTreeMap<String, usize>,
    random: SplitMix64,
    /// Of 100 calls, how many lose the connection.
    pub(crate) losses: u64,
    /// How many connections are refused from now on.
    pub(crate) refusals: u64,
    pub(crate) cancelled: bool,
    /// Calls of each kind.
    pub(crate) writes: u64,
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) lost_before: u64,
    pub(crate) lost_after: u64,
    pub(crate) lost_claims: u64,
    pub(crate) refused: u64,
    pub(crate) same_row: u64,
    /// Called for each row that is written, with the one it replaces.
    pub(crate) watch: Watch,
    /// Batches that wait for their epoch, and the epochs that have become rows.
    pub(crate) staged: BTreeMap<(Epoch, i64), String>,
    pub(crate) published: BTreeSet<Epoch>,
    /// The names of sinks, each with the session that has it.
    pub(crate) claims: BTreeMap<String, Claimant>,
    sessions: u64,
    /// Sessions that the server has ended, which do not know it yet.
    ended: BTreeSet<u64>,
}

/// A session that has the name of a sink.
pub(crate) struct Claimant {
    session: u64,
    /// How often the name is still refused to others after the session was lost, until that is noticed.
    noticed_after: Option<u64>,
}

pub(crate) fn column(name: &str, kind: &str) -> Column {
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        required: false,
        generated: false,
    }
}

impl Model {
    /// A table `items` of these columns, with a unique index on the first one.
    pub(crate) fn new(seed: u64, columns: &[Column]) -> Self {
        Self(Arc::new(Mutex::new(State {
            name: "items",
            shape: Shape {
                columns: columns.to_vec(),
                unique: vec![vec![columns[0].name.clone()]],
                can_insert: true,
                can_update: true,
            },
            rows: Vec::new(),
            by_key: BTreeMap::new(),
            random: SplitMix64::new(seed),
            losses: 0,
            refusals: 0,
            cancelled: false,
            writes: 0,
            rows_max: 0,
            bytes_max: 0,
            lost_before: 0,
            lost_after: 0,
            lost_claims: 0,
            refused: 0,
            same_row: 0,
            watch: Box::new(|_, _| {}),
            staged: BTreeMap::new(),
            published: BTreeSet::new(),
            claims: BTreeMap::new(),
            sessions: 0,
            ended: BTreeSet::new(),
        })))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.0.lock().unwrap())
    }
}

impl State {
    /// Ends all sessions that have a name.
    pub(crate) fn end_claims(&mut self) {
        let claims = std::mem::take(&mut self.claims);
        self.ended
            .extend(claims.into_values().map(|claimant| claimant.session));
    }

    fn loses(&mut self) -> bool {
        self.random.below(100) < self.losses
    }

    /// As the database compares keys: spaces at the end do not count, like those of `char(n)`.
    fn key(statement: &Statement, row: &Row) -> String {
        let values = statement.key.iter().map(|column| match &row[column] {
            Value::String(text) => text.trim_end().to_owned(),
            value => value.to_string(),
        });
        values.collect::<Vec<_>>().join("|")
    }

    fn refusal(&self, row: &Row) -> Option<Refusal> {
        for column in &self.shape.columns {
            let value = row.get(&column.name).unwrap_or(&Value::Null);
            if column.kind == "bigint" && value.is_string() {
                return Some(Refusal {
                    code: "22P02".to_owned(),
                    message: format!("invalid input syntax for type bigint: {value}"),
                    ..Refusal::default()
                });
            }
            if column.kind == "positive" && value.as_i64().is_some_and(|value| value <= 0) {
                return Some(Refusal {
                    code: "23514".to_owned(),
                    message: "new row violates check constraint".to_owned(),
                    constraint: Some(format!("{}_positive", column.name)),
                    ..Refusal::default()
                });
            }
        }
        None
    }

    fn write(&mut self, statement: &Statement, json: &str) -> Result<(), Fault> {
        let rows: Vec<Row> = serde_json::from_str(json).unwrap();
        self.writes += 1;
        self.rows_max = self.rows_max.max(rows.len());
        self.bytes_max = self.bytes_max.max(json.len());
        if let Some(refusal) = rows.iter().find_map(|row| self.refusal(row)) {
            self.refused += 1;
            return Err(Fault::Row(Box::new(refusal)));
        }
        if !statement.key.is_empty() {
            let mut keys: Vec<_> = rows.iter().map(|row| Self::key(statement, row)).collect();
            keys.sort_unstable();
            keys.dedup();
            if keys.len() < rows.len() {
                self.same_row += 1;
                return Err(Fault::SameRow(Box::default()));
            }
        }
        for row in rows {
            assert!(
                row.keys().eq(statement
                    .columns
                    .iter()
                    .collect::<std::collections::BTreeSet<_>>()),
                "{row:?} has the columns of {statement:?}"
            );
            if statement.key.is_empty() {
                (self.watch)(None, &row);
                self.rows.push(row);
                continue;
            }
            let key = Self::key(statement, &row);
            if let Some(place) = self.by_key.get(&key) {
                (self.watch)(Some(&self.rows[*place]), &row);
                self.rows[*place] = row;
            } else {
                (self.watch)(None, &row);
                self.by_key.insert(key, self.rows.len());
                self.rows.push(row);
            }
        }
        Ok(())
    }
}

impl Database for Model {
    type Connection = Session;

    fn connect(&self) -> Result<Session, Fault> {
        let mut state = self.0.lock().unwrap();
        if state.cancelled {
            return Err(Fault::Cancelled);
        }
        if state.refusals > 0 {
            state.refusals -= 1;
            return Err(Fault::Passing("connection refused".into()));
        }
        state.sessions += 1;
        Ok(Session {
            state: Arc::clone(&self.0),
            number: state.sessions,
            lost: false,
        })
    }

    fn place(&self) -> String {
        "memory:5432/model".to_owned()
    }

    fn cancel(&self) {
        self.0.lock().unwrap().cancelled = true;
    }
}

pub(crate) struct Session {
    state: Arc<Mutex<State>>,
    number: u64,
    lost: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        let (number, lost) = (self.number, self.lost);
        let claims = &mut state.claims;
        claims.retain(|_, claimant| lost || claimant.session != number);
    }
}

impl Session {
    /// Does something that may be lost before or after it has happened.
    fn transaction<R>(
        &mut self,
        act: impl FnOnce(&mut State) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        assert!(!self.lost, "a lost connection is not used again");
        let mut state = self.state.lock().unwrap();
        if state.loses() {
            state.lost_before += 1;
            self.lost = true;
            return Err(Fault::Passing("connection reset before the commit".into()));
        }
        let done = act(&mut state)?;
        if state.loses() {
            state.lost_after += 1;
            self.lost = true;
            // The server may be away for a while.
            state.refusals = state.random.below(4);
            return Err(Fault::Passing("connection reset after the commit".into()));
        }
        Ok(done)
    }
}

impl Connection for Session {
    fn look(&mut self, table: &Table) -> Result<Found, Fault> {
        let state = self.state.lock().unwrap();
        if table.name() == state.name {
            return Ok(Found::Shape(state.shape.clone()));
        }
        let same = table.name().to_lowercase() == state.name;
        let alike = same.then(|| format!("public.{}", state.name));
        Ok(Found::Nothing { alike })
    }

    fn write(&mut self, statement: &Statement, rows: &str) -> Result<(), Fault> {
        self.transaction(|state| state.write(statement, rows))
    }

    fn set_up(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn claim(&mut self, sink: &str) -> Result<Claimed, Fault> {
        assert!(!self.lost, "a lost connection is not used again");
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        let ours = Claimant {
            session: self.number,
            noticed_after: None,
        };
        if state.ended.contains(&self.number) {
            self.lost = true;
            return Err(Fault::Passing("terminated by an administrator".into()));
        }
        let Some(claimant) = state.claims.get_mut(sink) else {
            state.claims.insert(sink.to_owned(), ours);
            return Ok(Claimed::Ours);
        };
        if claimant.session == self.number {
            if state.random.below(100) < state.losses {
                state.lost_claims += 1;
                self.lost = true;
                claimant.noticed_after = Some(state.random.below(10));
                return Err(Fault::Passing("connection reset while it was idle".into()));
            }
            return Ok(Claimed::Ours);
        }
        match &mut claimant.noticed_after {
            Some(0) => {
                *claimant = ours;
                Ok(Claimed::Ours)
            }
            noticed_after => {
                if let Some(times) = noticed_after {
                    *times -= 1;
                }
                let holder = Some(format!("session {}", claimant.session));
                Ok(Claimed::Other { holder })
            }
        }
    }

    fn stage(&mut self, _: &Statement, epoch: &Epoch, part: i64, rows: &str) -> Result<(), Fault> {
        self.transaction(|state| {
            let all: Vec<Row> = serde_json::from_str(rows).unwrap();
            // As the database converts them: constraints are looked at later.
            let refusals = all.iter().filter_map(|row| state.refusal(row));
            let mut types = refusals.filter(|refusal| refusal.code.starts_with("22"));
            if let Some(refusal) = types.next() {
                return Err(Fault::Row(Box::new(refusal)));
            }
            let place = (epoch.clone(), part);
            state.staged.entry(place).or_insert_with(|| rows.to_owned());
            Ok(())
        })
    }

    fn publish(
        &mut self,
        statement: &Statement,
        epoch: &Epoch,
        parts: i64,
    ) -> Result<Outcome, Fault> {
        self.transaction(|state| {
            if state.published.contains(epoch) {
                return Ok(Outcome::WasDone);
            }
            let staged = state.staged.iter();
            let staged = staged.filter(|((of, _), _)| of == epoch);
            let rows: Vec<_> = staged.map(|(_, rows)| rows.clone()).collect();
            if rows.len() as i64 != parts {
                let found = rows.len() as i64;
                return Ok(Outcome::Missing { found });
            }
            let before = state.rows.clone();
            for rows in rows {
                if let Err(fault) = state.write(statement, &rows) {
                    state.rows = before;
                    return Err(fault);
                }
            }
            state.staged.retain(|(of, _), _| of != epoch);
            state.published.insert(epoch.clone());
            Ok(Outcome::Done)
        })
    }

    fn discard(&mut self, sink: &str, forget: bool) -> Result<(), Fault> {
        let mut state = self.state.lock().unwrap();
        state.staged.retain(|(epoch, _), _| epoch.sink != sink);
        state
            .published
            .retain(|epoch| !forget || epoch.sink != sink);
        Ok(())
    }

    fn convert(&mut self, _: &Statement, column: &str, row: &str) -> Result<(), Fault> {
        assert!(!self.lost, "a lost connection is not used again");
        let row: Row = serde_json::from_str(row).unwrap();
        assert!(row.keys().eq([column]));
        match self.state.lock().unwrap().refusal(&row) {
            Some(refusal) => Err(Fault::Row(Box::new(refusal))),
            None => Ok(()),
        }
    }
}

//! What is looked at before anything is written.

use super::database::{Connection, Database, Fault, Found, Shape};
use super::error::PostgresError;
use super::statement::{Statement, Table};

/// Looks at a table: that it is there, may be written, and can find rows by the key.
pub(super) fn table<D: Database>(
    database: &D,
    table: &Table,
    key: &[String],
) -> Result<(D::Connection, Shape), PostgresError> {
    let refused = |fault| connecting(database, fault);
    let mut connection = database.connect().map_err(refused)?;
    let shape = match connection.look(table).map_err(refused)? {
        Found::Shape(shape) => shape,
        Found::Nothing { alike } => {
            return Err(PostgresError::NoTable {
                table: table.clone(),
                place: database.place(),
                alike,
            });
        }
    };
    let table = || table.clone();
    let no_right = |right| PostgresError::NoRight {
        table: table(),
        right,
    };
    if !shape.can_insert {
        return Err(no_right("insert"));
    }
    if !key.is_empty() {
        known(table(), &shape, key)?;
        if !shape.unique.iter().any(|index| is_same_set(index, key)) {
            return Err(PostgresError::NoIndex {
                table: table(),
                key: key.to_vec(),
                unique: shape.unique,
            });
        }
        if !shape.can_update {
            return Err(no_right("update"));
        }
    }
    Ok((connection, shape))
}

/// Looks whether rows with the statement's columns can be rows of the table.
pub(super) fn columns(statement: &Statement, shape: &Shape) -> Result<(), PostgresError> {
    let Statement {
        table,
        columns,
        key,
    } = statement;
    let missing: Vec<_> = key
        .iter()
        .filter(|column| !columns.contains(column))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(PostgresError::NoKey {
            missing,
            columns: columns.clone(),
        });
    }
    known(table.clone(), shape, columns)?;
    for column in &shape.columns {
        let written = columns.contains(&column.name);
        let (table, name) = (table.clone(), column.name.clone());
        if column.generated && written {
            return Err(PostgresError::Generated {
                table,
                column: name,
            });
        }
        if column.required && !written {
            return Err(PostgresError::Required {
                table,
                column: name,
            });
        }
    }
    Ok(())
}

/// What a fault means before the job has started: there is no second attempt.
pub(super) fn connecting<D: Database>(database: &D, fault: Fault) -> PostgresError {
    let source = match fault {
        Fault::Passing(source) | Fault::Lasting(source) => source,
        Fault::Row(refusal) | Fault::SameRow(refusal) => refusal.into(),
        Fault::Cancelled => "the job was cancelled".into(),
    };
    match source.downcast::<PostgresError>() {
        Ok(error) => *error,
        Err(source) => PostgresError::Connect {
            place: database.place(),
            source,
        },
    }
}

fn known(table: Table, shape: &Shape, names: &[String]) -> Result<(), PostgresError> {
    let has = |name: &String| shape.columns.iter().any(|column| column.name == *name);
    let missing: Vec<_> = names.iter().filter(|name| !has(name)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let has = shape.columns.iter().map(|column| column.name.clone());
    Err(PostgresError::NoColumn {
        table,
        missing,
        has: has.collect(),
    })
}

fn is_same_set(index: &[String], key: &[String]) -> bool {
    index.len() == key.len() && key.iter().all(|column| index.contains(column))
}

//! The SQL of the sink. Rows travel as one JSON parameter, so the text depends on the columns only and is prepared once.

use std::fmt;

/// The name of a table, as the program gave it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    schema: Option<String>,
    name: String,
}

/// How rows with some columns are written to a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// The table.
    pub table: Table,
    /// The columns of a row.
    pub columns: Vec<String>,
    /// Those by which a row replaces another; if there are none, every row is a new one.
    pub key: Vec<String>,
}

impl Table {
    /// `table`, or `schema.table`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let (schema, name) = match name.split_once('.') {
            Some((schema, name)) => (Some(schema.to_owned()), name),
            None => (None, name),
        };
        Self {
            schema,
            name: name.to_owned(),
        }
    }

    /// The schema; none if the server's search path decides.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name within its schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in SQL.
    #[must_use]
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.name)),
            None => quoted(&self.name),
        }
    }
}

/// As it stands in messages.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted())
    }
}

impl Statement {
    /// The statement, with the rows as its one parameter: a JSON array as text.
    #[must_use]
    pub fn sql(&self) -> String {
        self.insert("$1::text")
    }

    /// Keeps the rows of a part, once the database has converted them: sink, run, subtask, epoch, part, rows.
    #[must_use]
    pub fn staging(&self) -> String {
        format!(
            "WITH converted AS MATERIALIZED (SELECT count(*) FROM jsonb_populate_recordset(NULL::{}, $6::text::jsonb)) \
             INSERT INTO levada_staged (sink, run, subtask, epoch, part, rows) SELECT $1, $2, $3, $4, $5, $6::text FROM \
             converted ON CONFLICT DO NOTHING",
            self.table.quoted()
        )
    }

    /// Makes a part rows of the table: sink, run, subtask, epoch, part.
    #[must_use]
    pub fn publication(&self) -> String {
        let part = "(SELECT rows FROM levada_staged WHERE sink = $1 AND run = $2 AND subtask = $3 AND epoch = $4 AND \
                    part = $5)";
        self.insert(part)
    }

    /// Inserts the rows of a text.
    fn insert(&self, rows: &str) -> String {
        let table = self.table.quoted();
        let columns = list(&self.columns);
        let insert = format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, {rows}::jsonb)"
        );
        if self.key.is_empty() {
            return insert;
        }
        let others = self
            .columns
            .iter()
            .filter(|column| !self.key.contains(column));
        let set: Vec<_> = others
            .map(|column| format!("{0} = EXCLUDED.{0}", quoted(column)))
            .collect();
        let key = list(&self.key);
        if set.is_empty() {
            format!("{insert} ON CONFLICT ({key}) DO NOTHING")
        } else {
            format!(
                "{insert} ON CONFLICT ({key}) DO UPDATE SET {}",
                set.join(", ")
            )
        }
    }

    /// A query that converts one column of a row, a JSON object as text, to the column's type.
    #[must_use]
    pub fn conversion(&self, column: &str) -> String {
        format!(
            "SELECT {} IS NULL FROM jsonb_populate_record(NULL::{}, $1::text::jsonb)",
            quoted(column),
            self.table.quoted()
        )
    }
}

/// A name as an SQL identifier: taken as it is, whatever it holds.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &str, columns: &[&str], key: &[&str], expect: &str) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let statement = Statement {
            table: Table::new(table),
            columns: owned(columns),
            key: owned(key),
        };
        assert_eq!(statement.sql(), expect);
    }

    #[test]
    fn without_a_key_every_row_is_new() {
        check(
            "hits",
            &["url", "at"],
            &[],
            "INSERT INTO \"hits\" (\"url\", \"at\") SELECT \"url\", \"at\" FROM \
             jsonb_populate_recordset(NULL::\"hits\", $1::text::jsonb)",
        );
    }

    #[test]
    fn with_a_key_a_row_replaces_another() {
        check(
            "shop.orders",
            &["id", "sum"],
            &["id"],
            "INSERT INTO \"shop\".\"orders\" (\"id\", \"sum\") SELECT \"id\", \"sum\" FROM \
             jsonb_populate_recordset(NULL::\"shop\".\"orders\", $1::text::jsonb) ON CONFLICT (\"id\") DO UPDATE SET \
             \"sum\" = EXCLUDED.\"sum\"",
        );
        check(
            "seen",
            &["id"],
            &["id"],
            "INSERT INTO \"seen\" (\"id\") SELECT \"id\" FROM jsonb_populate_recordset(NULL::\"seen\", \
             $1::text::jsonb) ON CONFLICT (\"id\") DO NOTHING",
        );
    }

    #[test]
    fn a_name_is_no_way_into_the_statement() {
        check(
            "t\"; DROP TABLE t; --",
            &["a\"b"],
            &[],
            "INSERT INTO \"t\"\"; DROP TABLE t; --\" (\"a\"\"b\") SELECT \"a\"\"b\" FROM \
             jsonb_populate_recordset(NULL::\"t\"\"; DROP TABLE t; --\", $1::text::jsonb)",
        );
    }
}

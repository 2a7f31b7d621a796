//! Rows that are written together.

use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;

use super::database::Shape;
use super::error::PostgresError;
use super::fields::Fields;

/// Makes rows of records: objects with the columns of the statement, in their order.
pub(super) struct Encoder {
    fields: Fields,
    columns: Vec<EncodedColumn>,
    /// By place among the columns.
    key: Vec<usize>,
    /// Whether the program has named the columns, so that a record may have more fields.
    named: bool,
}

struct EncodedColumn {
    name: String,
    /// The name as JSON, with its colon.
    prefix: String,
    /// Whether it holds bytes, which JSON writes as an array of numbers.
    is_bytes: bool,
}

/// Rows of one statement.
#[derive(Default)]
pub(super) struct Batch {
    /// The rows as JSON, one after the other.
    json: Vec<u8>,
    /// None if a later row has the same key: the statement must not touch a row twice.
    rows: Vec<Option<Range<usize>>>,
    /// The last row of each key.
    by_key: HashMap<Vec<u8>, usize>,
    key: Vec<u8>,
}

impl Encoder {
    /// With the columns that the program names, or none yet.
    pub(super) fn new() -> Self {
        Self {
            fields: Fields::default(),
            columns: Vec::new(),
            key: Vec::new(),
            named: false,
        }
    }

    /// Fixes the columns.
    pub(super) fn set_columns(
        &mut self,
        columns: &[String],
        key: &[String],
        shape: &Shape,
        named: bool,
    ) {
        let is_bytes = |name: &str| {
            let mut columns = shape.columns.iter();
            columns.any(|column| column.name == *name && column.kind == "bytea")
        };
        self.columns = columns
            .iter()
            .map(|name| EncodedColumn {
                name: name.clone(),
                prefix: serde_json::Value::from(name.as_str()).to_string() + ":",
                is_bytes: is_bytes(name),
            })
            .collect();
        self.key = key
            .iter()
            .filter_map(|name| columns.iter().position(|column| column == name))
            .collect();
        self.named = named;
    }

    /// Takes a record apart, for [`names`](Encoder::names) and [`encode`](Encoder::encode).
    pub(super) fn read<T: Serialize>(&mut self, record: &T) -> Result<(), PostgresError> {
        self.fields.read(record)
    }

    /// The names of the record's fields.
    pub(super) fn names(&self) -> Result<Vec<String>, PostgresError> {
        if self.fields.is_tuple() {
            return Err(PostgresError::NoRow {
                shape: "a tuple or a list",
            });
        }
        if self.fields.len() == 0 {
            return Err(PostgresError::NoRow {
                shape: "a struct without fields",
            });
        }
        Ok(self.fields.names().map(str::to_owned).collect())
    }

    /// Adds the record to a batch.
    pub(super) fn encode(&self, batch: &mut Batch) -> Result<(), PostgresError> {
        let tuple = self.fields.is_tuple();
        if tuple && self.fields.len() != self.columns.len() {
            return Err(self.other_fields(format!("{} values", self.fields.len())));
        }
        let begin = batch.json.len();
        let encoded = self.columns(tuple, batch);
        if encoded.is_err() {
            batch.json.truncate(begin);
            return encoded;
        }
        batch.add(begin, !self.key.is_empty());
        Ok(())
    }

    fn columns(&self, tuple: bool, batch: &mut Batch) -> Result<(), PostgresError> {
        batch.key.clear();
        let mut found = 0;
        let mut has_null = false;
        for (i, column) in self.columns.iter().enumerate() {
            batch.json.push(if i == 0 { b'{' } else { b',' });
            batch.json.extend_from_slice(column.prefix.as_bytes());
            let place = if tuple {
                Some(i)
            } else {
                self.fields.find(&column.name, i)
            };
            let begin = batch.json.len();
            match place {
                Some(place) => {
                    found += 1;
                    column.value(self.fields.at(place), &mut batch.json)?;
                }
                None if self.fields.is_fixed() => {
                    return Err(self.other_fields(format!("no field \"{}\"", column.name)));
                }
                None => batch.json.extend_from_slice(b"null"),
            }
            if self.key.contains(&i) {
                has_null |= &batch.json[begin..] == b"null";
                batch.key.extend_from_slice(&batch.json[begin..]);
                // JSON has no byte zero, so that no two keys run into one.
                batch.key.push(0);
            }
        }
        batch.json.push(b'}');
        if has_null {
            // To the database null equals nothing.
            batch.key.clear();
        }
        if !self.named && found < self.fields.len() {
            let columns = |name: &&str| self.columns.iter().any(|column| column.name == **name);
            let mut others = self.fields.names().filter(|name| !columns(name));
            let other = others.next().unwrap_or("of an unknown name");
            return Err(self.other_fields(format!("a field \"{other}\"")));
        }
        Ok(())
    }

    fn other_fields(&self, found: String) -> PostgresError {
        let columns = self.columns.iter().map(|column| column.name.clone());
        PostgresError::Fields {
            columns: columns.collect(),
            found,
        }
    }
}

impl EncodedColumn {
    fn value(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), PostgresError> {
        if !self.is_bytes || json.first() != Some(&b'[') {
            out.extend_from_slice(json);
            return Ok(());
        }
        let bytes: Vec<u8> = serde_json::from_slice(json).map_err(PostgresError::Json)?;
        out.extend_from_slice(b"\"\\\\x");
        for byte in bytes {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            out.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        out.push(b'"');
        Ok(())
    }
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.json.len()
    }

    pub(super) fn clear(&mut self) {
        self.json.clear();
        self.rows.clear();
        self.by_key.clear();
    }

    /// How many rows of a part are to be written.
    pub(super) fn count(&self, part: Range<usize>) -> usize {
        self.rows[part].iter().flatten().count()
    }

    /// The rows of a part as a JSON array.
    pub(super) fn array(&self, part: Range<usize>) -> String {
        let mut array = Vec::with_capacity(self.json.len() + self.rows.len() + 2);
        array.push(b'[');
        for row in self.rows[part].iter().flatten() {
            if array.len() > 1 {
                array.push(b',');
            }
            array.extend_from_slice(&self.json[row.clone()]);
        }
        array.push(b']');
        String::from_utf8(array).expect("JSON is UTF-8")
    }

    /// The first row of a part.
    pub(super) fn first(&self, part: Range<usize>) -> &str {
        let row = self.rows[part].iter().flatten().next();
        let json = row.map_or(&[][..], |row| &self.json[row.clone()]);
        std::str::from_utf8(json).expect("JSON is UTF-8")
    }

    /// Adds the row that begins there; it takes the place of an earlier one with the same key.
    fn add(&mut self, begin: usize, keyed: bool) {
        let row = self.rows.len();
        self.rows.push(Some(begin..self.json.len()));
        if keyed && !self.key.is_empty() {
            if let Some(last) = self.by_key.get_mut(&self.key) {
                self.rows[*last] = None;
                *last = row;
            } else {
                self.by_key.insert(self.key.clone(), row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::postgres::database::Column;

    #[derive(Serialize)]
    struct Item {
        id: u64,
        #[serde(rename = "the name")]
        name: Option<&'static str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        data: Vec<u8>,
    }

    fn item(id: u64, name: Option<&'static str>) -> Item {
        Item {
            id,
            name,
            data: Vec::new(),
        }
    }

    fn shape() -> Shape {
        Shape {
            columns: vec![Column {
                name: "data".to_owned(),
                kind: "bytea".to_owned(),
                required: false,
                generated: false,
            }],
            ..Shape::default()
        }
    }

    /// The rows of these records, or what is wrong with one.
    fn rows<T: Serialize>(records: &[T], columns: &[&str], key: &[&str]) -> String {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (columns, key): (Vec<_>, Vec<_>) = (owned(columns), owned(key));
        let mut encoder = Encoder::new();
        let mut batch = Batch::default();
        for record in records {
            let added = encoder.read(record).and_then(|()| {
                if encoder.columns.is_empty() {
                    let named = !columns.is_empty();
                    let columns = if named {
                        columns.clone()
                    } else {
                        encoder.names()?
                    };
                    encoder.set_columns(&columns, &key, &shape(), named);
                }
                encoder.encode(&mut batch)
            });
            if let Err(error) = added {
                return error.to_string();
            }
        }
        batch.array(0..batch.len())
    }

    #[test]
    fn a_struct_is_a_row() {
        assert_eq!(
            rows(&[item(1, Some("a\"b\n")), item(2, None)], &[], &[]),
            r#"[{"id":1,"the name":"a\"b\n","data":null},{"id":2,"the name":null,"data":null}]"#
        );
        let bytes = Item {
            data: vec![0, 255, 16],
            ..item(1, None)
        };
        assert_eq!(rows(&[bytes], &["data"], &[]), r#"[{"data":"\\x00ff10"}]"#);
    }

    #[test]
    fn named_columns_choose_fields_and_give_tuples_names() {
        assert_eq!(
            rows(&[item(1, Some("a"))], &["the name", "id"], &[]),
            r#"[{"the name":"a","id":1}]"#
        );
        assert_eq!(
            rows(&[("to", 2), ("be", 2)], &["word", "count"], &["word"]),
            r#"[{"word":"to","count":2},{"word":"be","count":2}]"#
        );
        assert_eq!(
            rows(&[("to", 2)], &["word"], &[]),
            "a record has 2 values, but the columns are \"word\""
        );
        assert_eq!(
            rows(&[item(1, None)], &["id", "nmae"], &[]),
            "a record has no field \"nmae\", but the columns are \"id\", \"nmae\""
        );
    }

    #[test]
    fn of_several_rows_with_one_key_the_last_is_written() {
        let records = [
            item(1, Some("a")),
            item(2, Some("b")),
            item(1, Some("c")),
            item(1, Some("d")),
        ];
        assert_eq!(
            rows(&records, &["id", "the name"], &["id"]),
            r#"[{"id":2,"the name":"b"},{"id":1,"the name":"d"}]"#
        );
        // Two columns do not run into one, and null equals nothing.
        let check = |records: &[(Option<&str>, &str)], expect: usize| {
            let rows = rows(records, &["a", "b"], &["a", "b"]);
            assert_eq!(rows.matches('{').count(), expect, "{rows}");
        };
        check(&[(Some("x"), "yz"), (Some("xy"), "z")], 2);
        check(&[(Some("x"), "y"), (Some("x"), "y")], 1);
        check(&[(None, "y"), (None, "y")], 2);
    }

    #[test]
    fn a_map_has_the_columns_of_the_first_one() {
        let map = |names: &[&str]| -> BTreeMap<String, u64> {
            names.iter().map(|name| ((*name).to_owned(), 1)).collect()
        };
        assert_eq!(
            rows(&[map(&["a", "b"]), map(&["b"])], &[], &[]),
            r#"[{"a":1,"b":1},{"a":null,"b":1}]"#
        );
        assert_eq!(
            rows(&[map(&["a"]), map(&["a", "b"])], &[], &[]),
            "a record has a field \"b\", but the columns are \"a\""
        );
    }

    #[test]
    fn what_is_no_row() {
        let check = |message: String, shape: &str| {
            let expect = format!(
                "a record that is {shape} is no row: write structs, or tuples with their `.columns([..])`"
            );
            assert_eq!(message, expect);
        };
        check(rows(&[1], &[], &[]), "a number");
        check(rows(&["x"], &[], &[]), "a text");
        check(rows(&[("x", 1)], &[], &[]), "a tuple or a list");
        check(rows(&[Some(1u8)], &[], &[]), "a number");
        check(rows(&[Ok::<u8, u8>(1)], &[], &[]), "an enum");
        check(
            rows(&[BTreeMap::from([(1, 2)])], &[], &[]),
            "a map whose keys are no texts",
        );
    }
}

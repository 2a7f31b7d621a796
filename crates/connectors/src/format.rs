//! Records as lines of text.

mod formatting;
mod row;
mod text;

use std::sync::Arc;

use levada_core::BoxError;
use serde::Serialize;

use crate::error::Error;
use crate::format::row::{Row, Style};

pub(crate) use formatting::Formatting;

/// Writes records of type `T` as text.
pub trait Format<T>: Clone + Send + Sync + 'static {
    /// Appends the text of a record, without a line break.
    ///
    /// # Errors
    /// If the record cannot be written.
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Appends what stands before the first record of a file, without a line break; nothing by default.
    ///
    /// # Errors
    /// If the record cannot tell.
    fn header(&self, first: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let _ = (first, out);
        Ok(())
    }
}

/// A string as it is, anything else as JSON on one line.
#[derive(Clone, Copy, Debug)]
pub struct AsText;

impl<T: Serialize> Format<T> for AsText {
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        if record.serialize(text::StringOnly(out)).is_ok() {
            return Ok(());
        }
        serde_json::to_writer(out, record).map_err(|error| Error::Format(error).into())
    }
}

/// The fields of a tuple or struct joined by TAB.
///
/// As in the text format of PostgreSQL's `COPY`: TAB, line breaks and backslashes within a field are written as `\t`,
/// `\n`, `\r` and `\\`, and a missing value as `\N`. A field that has fields itself is written as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Tsv;

impl<T: Serialize> Format<T> for Tsv {
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        record.serialize(Row::new(out, Style::Tsv))?;
        Ok(())
    }
}

/// Anything as JSON on one line; a string in quotes.
#[derive(Clone, Copy, Debug)]
pub struct JsonLine;

impl<T: Serialize> Format<T> for JsonLine {
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        serde_json::to_writer(out, record).map_err(|error| Error::Format(error).into())
    }
}

/// The fields of a tuple or struct as a row of CSV (RFC 4180, but lines end in `\n`).
///
/// The names of a struct's fields are the header, once in each file. A field is quoted if it must be. A missing value is an
/// empty field, and so is a number that is not finite, as JSON has none; a field that has fields itself is written as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Csv;

impl<T: Serialize> Format<T> for Csv {
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        record.serialize(Row::new(out, Style::Csv))?;
        Ok(())
    }

    fn header(&self, first: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        first.serialize(Row::new(out, Style::CsvHeader))?;
        Ok(())
    }
}

/// What a closure writes.
pub struct Custom<W> {
    write: Arc<W>,
}

impl<W> Custom<W> {
    pub(crate) fn new(write: W) -> Self {
        Self {
            write: Arc::new(write),
        }
    }
}

impl<W> Clone for Custom<W> {
    fn clone(&self) -> Self {
        Self {
            write: Arc::clone(&self.write),
        }
    }
}

impl<T, W> Format<T> for Custom<W>
where
    W: Fn(&T, &mut String) + Send + Sync + 'static,
{
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let mut text = String::new();
        (self.write)(record, &mut text);
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        word: &'static str,
        count: u64,
        note: Option<&'static str>,
        tags: Vec<u8>,
    }

    const ROW: Row = Row {
        word: "a\tb\\c",
        count: 3,
        note: None,
        tags: Vec::new(),
    };

    fn check<T>(format: &impl Format<T>, record: &T, expect: &str) {
        let mut out = Vec::new();
        format.write(record, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn text_is_written_as_it_is_and_anything_else_as_json() {
        check(&AsText, &"plain \"text\"".to_owned(), "plain \"text\"");
        check(&AsText, &("a", 1), r#"["a",1]"#);
        check(&AsText, &7, "7");
        check(
            &AsText,
            &ROW,
            r#"{"word":"a\tb\\c","count":3,"note":null,"tags":[]}"#,
        );
    }

    #[test]
    fn json_lines_have_quoted_strings() {
        check(&JsonLine, &"plain \"text\"", r#""plain \"text\"""#);
        check(&JsonLine, &("a", 1), r#"["a",1]"#);
    }

    #[test]
    fn fields_are_joined_by_tab() {
        check(&Tsv, &("word", 3u64), "word\t3");
        check(&Tsv, &ROW, "a\\tb\\\\c\t3\t\\N\t[]");
        check(&Tsv, &(1.5f32, 'x', true, ()), "1.5\tx\ttrue\t\\N");
        check(&Tsv, &("k", ("nested", 1)), "k\t[\"nested\",1]");
        check(&Tsv, &42u8, "42");
        check(&Tsv, &vec![1, 2, 3], "1\t2\t3");
    }

    #[test]
    fn rows_of_csv_are_quoted_where_they_must_be() {
        check(&Csv, &("plain", 3u64), "plain,3");
        check(
            &Csv,
            &("a,b", "c\"d", "e\nf", " g", "h\r"),
            "\"a,b\",\"c\"\"d\",\"e\nf\",\" g\",\"h\r\"",
        );
        check(&Csv, &ROW, "a\tb\\c,3,,[]");
        check(&Csv, &("#no comment", [1, 2]), "\"#no comment\",\"[1,2]\"");
        check(&Csv, &"", "\"\"");
        check(&Csv, &None::<u8>, "\"\"");
        check(&Csv, &("", ""), ",");
    }

    #[test]
    fn a_header_has_the_names_of_a_struct() {
        #[derive(Serialize)]
        struct Named {
            #[serde(rename = "the, first")]
            first: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            second: Option<u8>,
            third: Row,
        }
        let row = |second| Named {
            first: 1,
            second,
            third: ROW,
        };
        let header = |record: &Named| {
            let mut out = Vec::new();
            Csv.header(record, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        for second in [None, Some(2)] {
            assert_eq!(header(&row(second)), "\"the, first\",second,third");
        }
        let nested = "\"{\"\"word\"\":\"\"a\\tb\\\\c\"\",\"\"count\"\":3,\"\"note\"\":null,\"\"tags\"\":[]}\"";
        check(&Csv, &row(None), &format!("1,,{nested}"));
        check(&Csv, &row(Some(2)), &format!("1,2,{nested}"));
        let mut out = Vec::new();
        Csv.header(&("no", "names"), &mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn what_has_no_order_of_fields_is_refused() {
        let map = std::collections::HashMap::from([("a", 1)]);
        let error = Tsv.write(&map, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("a map"), "{error}");
    }

    #[test]
    fn a_closure_writes_what_it_wants() {
        let format = Custom::new(|n: &u64, out: &mut String| {
            out.push('#');
            out.push_str(&n.to_string());
        });
        check(&format, &5, "#5");
    }
}

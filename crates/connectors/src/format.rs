//! Records as lines of text.

mod text;
mod tsv;

use std::sync::Arc;

use levada_core::BoxError;
use serde::Serialize;

use crate::error::Error;

/// Writes records of type `T` as text.
pub trait Format<T>: Clone + Send + Sync + 'static {
    /// Appends the text of a record, without a line break.
    ///
    /// # Errors
    /// If the record cannot be written.
    fn write(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError>;
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
        record.serialize(tsv::Row::new(out))?;
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
    fn fields_are_joined_by_tab() {
        check(&Tsv, &("word", 3u64), "word\t3");
        check(&Tsv, &ROW, "a\\tb\\\\c\t3\t\\N\t[]");
        check(&Tsv, &(1.5f32, 'x', true, ()), "1.5\tx\ttrue\t\\N");
        check(&Tsv, &("k", ("nested", 1)), "k\t[\"nested\",1]");
        check(&Tsv, &42u8, "42");
        check(&Tsv, &vec![1, 2, 3], "1\t2\t3");
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

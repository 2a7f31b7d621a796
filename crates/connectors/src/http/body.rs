//! Records out of the body of a request.

use serde::Serialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// What a body is said to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// One JSON value, or an array of them.
    Json,
    /// A JSON value on each line.
    JsonLines,
    /// Text lines.
    Text,
}

/// Why a body was not understood.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
pub(super) struct BadBody {
    pub(super) error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<usize>,
}

impl Kind {
    /// The kind that a `Content-Type` stands for.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let mut parts = content_type.split(';').map(str::trim);
        let kind = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "application/x-ndjson" | "application/jsonl" => Self::JsonLines,
            "text/plain" => Self::Text,
            _ => return None,
        };
        let is_utf8 = |part: &str| match part.to_ascii_lowercase().split_once('=') {
            Some(("charset", charset)) => {
                matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii")
            }
            _ => true,
        };
        parts.all(is_utf8).then_some(kind)
    }

    /// All records of a body.
    pub(super) fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Result<Vec<T>, BadBody> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let good = &body[..error.valid_up_to()];
            let line = memchr::memchr_iter(b'\n', good).count() + 1;
            let begin = memchr::memrchr(b'\n', good).map_or(0, |at| at + 1);
            BadBody {
                error: "the body is not UTF-8".to_owned(),
                line: Some(line),
                column: Some(good.len() - begin + 1),
            }
        })?;
        match self {
            Self::Json => json(text),
            Self::JsonLines => lines(text)
                .filter(|(_, line)| !line.trim_ascii().is_empty())
                .map(|(number, line)| {
                    serde_json::from_str(line).map_err(|error| bad_json(&error, number))
                })
                .collect(),
            Self::Text => lines(text)
                .map(|(number, line)| {
                    let line: StrDeserializer<'_, ValueError> = line.into_deserializer();
                    T::deserialize(line).map_err(|error| BadBody {
                        error: error.to_string(),
                        line: Some(number),
                        column: None,
                    })
                })
                .collect(),
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// An array is several records if each of its elements is one, else it is one.
fn json<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, BadBody> {
    if !text.trim_ascii_start().starts_with('[') {
        let one = serde_json::from_str(text).map_err(|error| bad_json(&error, 1))?;
        return Ok(vec![one]);
    }
    serde_json::from_str::<Vec<T>>(text).or_else(|error| match serde_json::from_str(text) {
        Ok(one) => Ok(vec![one]),
        Err(_) => Err(bad_json(&error, 1)),
    })
}

/// What is wrong with JSON that begins on this line of the body.
fn bad_json(error: &serde_json::Error, first: usize) -> BadBody {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    BadBody {
        error: said.strip_suffix(&place).unwrap_or(&said).to_owned(),
        line: (error.line() > 0).then(|| error.line() - 1 + first),
        // It does not know the column of a value that begins the text.
        column: (error.line() > 0).then_some(error.column().max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_says_how_to_read() {
        let check = |text: &str, expect| assert_eq!(Kind::of(text), expect, "{text}");
        check("application/json", Some(Kind::Json));
        check("Application/JSON; charset=UTF-8", Some(Kind::Json));
        check("application/json; charset=latin1", None);
        check("application/x-ndjson", Some(Kind::JsonLines));
        check(
            "text/plain;charset=\"utf-8\"; format=flowed",
            Some(Kind::Text),
        );
        check("application/xml", None);
        check("", None);
    }

    #[test]
    fn a_body_is_some_records() {
        let numbers = |kind: Kind, body: &str| kind.decode::<u64>(body.as_bytes()).unwrap();
        assert_eq!(numbers(Kind::Json, " 7 "), [7]);
        assert_eq!(numbers(Kind::Json, "[1, 2]"), [1, 2]);
        assert_eq!(numbers(Kind::Json, "[]"), [0u64; 0]);
        assert_eq!(numbers(Kind::JsonLines, "1\r\n\n2"), [1, 2]);
        let pairs = |body: &str| Kind::Json.decode::<(u64, u64)>(body.as_bytes()).unwrap();
        assert_eq!(pairs("[1, 2]"), [(1, 2)]);
        assert_eq!(pairs("[[1, 2], [3, 4]]"), [(1, 2), (3, 4)]);
        let words = Kind::Text.decode::<String>(b"a b\r\n\nc").unwrap();
        assert_eq!(words, ["a b", "", "c"]);
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let check = |kind: Kind, body: &[u8], error: &str, line, column| {
            let bad = kind.decode::<(u64, String)>(body).unwrap_err();
            assert!(bad.error.contains(error), "{bad:?}");
            assert_eq!((bad.line, bad.column), (line, column), "{bad:?}");
        };
        check(Kind::Json, b"", "EOF", Some(1), Some(1));
        check(
            Kind::Json,
            b"[[1,\n2]]",
            "expected a string",
            Some(2),
            Some(1),
        );
        check(Kind::Json, b"{]", "invalid type: map", Some(1), Some(1));
        check(
            Kind::JsonLines,
            b"[1,\"a\"]\n\n[1,",
            "EOF",
            Some(3),
            Some(3),
        );
        check(
            Kind::JsonLines,
            b"[1,\"a\"]\n[1,\"\xff\"]",
            "UTF-8",
            Some(2),
            Some(5),
        );
        check(Kind::Text, b"a", "invalid type", Some(1), None);
        // A tower of brackets is refused before it fills the stack.
        let tower = "[".repeat(100_000);
        let bad = Kind::Json.decode::<serde_json::Value>(tower.as_bytes());
        assert!(bad.unwrap_err().error.contains("recursion limit"));
    }
}

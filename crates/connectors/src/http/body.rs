//! Records out of the body of a request.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, SeqAccess, Visitor};

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

/// Why there are no records of a body.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Undecoded {
    Bad(BadBody),
    /// There are more than are allowed. Decoded they can be many times as large as the body, so nobody counts the rest.
    TooMany,
}

impl From<BadBody> for Undecoded {
    fn from(bad: BadBody) -> Self {
        Self::Bad(bad)
    }
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

    /// All records of a body, of which there may be so many.
    pub(super) fn decode<T: DeserializeOwned>(
        self,
        body: &[u8],
        records_max: usize,
    ) -> Result<Vec<T>, Undecoded> {
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
            Self::Json => json(text, records_max),
            Self::JsonLines => {
                let lines = lines(text).filter(|(_, line)| !line.trim_ascii().is_empty());
                let decoded = lines.map(|(number, line)| {
                    serde_json::from_str(line).map_err(|error| bad_json(&error, number))
                });
                gather(decoded, records_max)
            }
            Self::Text => {
                let decoded = lines(text).map(|(number, line)| {
                    let line: StrDeserializer<'_, ValueError> = line.into_deserializer();
                    T::deserialize(line).map_err(|error| BadBody {
                        error: error.to_string(),
                        line: Some(number),
                        column: None,
                    })
                });
                gather(decoded, records_max)
            }
        }
    }
}

/// All of these records, if there are not too many.
fn gather<T>(
    decoded: impl Iterator<Item = Result<T, BadBody>>,
    records_max: usize,
) -> Result<Vec<T>, Undecoded> {
    let mut records = Vec::new();
    for record in decoded {
        if records.len() == records_max {
            return Err(Undecoded::TooMany);
        }
        records.push(record?);
    }
    Ok(records)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// An array is several records if each of its elements is one, else it is one.
fn json<T: DeserializeOwned>(text: &str, records_max: usize) -> Result<Vec<T>, Undecoded> {
    if !text.trim_ascii_start().starts_with('[') {
        let one = serde_json::from_str(text).map_err(|error| bad_json(&error, 1))?;
        return Ok(vec![one]);
    }
    let several = AtMost {
        records_max,
        exceeded: &Cell::new(false),
        record: PhantomData,
    };
    let exceeded = several.exceeded;
    let mut array = serde_json::Deserializer::from_str(text);
    let read = array.deserialize_seq(several);
    read.and_then(|records| array.end().map(|()| records))
        .or_else(|error| match serde_json::from_str(text) {
            _ if exceeded.get() => Err(Undecoded::TooMany),
            Ok(one) => Ok(vec![one]),
            Err(_) => Err(bad_json(&error, 1).into()),
        })
}

/// Reads an array of records, as far as it is not too long.
struct AtMost<'a, T> {
    records_max: usize,
    exceeded: &'a Cell<bool>,
    record: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> Visitor<'de> for AtMost<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = array.next_element()? {
            if records.len() == self.records_max {
                self.exceeded.set(true);
                return Err(A::Error::custom("there are too many records"));
            }
            records.push(record);
        }
        Ok(records)
    }
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
        let numbers = |kind: Kind, body: &str| kind.decode::<u64>(body.as_bytes(), 10).unwrap();
        assert_eq!(numbers(Kind::Json, " 7 "), [7]);
        assert_eq!(numbers(Kind::Json, "[1, 2]"), [1, 2]);
        assert_eq!(numbers(Kind::Json, "[]"), [0u64; 0]);
        assert_eq!(numbers(Kind::JsonLines, "1\r\n\n2"), [1, 2]);
        let pairs = |body: &str| {
            Kind::Json
                .decode::<(u64, u64)>(body.as_bytes(), 10)
                .unwrap()
        };
        assert_eq!(pairs("[1, 2]"), [(1, 2)]);
        assert_eq!(pairs("[[1, 2], [3, 4]]"), [(1, 2), (3, 4)]);
        let words = Kind::Text.decode::<String>(b"a b\r\n\nc", 10).unwrap();
        assert_eq!(words, ["a b", "", "c"]);
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let check = |kind: Kind, body: &[u8], error: &str, line, column| {
            let bad = match kind.decode::<(u64, String)>(body, 10) {
                Err(Undecoded::Bad(bad)) => bad,
                other => panic!("{other:?}"),
            };
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
        let bad = Kind::Json.decode::<serde_json::Value>(tower.as_bytes(), 10);
        assert!(format!("{:?}", bad.unwrap_err()).contains("recursion limit"));
    }

    #[test]
    fn a_body_is_decoded_up_to_the_most_records_there_may_be() {
        let check = |kind: Kind, body: &str, expect: Result<usize, Undecoded>| {
            let decoded = kind.decode::<serde_json::Value>(body.as_bytes(), 3);
            assert_eq!(decoded.map(|records| records.len()), expect, "{body}");
        };
        // What is wrong behind the last record that is allowed shows that nobody has looked there.
        check(Kind::Json, "[1,2,3]", Ok(3));
        check(Kind::Json, "[1,2,3,4,}", Err(Undecoded::TooMany));
        check(Kind::JsonLines, "1\n2\n3\n\n", Ok(3));
        check(Kind::JsonLines, "1\n2\n3\n4\n}", Err(Undecoded::TooMany));
        check(Kind::Text, "1\n2\n3", Ok(3));
        check(Kind::Text, "1\n2\n3\n4", Err(Undecoded::TooMany));
        // One record that is an array is no array of records.
        let one = Kind::Json.decode::<Vec<u64>>(b"[1,2,3,4]", 3);
        assert_eq!(one, Ok(vec![vec![1, 2, 3, 4]]));
        let behind = Kind::Json.decode::<u64>(b"[1] 2", 3);
        assert!(matches!(behind, Err(Undecoded::Bad(_))), "{behind:?}");
    }
}

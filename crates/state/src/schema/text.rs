//! How what a type looks like is written, and read.
//!
//! ```text
//! fields = "?" | "^" levels | kind
//!        | "optional" fields | "list of" fields | "map of" fields "to" fields
//!        | "(" fields, .. ")" | "[" fields ";" count "]"
//!        | "{" name (":" fields)?, .. "}"            without fields they are not known
//!        | "one of" "{" name (":" fields)?, .. "}"   without fields it has no content
//! ```
//!
//! A name that is no identifier is written as a string of JSON.

use std::fmt;

use crate::schema::Fields;

/// What has no content.
pub(super) const NOTHING: &str = "nothing";

/// The deepest that is read.
const LEVELS_MAX: usize = 256;

impl Fields {
    /// What is written in a text; unknown if it cannot be read.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader { rest: text };
        match reader.fields(0) {
            Some(fields) if reader.rest.trim_start().is_empty() => fields,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("?"),
            Self::Kind(kind) => f.write_str(kind),
            Self::Optional(inner) => write!(f, "optional {inner}"),
            Self::List(element) => write!(f, "list of {element}"),
            Self::Map(key, value) => write!(f, "map of {key} to {value}"),
            Self::Tuple(parts) => {
                f.write_str("(")?;
                for (place, part) in parts.iter().enumerate() {
                    let comma = if place > 0 { ", " } else { "" };
                    write!(f, "{comma}{part}")?;
                }
                f.write_str(")")
            }
            Self::Array(element, count) => write!(f, "[{element}; {count}]"),
            Self::Struct(fields) => write_named(f, fields, None),
            Self::OneOf(variants) => {
                f.write_str("one of ")?;
                write_named(f, variants, Some(&Self::Kind(NOTHING.to_owned())))
            }
            Self::Above(levels) => write!(f, "^{levels}"),
        }
    }
}

fn write_named(
    f: &mut fmt::Formatter<'_>,
    named: &[(String, Fields)],
    unsaid: Option<&Fields>,
) -> fmt::Result {
    f.write_str("{")?;
    for (place, (name, fields)) in named.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        if is_identifier(name) {
            f.write_str(name)?;
        } else {
            f.write_str(&serde_json::Value::from(name.as_str()).to_string())?;
        }
        if unsaid != Some(fields) {
            write!(f, ": {fields}")?;
        }
    }
    f.write_str("}")
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_of_word)
}

fn is_of_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn fields(&mut self, level: usize) -> Option<Fields> {
        if level > LEVELS_MAX {
            return None;
        }
        let next = level + 1;
        if self.takes('?') {
            return Some(Fields::Unknown);
        }
        if self.takes('^') {
            return Some(Fields::Above(self.word()?.parse().ok()?));
        }
        if self.takes('(') {
            let mut parts = Vec::new();
            while !self.takes(')') {
                parts.push(self.fields(next)?);
                self.takes(',');
            }
            return Some(Fields::Tuple(parts));
        }
        if self.takes('[') {
            let element = Box::new(self.fields(next)?);
            self.takes(';').then_some(())?;
            let count = self.word()?.parse().ok()?;
            self.takes(']').then_some(())?;
            return Some(Fields::Array(element, count));
        }
        if self.takes('{') {
            return Some(Fields::Struct(self.named(next, &Fields::Unknown)?));
        }
        match self.word()? {
            "optional" => Some(Fields::Optional(Box::new(self.fields(next)?))),
            "list" => {
                (self.word()? == "of").then_some(())?;
                Some(Fields::List(Box::new(self.fields(next)?)))
            }
            "map" => {
                (self.word()? == "of").then_some(())?;
                let key = Box::new(self.fields(next)?);
                (self.word()? == "to").then_some(())?;
                Some(Fields::Map(key, Box::new(self.fields(next)?)))
            }
            "one" => {
                (self.word()? == "of").then_some(())?;
                self.takes('{').then_some(())?;
                let nothing = Fields::Kind(NOTHING.to_owned());
                Some(Fields::OneOf(self.named(next, &nothing)?))
            }
            kind => Some(Fields::Kind(kind.to_owned())),
        }
    }

    fn named(&mut self, level: usize, unsaid: &Fields) -> Option<Vec<(String, Fields)>> {
        let mut named = Vec::new();
        while !self.takes('}') {
            let name = self.name()?;
            let fields = match self.takes(':') {
                true => self.fields(level)?,
                false => unsaid.clone(),
            };
            named.push((name, fields));
            self.takes(',');
        }
        Some(named)
    }

    fn name(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        if !self.rest.starts_with('"') {
            return self.word().map(str::to_owned);
        }
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let name = strings.next()?.ok()?;
        let read = strings.byte_offset();
        self.rest = &self.rest[read..];
        Some(name)
    }

    fn word(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !is_of_word(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn takes(&mut self, c: char) -> bool {
        match self.rest.trim_start().strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "?",
            "u64",
            "nothing",
            "{}",
            "{failed: u32, last: optional i64}",
            "{by: map of (u8, string) to list of [u8; 16], next: optional ^2}",
            "one of {Web, Mail: string, Both: {a: u8, b: ?}}",
            "{\"with space\": u8, \"with \\\"quotes\\\": and {\": u8}",
            "()",
        ] {
            let fields = Fields::parse(text);
            assert_eq!(fields.to_string(), text);
            assert_eq!(fields == Fields::Unknown, text == "?");
        }
    }

    #[test]
    fn fields_without_types_are_unknown_and_so_is_what_cannot_be_read() {
        assert_eq!(
            Fields::parse("{sum, count}").to_string(),
            "{sum: ?, count: ?}"
        );
        for text in [
            "",
            "{",
            "(u8",
            "{a: }",
            "u8 u8",
            "list u8",
            "[u8; x]",
            "a tuple of 2",
        ] {
            assert_eq!(Fields::parse(text), Fields::Unknown, "{text}");
        }
        let deep = "optional ".repeat(100_000);
        assert_eq!(Fields::parse(&deep), Fields::Unknown);
    }
}

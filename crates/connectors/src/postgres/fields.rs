//! A serializer that takes a record apart: each field's name, and its value as JSON.

use std::fmt;
use std::ops::Range;

use serde::ser::{self, Impossible, Serialize};

use super::error::PostgresError;
use super::float::not_finite;

/// The fields of a record, taken apart. One of them serves for all records.
#[derive(Default)]
pub(super) struct Fields {
    /// The values, one after the other.
    json: Vec<u8>,
    fields: Vec<(Name, Range<usize>)>,
    /// Whether every record of this type has these fields: a struct has, a map need not.
    fixed: bool,
}

/// The name of a field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Name {
    /// Of a struct.
    Field(&'static str),
    /// Of a map.
    Entry(String),
    /// Of a tuple: its place.
    Place,
}

impl Fields {
    /// Takes a record apart.
    pub(super) fn read<T: Serialize + ?Sized>(&mut self, record: &T) -> Result<(), PostgresError> {
        self.json.clear();
        self.fields.clear();
        self.fixed = true;
        record.serialize(Row(self))
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Whether the fields have no names.
    pub(super) fn is_tuple(&self) -> bool {
        matches!(self.fields.first(), Some((Name::Place, _)))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter_map(|(name, _)| name.as_str())
    }

    /// The value of the field at a place.
    pub(super) fn at(&self, place: usize) -> &[u8] {
        &self.json[self.fields[place].1.clone()]
    }

    /// The place of a field. `guess` is looked at first.
    pub(super) fn find(&self, name: &str, guess: usize) -> Option<usize> {
        let is = |field: &(Name, Range<usize>)| field.0.as_str() == Some(name);
        if self.fields.get(guess).is_some_and(is) {
            return Some(guess);
        }
        self.fields.iter().position(is)
    }

    fn add<T: Serialize + ?Sized>(&mut self, name: Name, value: &T) -> Result<(), PostgresError> {
        let begin = self.json.len();
        serde_json::to_writer(&mut self.json, value).map_err(PostgresError::Json)?;
        if &self.json[begin..] == b"null"
            && let Some(float) = not_finite(value)
        {
            self.json.truncate(begin);
            self.json.extend_from_slice(float.as_bytes());
        }
        self.fields.push((name, begin..self.json.len()));
        Ok(())
    }
}

impl Name {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Field(name) => Some(name),
            Self::Entry(name) => Some(name),
            Self::Place => None,
        }
    }
}

impl ser::Error for PostgresError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Json(ser::Error::custom(message))
    }
}

/// Takes apart what has fields.
struct Row<'a>(&'a mut Fields);

/// Takes apart a map, whose keys come apart from their values.
struct Entries<'a> {
    fields: &'a mut Fields,
    key: Option<String>,
}

const fn no_row<T>(shape: &'static str) -> Result<T, PostgresError> {
    Err(PostgresError::NoRow { shape })
}

macro_rules! single {
    ($($method:ident($($type:ty)?) $shape:literal;)*) => {
        $(
            fn $method(self, $(_: $type)?) -> Result<(), PostgresError> {
                no_row($shape)
            }
        )*
    };
}

impl<'a> ser::Serializer for Row<'a> {
    type Ok = ();
    type Error = PostgresError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Impossible<(), PostgresError>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), PostgresError>;

    single! {
        serialize_bool(bool) "a bool";
        serialize_i8(i8) "a number";
        serialize_i16(i16) "a number";
        serialize_i32(i32) "a number";
        serialize_i64(i64) "a number";
        serialize_i128(i128) "a number";
        serialize_u8(u8) "a number";
        serialize_u16(u16) "a number";
        serialize_u32(u32) "a number";
        serialize_u64(u64) "a number";
        serialize_u128(u128) "a number";
        serialize_f32(f32) "a number";
        serialize_f64(f64) "a number";
        serialize_char(char) "a character";
        serialize_str(&str) "a text";
        serialize_bytes(&[u8]) "bytes";
        serialize_none() "`None`";
        serialize_unit() "`()`";
        serialize_unit_struct(&'static str) "a struct without fields";
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), PostgresError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), PostgresError> {
        no_row("an enum")
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), PostgresError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), PostgresError> {
        no_row("an enum")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, PostgresError> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, PostgresError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, PostgresError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, PostgresError> {
        no_row("an enum")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, PostgresError> {
        self.0.fixed = false;
        Ok(Entries {
            fields: self.0,
            key: None,
        })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, PostgresError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, PostgresError> {
        no_row("an enum")
    }
}

macro_rules! places {
    ($($trait:ident::$method:ident;)*) => {
        $(
            impl ser::$trait for Row<'_> {
                type Ok = ();
                type Error = PostgresError;

                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PostgresError> {
                    self.0.add(Name::Place, value)
                }

                fn end(self) -> Result<(), PostgresError> {
                    Ok(())
                }
            }
        )*
    };
}

places! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
}

impl ser::SerializeStruct for Row<'_> {
    type Ok = ();
    type Error = PostgresError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), PostgresError> {
        self.0.add(Name::Field(name), value)
    }

    /// A field that is skipped has no value; its column is written all the same, or what a row holds would depend on the
    /// rows beside it.
    fn skip_field(&mut self, name: &'static str) -> Result<(), PostgresError> {
        self.0.add(Name::Field(name), &())
    }

    fn end(self) -> Result<(), PostgresError> {
        Ok(())
    }
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = PostgresError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), PostgresError> {
        match serde_json::to_value(key).map_err(PostgresError::Json)? {
            serde_json::Value::String(key) => {
                self.key = Some(key);
                Ok(())
            }
            _ => no_row("a map whose keys are no texts"),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PostgresError> {
        let key = self.key.take();
        let key = key.expect("serde gives each value of a map its key first");
        self.fields.add(Name::Entry(key), value)
    }

    fn end(self) -> Result<(), PostgresError> {
        Ok(())
    }
}

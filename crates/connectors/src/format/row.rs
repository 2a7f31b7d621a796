//! A serializer that writes the fields of a record as a row: joined by TAB, or as CSV.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

use crate::error::Error;

/// A row: a tuple, struct or sequence becomes fields, a single value is one field.
pub(super) struct Row<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
    first: bool,
    style: Style,
}

/// How a row is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// Joined by TAB, with escapes.
    Tsv,
    /// Joined by commas, with quotes.
    Csv,
    /// The names of the fields as CSV; nothing for a record whose fields have no names.
    CsvHeader,
}

impl<'a> Row<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: Style) -> Self {
        Self {
            begin: out.len(),
            out,
            first: true,
            style,
        }
    }

    /// A field of a struct.
    fn named<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if self.style == Style::CsvHeader {
            self.separate();
            self.quoted(name);
            return Ok(());
        }
        self.field(value)
    }

    fn separate(&mut self) {
        if !self.first {
            self.out.push(if self.style == Style::Tsv {
                b'\t'
            } else {
                b','
            });
        }
        self.first = false;
    }

    /// A row of one empty field is not the same as an empty line.
    fn end(self) {
        if self.style == Style::Csv && !self.first && self.out.len() == self.begin {
            self.out.extend_from_slice(b"\"\"");
        }
    }

    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if self.style == Style::CsvHeader {
            return Ok(());
        }
        self.separate();
        // A field is first written as JSON: scalars are then as they should be, but for strings and null.
        let begin = self.out.len();
        serde_json::to_writer(&mut *self.out, value).map_err(Error::Format)?;
        match self.out[begin..].first() {
            Some(b'"') => {
                let text: String =
                    serde_json::from_slice(&self.out[begin..]).map_err(Error::Format)?;
                self.out.truncate(begin);
                if self.style == Style::Tsv {
                    self.escaped(&text);
                } else {
                    self.quoted(&text);
                }
            }
            Some(b'n') => {
                self.out.truncate(begin);
                if self.style == Style::Tsv {
                    self.out.extend_from_slice(b"\\N");
                }
            }
            Some(b'[' | b'{') if self.style == Style::Csv => {
                let json = String::from_utf8_lossy(&self.out[begin..]).into_owned();
                self.out.truncate(begin);
                self.quoted(&json);
            }
            _ => {}
        }
        Ok(())
    }

    fn quoted(&mut self, text: &str) {
        if !text.contains([',', '"', '\n', '\r']) && text.trim() == text && !text.starts_with('#') {
            self.out.extend_from_slice(text.as_bytes());
            return;
        }
        self.out.push(b'"');
        for byte in text.bytes() {
            if byte == b'"' {
                self.out.push(b'"');
            }
            self.out.push(byte);
        }
        self.out.push(b'"');
    }

    fn escaped(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                _ => self.out.push(byte),
            }
        }
    }
}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Format(ser::Error::custom(message))
    }
}

macro_rules! single {
    ($($method:ident($type:ty);)*) => {
        $(
            fn $method(mut self, value: $type) -> Result<(), Error> {
                self.field(&value)?;
                self.end();
                Ok(())
            }
        )*
    };
}

impl ser::Serializer for Row<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Error>;

    single! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(mut self) -> Result<(), Error> {
        self.field(&())?;
        self.end();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::NoFields {
            shape: "an enum that carries a value",
        })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::NoFields {
            shape: "an enum that carries values",
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::NoFields { shape: "a map" })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::NoFields {
            shape: "an enum that carries fields",
        })
    }
}

macro_rules! fields {
    ($($trait:ident::$method:ident;)*) => {
        $(
            impl ser::$trait for Row<'_> {
                type Ok = ();
                type Error = Error;

                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    value: &T,
                ) -> Result<(), Error> {
                    self.field(value)
                }

                fn end(self) -> Result<(), Error> {
                    Row::end(self);
                    Ok(())
                }
            }
        )*
    };
}

fields! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
}

impl ser::SerializeStruct for Row<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.named(name, value)
    }

    /// A field that this record leaves out has its place all the same.
    fn skip_field(&mut self, name: &'static str) -> Result<(), Error> {
        self.named(name, &())
    }

    fn end(self) -> Result<(), Error> {
        Row::end(self);
        Ok(())
    }
}

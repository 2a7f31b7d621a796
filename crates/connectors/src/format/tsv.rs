//! A serializer that writes the fields of a record joined by TAB.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

use crate::error::Error;

/// A row: a tuple, struct or sequence becomes fields, a single value is one field.
pub(super) struct Row<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Row<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, first: true }
    }

    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if !self.first {
            self.out.push(b'\t');
        }
        self.first = false;
        // A field is first written as JSON: scalars are then as they should be, but for strings and null.
        let begin = self.out.len();
        serde_json::to_writer(&mut *self.out, value).map_err(Error::Format)?;
        match self.out[begin..].first() {
            Some(b'"') => {
                let text: String =
                    serde_json::from_slice(&self.out[begin..]).map_err(Error::Format)?;
                self.out.truncate(begin);
                self.escaped(&text);
            }
            Some(b'n') => {
                self.out.truncate(begin);
                self.out.extend_from_slice(b"\\N");
            }
            _ => {}
        }
        Ok(())
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
                self.field(&value)
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

    fn serialize_none(mut self) -> Result<(), Error> {
        self.field(&None::<()>)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(mut self) -> Result<(), Error> {
        self.field(&())
    }

    fn serialize_unit_struct(mut self, _: &'static str) -> Result<(), Error> {
        self.field(&())
    }

    fn serialize_unit_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.field(variant)
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
    ($($trait:ident::$method:ident($($name:ident: $type:ty)?);)*) => {
        $(
            impl ser::$trait for Row<'_> {
                type Ok = ();
                type Error = Error;

                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $($name: $type,)?
                    value: &T,
                ) -> Result<(), Error> {
                    self.field(value)
                }

                fn end(self) -> Result<(), Error> {
                    Ok(())
                }
            }
        )*
    };
}

fields! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeStruct::serialize_field(_name: &'static str);
}

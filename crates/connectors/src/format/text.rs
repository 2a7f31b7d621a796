//! A serializer that takes a string and nothing else.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

/// Writes a string as it is; refuses everything else before anything is written.
pub(super) struct StringOnly<'a>(pub(super) &'a mut Vec<u8>);

/// The value is no string.
#[derive(Debug)]
pub(super) struct NoString;

impl fmt::Display for NoString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value is no string")
    }
}

impl std::error::Error for NoString {}

impl ser::Error for NoString {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(
            fn $method(self, $(_: $type),*) -> Result<$ok, NoString> {
                Err(NoString)
            }
        )*
    };
}

impl ser::Serializer for StringOnly<'_> {
    type Ok = ();
    type Error = NoString;
    type SerializeSeq = Impossible<(), NoString>;
    type SerializeTuple = Impossible<(), NoString>;
    type SerializeTupleStruct = Impossible<(), NoString>;
    type SerializeTupleVariant = Impossible<(), NoString>;
    type SerializeMap = Impossible<(), NoString>;
    type SerializeStruct = Impossible<(), NoString>;
    type SerializeStructVariant = Impossible<(), NoString>;

    fn serialize_str(self, value: &str) -> Result<(), NoString> {
        self.0.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NoString> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), NoString> {
        Err(NoString)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NoString> {
        Err(NoString)
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

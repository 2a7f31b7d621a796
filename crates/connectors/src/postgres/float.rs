//! Floats that JSON has no word for: it would write them as null.

use std::fmt;

use serde::ser::{Impossible, Serialize, Serializer};

/// How PostgreSQL writes a float that is not finite; none if the value is another one.
pub(super) fn not_finite<T: Serialize + ?Sized>(value: &T) -> Option<&'static str> {
    value.serialize(Looking).ok()
}

/// Finds a float, perhaps in an `Option`.
struct Looking;

/// It is no such float.
#[derive(Debug)]
struct Other;

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no float that is not finite")
    }
}

impl std::error::Error for Other {}

impl serde::ser::Error for Other {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Found = Result<&'static str, Other>;
type Never = Impossible<&'static str, Other>;

macro_rules! other {
    ($($method:ident($($type:ty),*) -> $out:ty;)*) => {
        $(
            fn $method(self, $(_: $type),*) -> Result<$out, Other> {
                Err(Other)
            }
        )*
    };
}

impl Serializer for Looking {
    type Ok = &'static str;
    type Error = Other;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_f32(self, value: f32) -> Found {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Found {
        if value.is_nan() {
            Ok("\"NaN\"")
        } else if value == f64::INFINITY {
            Ok("\"Infinity\"")
        } else if value == f64::NEG_INFINITY {
            Ok("\"-Infinity\"")
        } else {
            Err(Other)
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Found {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Found {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Found {
        Err(Other)
    }

    other! {
        serialize_bool(bool) -> &'static str;
        serialize_i8(i8) -> &'static str;
        serialize_i16(i16) -> &'static str;
        serialize_i32(i32) -> &'static str;
        serialize_i64(i64) -> &'static str;
        serialize_u8(u8) -> &'static str;
        serialize_u16(u16) -> &'static str;
        serialize_u32(u32) -> &'static str;
        serialize_u64(u64) -> &'static str;
        serialize_char(char) -> &'static str;
        serialize_str(&str) -> &'static str;
        serialize_bytes(&[u8]) -> &'static str;
        serialize_none() -> &'static str;
        serialize_unit() -> &'static str;
        serialize_unit_struct(&'static str) -> &'static str;
        serialize_unit_variant(&'static str, u32, &'static str) -> &'static str;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_that_are_not_finite() {
        #[derive(serde::Serialize)]
        struct Price(f32);

        assert_eq!(not_finite(&f64::NAN), Some("\"NaN\""));
        assert_eq!(not_finite(&Some(f64::INFINITY)), Some("\"Infinity\""));
        assert_eq!(not_finite(&Price(f32::NEG_INFINITY)), Some("\"-Infinity\""));
        assert_eq!(not_finite(&1.5), None);
        assert_eq!(not_finite(&None::<f64>), None);
        assert_eq!(not_finite("NaN"), None);
        assert_eq!(not_finite(&[f64::NAN]), None);
    }
}

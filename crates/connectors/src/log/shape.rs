//! What the records of a log look like, as far as serde tells without one: the names of the fields of a structure or of
//! the variants of an enumeration, or the kind of anything else. Fields of fields are not looked at.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};

/// Describes a type, without its name: two programs may each have one of their own for the same records.
pub(super) fn shape_of<T: DeserializeOwned>() -> String {
    match T::deserialize(Asked) {
        Err(Shape(shape)) => shape,
        // A type without content asks for nothing.
        Ok(_) => "nothing".to_owned(),
    }
}

/// Answers every question of a type by an error that is the question.
struct Asked;

#[derive(Debug)]
struct Shape(String);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Shape {}

impl Error for Shape {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(format!("a type that says: {message}"))
    }
}

macro_rules! kinds {
    ($($method:ident $kind:literal,)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Shape> {
                Err(Shape($kind.to_owned()))
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Asked {
    type Error = Shape;

    kinds! {
        deserialize_any "anything",
        deserialize_ignored_any "anything",
        deserialize_identifier "a name",
        deserialize_bool "bool",
        deserialize_i8 "i8",
        deserialize_i16 "i16",
        deserialize_i32 "i32",
        deserialize_i64 "i64",
        deserialize_i128 "i128",
        deserialize_u8 "u8",
        deserialize_u16 "u16",
        deserialize_u32 "u32",
        deserialize_u64 "u64",
        deserialize_u128 "u128",
        deserialize_f32 "f32",
        deserialize_f64 "f64",
        deserialize_char "char",
        deserialize_str "text",
        deserialize_string "text",
        deserialize_bytes "bytes",
        deserialize_byte_buf "bytes",
        deserialize_unit "nothing",
        deserialize_seq "a sequence",
        deserialize_map "a map",
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Shape> {
        match visitor.visit_some(Self) {
            Err(Shape(inner)) => Err(Shape(format!("an optional {inner}"))),
            Ok(value) => Ok(value),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Shape> {
        Err(Shape("nothing".to_owned()))
    }

    /// The codec writes a newtype like what is in it.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Shape> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Shape> {
        Err(Shape(format!("a tuple of {len}")))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        _: V,
    ) -> Result<V::Value, Shape> {
        Err(Shape(format!("a tuple of {len}")))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Shape> {
        Err(Shape(format!("{{{}}}", fields.join(", "))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Shape> {
        Err(Shape(format!("one of {{{}}}", variants.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Bid {
        auction: u64,
        #[serde(rename = "amount")]
        price: u64,
    }

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Event {
        Bid(Bid),
        Close,
    }

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Wrapped(Option<Bid>);

    #[test]
    fn shapes() {
        assert_eq!(shape_of::<Bid>(), "{auction, amount}");
        assert_eq!(shape_of::<Event>(), "one of {Bid, Close}");
        assert_eq!(shape_of::<Wrapped>(), "an optional {auction, amount}");
        assert_eq!(shape_of::<u64>(), "u64");
        assert_eq!(shape_of::<String>(), "text");
        assert_eq!(shape_of::<(u8, Bid)>(), "a tuple of 2");
        assert_eq!(shape_of::<Vec<u8>>(), "a sequence");
        assert_eq!(shape_of::<HashMap<u8, u8>>(), "a map");
        assert_eq!(shape_of::<()>(), "nothing");
    }
}

//! The pinned hash: a serde serializer that hashes what it is given.
//!
//! | serde form | words fed |
//! |---|---|
//! | integers, `bool`, `char` | the value, sign-extended to 64 bits (128-bit integers: low word, high word) |
//! | `f32`, `f64` | the bits |
//! | strings, bytes | the length, then eight bytes a word, little endian, the last padded with zeros |
//! | `None`, `Some(x)` | 0; 1 and `x` |
//! | unit, unit struct | nothing |
//! | tuple, struct, newtype | their fields |
//! | enum variant | its index, then its content |
//! | sequence, map | the elements (key, value), then their number |
//!
//! A change here moves every key to another subtask and makes every snapshot unreadable.

use std::fmt;

use serde::ser::{self, Serialize};

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const INCREMENT: u64 = 0x2d35_8dcc_aa6c_78a5;

pub(super) struct KeyHasher(u64);

impl KeyHasher {
    #[inline]
    pub(super) fn new() -> Self {
        Self(INCREMENT)
    }

    #[inline]
    pub(super) fn finish(&self) -> i32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both halves are folded into the 32 bits that are kept"
        )]
        {
            (self.0 ^ (self.0 >> 32)) as i32
        }
    }

    #[inline]
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are folded")]
        let folded = product as u64 ^ (product >> 64) as u64;
        self.0 = folded.wrapping_add(INCREMENT);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = 0;
            for (i, byte) in rest.iter().enumerate() {
                last |= u64::from(*byte) << (8 * i);
            }
            self.word(last);
        }
    }
}

/// Why a key could not be hashed: its `Serialize` failed.
#[derive(Debug)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key's `Serialize` failed: {}", self.0)
    }
}

impl std::error::Error for KeyError {}

impl ser::Error for KeyError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! hash_as_word {
    ($($method:ident($type:ty)),* $(,)?) => {
        $(
            #[inline]
            #[allow(clippy::cast_sign_loss, clippy::cast_lossless, reason = "bits, not numbers")]
            fn $method(self, value: $type) -> Result<(), KeyError> {
                self.word(value as u64);
                Ok(())
            }
        )*
    };
}

impl<'a> ser::Serializer for &'a mut KeyHasher {
    type Ok = ();
    type Error = KeyError;
    type SerializeSeq = Counted<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = Fields<'a>;
    type SerializeMap = Counted<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    hash_as_word! {
        serialize_bool(bool), serialize_char(char),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
    }

    fn serialize_i128(self, value: i128) -> Result<(), KeyError> {
        #[expect(clippy::cast_sign_loss, reason = "bits, not a number")]
        self.serialize_u128(value as u128)
    }

    fn serialize_u128(self, value: u128) -> Result<(), KeyError> {
        #[expect(clippy::cast_possible_truncation, reason = "the low word")]
        self.word(value as u64);
        self.word((value >> 64) as u64);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), KeyError> {
        self.word(u64::from(value.to_bits()));
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), KeyError> {
        self.word(value.to_bits());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), KeyError> {
        self.bytes(value.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), KeyError> {
        self.bytes(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), KeyError> {
        self.word(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), KeyError> {
        self.word(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), KeyError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), KeyError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), KeyError> {
        self.word(u64::from(index));
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        self.word(u64::from(index));
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Counted<'a>, KeyError> {
        Ok(Counted {
            hasher: self,
            count: 0,
        })
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Fields<'a>, KeyError> {
        Ok(Fields(self))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, KeyError> {
        Ok(Fields(self))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields<'a>, KeyError> {
        self.word(u64::from(index));
        Ok(Fields(self))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Counted<'a>, KeyError> {
        Ok(Counted {
            hasher: self,
            count: 0,
        })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, KeyError> {
        Ok(Fields(self))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields<'a>, KeyError> {
        self.word(u64::from(index));
        Ok(Fields(self))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// What has a length of its own: the number of elements is fed after them.
pub(super) struct Counted<'a> {
    hasher: &'a mut KeyHasher,
    count: u64,
}

impl ser::SerializeSeq for Counted<'_> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        self.count += 1;
        value.serialize(&mut *self.hasher)
    }

    fn end(self) -> Result<(), KeyError> {
        self.hasher.word(self.count);
        Ok(())
    }
}

impl ser::SerializeMap for Counted<'_> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), KeyError> {
        self.count += 1;
        key.serialize(&mut *self.hasher)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        value.serialize(&mut *self.hasher)
    }

    fn end(self) -> Result<(), KeyError> {
        self.hasher.word(self.count);
        Ok(())
    }
}

/// What has a fixed number of fields: they are fed one after the other.
pub(super) struct Fields<'a>(&'a mut KeyHasher);

macro_rules! hash_fields {
    ($($trait:ident::$method:ident($($name:ident: $type:ty)?)),* $(,)?) => {
        $(
            impl ser::$trait for Fields<'_> {
                type Ok = ();
                type Error = KeyError;

                #[inline]
                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $($name: $type,)?
                    value: &T,
                ) -> Result<(), KeyError> {
                    value.serialize(&mut *self.0)
                }

                #[inline]
                fn end(self) -> Result<(), KeyError> {
                    Ok(())
                }
            }
        )*
    };
}

hash_fields! {
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(_name: &'static str),
    SerializeStructVariant::serialize_field(_name: &'static str),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::super::key_hash;

    #[derive(Serialize)]
    struct Id(u32);

    #[derive(Serialize)]
    enum Place {
        Nowhere,
        At { x: i32, y: i32 },
        Named(String),
    }

    /// These values are in every snapshot: a failure here is a change of format, not a test to update.
    #[test]
    fn the_hash_is_pinned() {
        fn check<K: Serialize>(key: K, hash: i32) {
            assert_eq!(key_hash(&key).unwrap(), hash);
        }
        check((), GOLDEN[0]);
        check(0u64, GOLDEN[1]);
        check(1u64, GOLDEN[2]);
        check(-1i64, GOLDEN[3]);
        check(u128::MAX, GOLDEN[4]);
        check("", GOLDEN[5]);
        check("a", GOLDEN[6]);
        check("levada", GOLDEN[7]);
        check("eight by", GOLDEN[8]);
        check("seventeen letters", GOLDEN[9]);
        check((1u8, "x", false), GOLDEN[10]);
        check(Place::Nowhere, GOLDEN[11]);
        check(Place::At { x: 1, y: -1 }, GOLDEN[12]);
        check(Place::Named("b".into()), GOLDEN[13]);
        check(Some(3u8), GOLDEN[14]);
        check(None::<u8>, GOLDEN[15]);
        check(vec![1u16, 2, 3], GOLDEN[16]);
        check(BTreeMap::from([("k", 'v')]), GOLDEN[17]);
    }

    const GOLDEN: [i32; 18] = [
        -2_024_147_607,
        708_988_216,
        293_617_779,
        1_010_136_373,
        -1_400_400_404,
        708_988_216,
        -1_146_989_162,
        -774_056_472,
        -2_001_840_556,
        1_100_401_387,
        1_880_965_069,
        708_988_216,
        -828_227_084,
        -1_455_236_756,
        123_199_372,
        708_988_216,
        -1_267_974_651,
        1_504_745_013,
    ];

    #[test]
    fn the_width_of_an_integer_does_not_matter() {
        assert_eq!(key_hash(&7u8).unwrap(), key_hash(&7u64).unwrap());
        assert_eq!(key_hash(&-7i8).unwrap(), key_hash(&-7i64).unwrap());
        assert_eq!(key_hash(&Id(7)).unwrap(), key_hash(&7u64).unwrap());
    }

    #[test]
    fn what_differs_hashes_differently() {
        let mut hashes: Vec<i32> = (0..100_000u64).map(|key| key_hash(&key).unwrap()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        // 100,000 random 32-bit values share some 1.2 pairs.
        assert!(hashes.len() > 99_980, "{} distinct hashes", hashes.len());
        assert_ne!(key_hash("a\0").unwrap(), key_hash("a").unwrap());
        assert_ne!(
            key_hash(&("ab", "c")).unwrap(),
            key_hash(&("a", "bc")).unwrap()
        );
        assert_ne!(
            key_hash(&vec![(); 2]).unwrap(),
            key_hash(&vec![(); 3]).unwrap()
        );
    }

    #[test]
    fn a_key_that_cannot_be_serialised_is_an_error() {
        struct Broken;
        impl Serialize for Broken {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no such user"))
            }
        }
        let error = key_hash(&Broken).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key's `Serialize` failed: no such user"
        );
    }
}

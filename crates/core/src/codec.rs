//! The codec: how records, keys and state become bytes and come back.
//!
//! The only module that knows bincode (`docs/decisions/004-bincode.md`). Integers have their fixed width, little
//! endian; lengths are u64; nothing may follow the value. Everything that stores or sends bytes writes [`CODEC`] beside
//! them, so that another codec is a new number and not a migration.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The number of this codec: bincode 1.3, fixed integers, little endian.
pub const CODEC: u16 = 1;

/// The largest value that is decoded: a length prefix beyond it is damage, not data.
pub const DECODE_BYTES_MAX: u64 = 1 << 30;

/// Appends `value` to `bytes`.
///
/// # Errors
/// If the type's `Serialize` fails, or asks for what the codec cannot write (`#[serde(flatten)]`).
pub fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    // Without the limit: with one, bincode walks the value twice.
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .serialize_into(bytes, value)
        .map_err(CodecError)
}

/// Rebuilds a value from exactly these bytes.
///
/// # Errors
/// If the bytes do not hold one whole value of this type and nothing else.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    options().deserialize(bytes).map_err(CodecError)
}

/// Rebuilds the value at the beginning of `bytes` and moves past it.
///
/// # Errors
/// If the bytes do not begin with a value of this type.
pub fn decode_next<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    options()
        .allow_trailing_bytes()
        .deserialize_from(bytes)
        .map_err(CodecError)
}

/// Appends bytes that were written elsewhere, behind their length (u64).
pub fn encode_part(part: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// The bytes that [`encode_part`] wrote at the beginning of `bytes`; moves past them.
///
/// # Errors
/// If fewer bytes are left than the length says.
pub fn decode_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], CodecError> {
    let length: u64 = decode_next(bytes)?;
    let split = usize::try_from(length)
        .ok()
        .and_then(|length| bytes.split_at_checked(length));
    let Some((part, rest)) = split else {
        let left = bytes.len();
        return Err(CodecError::damaged(format!(
            "a part of {length} bytes begins where {left} are left"
        )));
    };
    *bytes = rest;
    Ok(part)
}

/// Whether all bytes have been decoded.
///
/// # Errors
/// If some are left: what was written was something else.
pub fn expect_end(bytes: &[u8]) -> Result<(), CodecError> {
    if bytes.is_empty() {
        return Ok(());
    }
    Err(CodecError::damaged(format!(
        "{} bytes are left after the last value",
        bytes.len()
    )))
}

/// How many bytes [`encode`] would write, without writing them.
///
/// # Errors
/// As [`encode`], and if the type's `Serialize` panics.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> Result<u64, CodecError> {
    caught(|| {
        bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .serialized_size(value)
            .map_err(CodecError)
    })
}

/// Runs code of a type of the user's where no guard says whose a panic is: it becomes an error, which whoever asked can
/// put a name to.
fn caught<R>(act: impl FnOnce() -> Result<R, CodecError>) -> Result<R, CodecError> {
    panic::catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "a value that is no text".to_owned());
        let error = bincode::ErrorKind::Custom(format!(
            "its `Serialize` or `Deserialize` panicked: {text}"
        ));
        Err(CodecError(Box::new(error)))
    })
}

/// Whether a value survives the codec: encoded, decoded and encoded again it must give the same bytes, in whatever
/// order a hash map writes its entries.
///
/// # Errors
/// If serde cannot rebuild the type (`untagged`, `flatten`, `skip_serializing_if`) or one of its impls panics, with a
/// sentence that says so.
pub fn round_trip<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), CodecError> {
    caught(|| round_trip_of(value))
}

fn round_trip_of<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), CodecError> {
    let mut first = Vec::new();
    encode(value, &mut first)?;
    let rebuilt: T = decode(&first)?;
    let mut second = Vec::new();
    encode(&rebuilt, &mut second)?;
    if first != second {
        first.sort_unstable();
        second.sort_unstable();
        if first != second {
            return Err(CodecError(Box::new(bincode::ErrorKind::Custom(
                "the value that serde rebuilt from its own bytes is another one".into(),
            ))));
        }
    }
    Ok(())
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(DECODE_BYTES_MAX)
        .reject_trailing_bytes()
}

/// Why a value could not be encoded or decoded.
#[derive(Debug)]
pub struct CodecError(bincode::Error);

impl CodecError {
    /// Bytes that are not what they should be, and what is wrong with them.
    #[must_use]
    pub fn damaged(what: impl Into<String>) -> Self {
        Self(Box::new(bincode::ErrorKind::Custom(what.into())))
    }

    /// A value of so many bytes.
    #[must_use]
    pub fn too_large(bytes: u64) -> Self {
        Self::damaged(format!("the value has {bytes} bytes, which is too large"))
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            bincode::ErrorKind::DeserializeAnyNotSupported => f.write_str(
                "the type cannot be rebuilt from bytes that carry no field names \
                 (`#[serde(untagged)]`, `#[serde(flatten)]` and `serde_json::Value` need them)",
            ),
            bincode::ErrorKind::SequenceMustHaveLength => f.write_str(
                "the type writes a sequence or map without saying how long it is \
                 (`#[serde(flatten)]` does that)",
            ),
            bincode::ErrorKind::SizeLimit => {
                write!(f, "the value is larger than {DECODE_BYTES_MAX} bytes")
            }
            kind => write!(f, "{kind}"),
        }
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Bid {
        auction: u64,
        note: Option<String>,
        tags: HashMap<u8, u8>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
        Text(String),
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Skipping {
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<u32>,
        second: u64,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Flat {
        #[serde(flatten)]
        rest: HashMap<String, u64>,
    }

    #[test]
    fn the_layout_is_fixed() {
        let mut bytes = Vec::new();
        encode(&(1u16, 2u32, "ab", Some(3u8)), &mut bytes).unwrap();
        let expected = [1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 1, 3];
        assert_eq!(bytes, expected);
        assert_eq!(
            encoded_len(&(1u16, 2u32, "ab", Some(3u8))).unwrap(),
            expected.len() as u64
        );
        assert_eq!(
            decode::<(u16, u32, String, Option<u8>)>(&bytes).unwrap(),
            (1, 2, "ab".to_owned(), Some(3))
        );
    }

    #[test]
    fn a_value_that_serde_rebuilds_passes() {
        let tags = (0..50).map(|i| (i, i)).collect();
        let bid = Bid {
            auction: 7,
            note: None,
            tags,
        };
        round_trip(&bid).unwrap();
    }

    #[test]
    fn a_value_that_serde_cannot_rebuild_is_told_so() {
        let said = |result: Result<(), CodecError>| result.unwrap_err().to_string();
        assert!(said(round_trip(&Untagged::Text("x".into()))).contains("untagged"));
        assert!(
            said(round_trip(&Flat {
                rest: HashMap::new()
            }))
            .contains("flatten")
        );
        assert!(
            round_trip(&Skipping {
                first: None,
                second: 1
            })
            .is_err()
        );
    }

    #[test]
    fn damage_is_an_error() {
        assert!(decode::<u64>(&[0; 9]).is_err(), "trailing bytes");
        assert!(decode::<u64>(&[0; 7]).is_err(), "missing bytes");
        assert!(
            decode::<Vec<u8>>(&[255; 8]).is_err(),
            "a length beyond the limit"
        );
    }
}

//! How the values in a snapshot are read.

use std::fmt;
use std::sync::Arc;

use levada_core::codec::{self, CodecError};
use serde::de::DeserializeOwned;

/// Reads values at the beginning of bytes: as the codec wrote them, or as they were in an older version of the state.
pub struct ValueReader<V>(Option<Arc<Read<V>>>);

type Read<V> = dyn Fn(&mut &[u8]) -> Result<V, CodecError> + Send + Sync;

impl<V> ValueReader<V> {
    /// One that reads otherwise than the codec.
    pub fn new(read: impl Fn(&mut &[u8]) -> Result<V, CodecError> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// Reads what such values are part of: `read` reads a whole, and uses this one where there is a value. If values are
    /// as the codec wrote them, so is the whole.
    #[must_use]
    pub fn within<W>(
        &self,
        read: impl Fn(&Self, &mut &[u8]) -> Result<W, CodecError> + Send + Sync + 'static,
    ) -> ValueReader<W>
    where
        V: 'static,
    {
        if self.0.is_none() {
            return ValueReader(None);
        }
        let values = self.clone();
        ValueReader::new(move |bytes| read(&values, bytes))
    }
}

impl<V: DeserializeOwned> ValueReader<V> {
    /// Reads the value at the beginning of the bytes, and moves past it.
    ///
    /// # Errors
    /// If the bytes do not begin with such a value.
    pub fn read(&self, bytes: &mut &[u8]) -> Result<V, CodecError> {
        match &self.0 {
            None => codec::decode_next(bytes),
            Some(read) => read(bytes),
        }
    }

    /// Reads a key and its value, behind which nothing follows.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn read_keyed<K: DeserializeOwned>(&self, mut bytes: &[u8]) -> Result<(K, V), CodecError> {
        let Some(read) = &self.0 else {
            return codec::decode(bytes);
        };
        let key = codec::decode_next(&mut bytes)?;
        let value = read(&mut bytes)?;
        codec::expect_end(bytes)?;
        Ok((key, value))
    }

    /// Reads a value that may be missing.
    ///
    /// # Errors
    /// If the bytes do not begin with such a value, or say that there is none.
    pub fn read_option(&self, bytes: &mut &[u8]) -> Result<Option<V>, CodecError> {
        // As the codec writes whether there is one.
        match codec::decode_next::<u8>(bytes)? {
            0 => Ok(None),
            1 => self.read(bytes).map(Some),
            _ => Err(CodecError::damaged(
                "what may be missing is neither there nor not",
            )),
        }
    }
}

impl<V> Clone for ValueReader<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// As the codec wrote them.
impl<V> Default for ValueReader<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V> fmt::Debug for ValueReader<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "ValueReader(codec)",
            Some(_) => "ValueReader(migrated)",
        })
    }
}

/// Reads any number of things, as the codec writes a list.
///
/// # Errors
/// If the bytes do not begin with a list of such things.
pub fn read_list<T>(
    bytes: &mut &[u8],
    mut read: impl FnMut(&mut &[u8]) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let length: u64 = codec::decode_next(bytes)?;
    // Not with room for all of them: the length may be damaged.
    let mut list = Vec::new();
    for _ in 0..length {
        list.push(read(bytes)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_is_read_with_values_of_before_as_it_is_with_those_of_now() {
        type Whole<V> = Vec<(u8, Option<V>)>;
        let now: Whole<u64> = vec![(1, Some(7)), (2, None), (3, Some(9))];
        let before: Whole<u16> = vec![(1, Some(7)), (2, None), (3, Some(9))];
        let read = |values: &ValueReader<u64>, bytes: &mut &[u8]| {
            read_list(bytes, |bytes| {
                Ok((codec::decode_next::<u8>(bytes)?, values.read_option(bytes)?))
            })
        };
        let migrated = ValueReader::new(|bytes| codec::decode_next::<u16>(bytes).map(u64::from));
        for (whole, reader) in [
            (encoded(&now), ValueReader::default()),
            (encoded(&before), migrated),
        ] {
            let reader = reader.within(read);
            let mut bytes = whole.as_slice();
            assert_eq!(reader.read(&mut bytes).unwrap(), now);
            assert!(bytes.is_empty());
            for length in 0..whole.len() {
                assert!(
                    reader.read(&mut &whole[..length]).is_err(),
                    "{length} bytes"
                );
            }
        }
    }

    fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode(value, &mut bytes).unwrap();
        bytes
    }
}

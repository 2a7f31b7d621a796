//! What is in flight on a channel, as it is saved in a checkpoint.

use levada_core::codec::{self, CodecError};
use levada_core::{Exchange, Timestamp};

use crate::batch::{Entry, Watermark};

/// An element that was in flight, restored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InFlight<T> {
    /// A record.
    Record(Entry<T>),
    /// How far the channel was in event time.
    Watermark(Watermark),
}

/// Elements of one channel, in their order, as bytes.
///
/// Records are a 0, their number (u64), and timestamp (i64) and record of each. A watermark is a 1, its time (i64) and whether
/// the channel is idle.
#[derive(Debug, Default)]
pub struct Saved {
    bytes: Vec<u8>,
    records: u64,
}

const RECORDS: u8 = 0;
const WATERMARK: u8 = 1;

impl Saved {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds records, and the watermark that follows them.
    ///
    /// # Errors
    /// If a record cannot be encoded.
    pub fn add<T: Exchange>(
        &mut self,
        entries: &[Entry<T>],
        watermark: Option<Watermark>,
    ) -> Result<(), CodecError> {
        if !entries.is_empty() {
            self.bytes.push(RECORDS);
            self.bytes
                .extend_from_slice(&(entries.len() as u64).to_le_bytes());
            for entry in entries {
                codec::encode(&entry.timestamp, &mut self.bytes)?;
                codec::encode(&entry.record, &mut self.bytes)?;
            }
            self.records += entries.len() as u64;
        }
        if let Some(watermark) = watermark {
            self.add_watermark(watermark);
        }
        Ok(())
    }

    /// Adds a watermark.
    pub fn add_watermark(&mut self, watermark: Watermark) {
        self.bytes.push(WATERMARK);
        self.bytes.extend_from_slice(&watermark.at.0.to_le_bytes());
        self.bytes.push(u8::from(watermark.is_idle));
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The elements in the bytes that [`Saved`] made.
///
/// # Errors
/// If the bytes are no such elements.
pub fn in_flight<T: Exchange>(mut bytes: &[u8]) -> Result<Vec<InFlight<T>>, CodecError> {
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        match codec::decode_next::<u8>(&mut bytes)? {
            RECORDS => {
                for _ in 0..codec::decode_next::<u64>(&mut bytes)? {
                    let timestamp: Timestamp = codec::decode_next(&mut bytes)?;
                    let record = codec::decode_next(&mut bytes)?;
                    elements.push(InFlight::Record(Entry { record, timestamp }));
                }
            }
            WATERMARK => {
                let at: Timestamp = codec::decode_next(&mut bytes)?;
                let is_idle: bool = codec::decode_next(&mut bytes)?;
                elements.push(InFlight::Watermark(Watermark { at, is_idle }));
            }
            other => {
                return Err(CodecError::damaged(format!(
                    "{other} is no element of a channel"
                )));
            }
        }
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_in_their_order() {
        let entry = |record: u32, at| Entry {
            record,
            timestamp: Timestamp(at),
        };
        let mut saved = Saved::new();
        saved
            .add(
                &[entry(1, 5), entry(2, -6)],
                Some(Watermark::active(Timestamp(5))),
            )
            .unwrap();
        saved.add_watermark(Watermark::idle(Timestamp::MAX));
        saved.add(&[entry(3, i64::MIN)], None).unwrap();
        assert_eq!(saved.records(), 3);
        let bytes = saved.into_bytes();
        let expected = [
            InFlight::Record(entry(1, 5)),
            InFlight::Record(entry(2, -6)),
            InFlight::Watermark(Watermark::active(Timestamp(5))),
            InFlight::Watermark(Watermark::idle(Timestamp::MAX)),
            InFlight::Record(entry(3, i64::MIN)),
        ];
        assert_eq!(in_flight::<u32>(&bytes).unwrap(), expected);
        for length in 1..bytes.len() {
            let cut = in_flight::<u32>(&bytes[..length]);
            assert!(cut.is_err() || cut.unwrap().len() < expected.len());
        }
    }
}

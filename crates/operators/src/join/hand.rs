//! Records that have not met all their rows yet.

use std::collections::VecDeque;
use std::ops::Range;

use levada_core::{KeyGroup, codec, fault};
use levada_runtime::{StateError, Two};
use levada_state::WholeState;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A record that has been read, and kept if it is to be, and is on its way through the rows of the other side.
///
/// Nothing is removed or added meanwhile, so the number of rows it has passed is its place among them, also after a
/// restore.
#[derive(Deserialize, Serialize)]
pub(crate) struct Hand<K, A, B, S> {
    pub(crate) key: K,
    pub(crate) record: Two<A, B>,
    pub(crate) stamp: S,
    pub(crate) passed: u64,
    /// Not written: it is that of the state in which the record stands.
    #[serde(skip, default = "unknown")]
    pub(crate) group: KeyGroup,
}

fn unknown() -> KeyGroup {
    KeyGroup(0)
}

/// The record in hand. Right after a restore there may be several, of as many subtasks, and so of different groups.
pub(crate) struct Hands<K, A, B, S> {
    owned: Range<u16>,
    pub(crate) waiting: VecDeque<Hand<K, A, B, S>>,
    /// State has been read that nobody has looked at.
    pub(crate) restored: bool,
    /// What the queue of rows that will be gone takes in memory.
    pub(crate) queue_bytes: u64,
}

impl<K, A, B, S> Hands<K, A, B, S> {
    pub(crate) fn new(owned: Range<u16>) -> Self {
        Self {
            owned,
            waiting: VecDeque::new(),
            restored: false,
            queue_bytes: 0,
        }
    }
}

/// A group is written as the number of records in hand (u64), then each of them.
impl<K, A, B, S> WholeState for Hands<K, A, B, S>
where
    Hand<K, A, B, S>: Serialize + DeserializeOwned,
{
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        for (group, bytes) in self.owned.clone().zip(groups) {
            let group = KeyGroup(group);
            let damaged = |error| StateError::new(group, error);
            let hands = self
                .waiting
                .iter()
                .filter(|hand| hand.group == group && !fault!("hand-unsaved"));
            codec::encode(&(hands.clone().count() as u64), bytes).map_err(damaged)?;
            for hand in hands {
                codec::encode(hand, bytes).map_err(damaged)?;
            }
        }
        Ok(())
    }

    fn memory(&self) -> u64 {
        self.queue_bytes
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        self.restored = true;
        let damaged = |error| StateError::new(group, error);
        let count: u64 = codec::decode_next(&mut bytes).map_err(damaged)?;
        for _ in 0..count {
            let hand: Hand<K, A, B, S> = codec::decode_next(&mut bytes).map_err(damaged)?;
            let passed = if fault!("cursor-unsaved") {
                0
            } else {
                hand.passed
            };
            self.waiting.push_back(Hand {
                group,
                passed,
                ..hand
            });
        }
        codec::expect_end(bytes).map_err(damaged)
    }
}

//! What was in flight on the channels of edges.

use std::collections::{BTreeMap, HashMap};

use levada_checkpoint::{Block, BlockKind};
use levada_core::codec::{self, CodecError};
use levada_core::key::common;
use levada_core::{BoxError, KeyGroups, Timestamp};
use levada_graph::Pattern;
use levada_network::Watermark;

use crate::checkpoint::visitors::Held;
use crate::stage::{EdgeInput, FIRST_OF_BEFORE, RestoredChannel};

/// By edge, consumer and producer.
#[derive(Default)]
pub(super) struct Channels(HashMap<String, BTreeMap<(u32, u32), Channel>>);

struct Channel {
    consumers: u32,
    watermark: Watermark,
    /// What the receiver held, then what the sender held.
    elements: [Vec<Vec<u8>>; 2],
}

impl Channels {
    /// The edges on which something was in flight.
    pub(super) fn edges(&self) -> impl Iterator<Item = &String> {
        let edges = self.0.iter().filter(|(_, channels)| {
            let mut channels = channels.values();
            channels.any(|channel| !channel.elements.iter().all(Vec::is_empty))
        });
        edges.map(|(edge, _)| edge)
    }

    /// The channels of an edge that one of its subtasks goes on with. `by_key` says how key groups are divided, if state
    /// is kept by key behind it.
    pub(super) fn of(
        &self,
        input: &EdgeInput,
        by_key: Option<KeyGroups>,
    ) -> Vec<RestoredChannel<'_>> {
        let Some(channels) = self.0.get(&*input.name) else {
            return Vec::new();
        };
        let groups = |to: u32, channel: &Channel| {
            let before = (channel.consumers as usize).max(1);
            by_key.map(|groups| groups.owned_by(to as usize, before))
        };
        let mine = channels.iter().filter(|((to, _), channel)| {
            let groups = groups(*to, channel);
            let (to, before) = (*to as usize, channel.consumers as usize);
            match input.pattern {
                // Whoever was divided by keys is divided again; each record belongs to one of the new subtasks.
                Pattern::Hash => before != input.consumers || to == input.index,
                // Each had all. What has not met the state of a key is what was in flight to its old owner. Without keys any
                // one will do, with the state of the same one.
                Pattern::Broadcast => match groups {
                    Some(groups) => !common(&groups, &input.owned).is_empty(),
                    None => to == input.index % before.max(1),
                },
                _ => to % input.consumers == input.index,
            }
        });
        // What was in flight in an earlier checkpoint came before all that was sent after it, on whatever channel.
        let (mut mine, since): (Vec<_>, Vec<_>) =
            mine.partition(|((_, from), _)| *from >= FIRST_OF_BEFORE);
        mine.extend(since);
        let mine = mine.into_iter();
        mine.map(|((to, _), channel)| RestoredChannel {
            watermark: channel.watermark,
            groups: groups(*to, channel),
            elements: channel
                .elements
                .iter()
                .flatten()
                .map(Vec::as_slice)
                .collect(),
        })
        .collect()
    }

    /// Takes a block of a channel.
    pub(super) fn take(&mut self, block: &Block<'_>) -> Result<(), BoxError> {
        if block.kind == BlockKind::Input {
            let (consumers, mut rest) = split_u32(block.payload)?;
            let at: Timestamp = codec::decode_next(&mut rest)?;
            let is_idle: bool = codec::decode(rest)?;
            self.channel(block, consumers).watermark = Watermark { at, is_idle };
            return Ok(());
        }
        let (held, rest) = block.payload.split_first().ok_or_else(too_short)?;
        let (consumers, elements) = split_u32(rest)?;
        let held = usize::from(*held == Held::BySender as u8);
        let channel = self.channel(block, consumers);
        channel.elements[held].push(elements.to_vec());
        Ok(())
    }

    fn channel(&mut self, block: &Block<'_>, consumers: u32) -> &mut Channel {
        let edge = self.0.entry(block.name.to_owned()).or_default();
        edge.entry((block.to, block.from))
            .or_insert_with(|| Channel {
                consumers,
                watermark: Watermark::active(Timestamp::MIN),
                elements: Default::default(),
            })
    }
}

fn split_u32(bytes: &[u8]) -> Result<(u32, &[u8]), CodecError> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    Ok((u32::from_le_bytes(*number), rest))
}

fn too_short() -> CodecError {
    CodecError::damaged("it is too short")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint with these bytes in flight from these producers to one consumer.
    fn restored(channels: &[(u32, &[u8])]) -> Channels {
        let mut restored = Channels::default();
        for (from, elements) in channels {
            let mut payload = vec![Held::ByReceiver as u8];
            payload.extend_from_slice(&1u32.to_le_bytes());
            payload.extend_from_slice(elements);
            let block = Block {
                kind: BlockKind::Channel,
                name: "a -> b",
                from: *from,
                to: 0,
                payload: &payload,
            };
            restored.take(&block).unwrap();
        }
        restored
    }

    /// A job that is killed before it has replayed everything, and has taken a checkpoint meanwhile.
    #[test]
    fn what_was_replayed_comes_before_what_was_sent_since() {
        let old = FIRST_OF_BEFORE;
        let restored = restored(&[
            (0, b"new"),
            (1, b"newer"),
            (old, b"old"),
            (old + 1, b"older"),
        ]);
        let input = EdgeInput {
            name: "a -> b".into(),
            pattern: Pattern::Hash,
            index: 0,
            consumers: 1,
            first_producer: 0,
            owned: 0..128,
        };
        let channels = restored.of(&input, Some(KeyGroups::default()));
        let elements: Vec<_> = channels.iter().map(|channel| channel.elements[0]).collect();
        let expected: [&[u8]; 4] = [b"old", b"older", b"new", b"newer"];
        assert_eq!(elements, expected);
    }
}

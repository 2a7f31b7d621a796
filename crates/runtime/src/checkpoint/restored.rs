//! A checkpoint that a job goes on from, in memory until its tasks have taken what is theirs.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use levada_checkpoint::{Archive, Block, BlockKind, CheckpointError, FileEntry, Manifest};
use levada_core::codec::{self, CodecError};
use levada_core::{BoxError, KeyGroups, Origin, Timestamp};
use levada_graph::Pattern;
use levada_network::Watermark;
use levada_state::{KeyedState, OperatorState, Snapshot, StateError};

use crate::checkpoint::visitors::Held;
use crate::push::Visitor;
use crate::stage::{EdgeInput, FIRST_OF_BEFORE, Replays, RestoredChannel};

/// What was saved, by whom it belongs to.
pub struct Restored {
    manifest: Manifest,
    state: Snapshot,
    /// By edge, consumer and producer.
    channels: HashMap<String, BTreeMap<(u32, u32), Channel>>,
    /// By source: what each subtask was reading.
    sources: HashMap<String, Vec<Vec<u8>>>,
    /// By source: what nobody was reading.
    splits: HashMap<String, Vec<u8>>,
    /// By sink: what each subtask had prepared.
    sinks: BTreeMap<String, Vec<Vec<u8>>>,
    /// Records that were in flight.
    in_flight: u64,
}

/// What is left of a source.
pub(crate) struct RestoredSplits<'a> {
    /// What each subtask was reading.
    pub(crate) open: Vec<&'a [u8]>,
    /// What none was.
    pub(crate) waiting: Option<&'a [u8]>,
}

struct Channel {
    consumers: u32,
    watermark: Watermark,
    /// What the receiver held, then what the sender held.
    elements: [Vec<Vec<u8>>; 2],
}

impl Restored {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If it is missing or damaged in any way.
    pub(crate) fn load(
        archive: &Archive,
        manifest: Manifest,
    ) -> Result<Arc<Self>, CheckpointError> {
        let number = manifest.number;
        let mut restored = Self {
            state: Snapshot::new(),
            channels: HashMap::new(),
            sources: HashMap::new(),
            splits: HashMap::new(),
            sinks: BTreeMap::new(),
            in_flight: 0,
            manifest,
        };
        let files = restored.manifest.files.clone().into_iter();
        // Of the checkpoints that this one is based on only the keyed state counts: the rest is all in its own file.
        let (own, base): (Vec<_>, Vec<_>) = files.partition(|file| file.number() == Some(number));
        for file in base {
            restored.load_file(archive, file, |block| block.kind == BlockKind::Keyed)?;
        }
        restored.forget_finished();
        for file in own {
            restored.load_file(archive, file, |_| true)?;
        }
        Ok(Arc::new(restored))
    }

    fn load_file(
        &mut self,
        archive: &Archive,
        file: FileEntry,
        counts: impl Fn(&Block<'_>) -> bool,
    ) -> Result<(), CheckpointError> {
        let mut of_file = self.manifest.clone();
        of_file.files = vec![file];
        archive.load(&of_file, |block| match counts(&block) {
            true => self.take(&block),
            false => Ok(()),
        })?;
        Ok(())
    }

    /// A subtask that has ended tells nobody that the state which it had saved before is gone.
    fn forget_finished(&mut self) {
        let groups = KeyGroups::new(self.manifest.key_groups).unwrap_or_default();
        for operator in &self.manifest.operators {
            for subtask in &operator.finished {
                let owned = groups.owned_by(*subtask as usize, operator.parallelism as usize);
                self.state.forget(&operator.name, owned);
            }
        }
    }

    /// What it is of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Records that were in flight on channels.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// State by operator.
    #[must_use]
    pub fn state(&self) -> &Snapshot {
        &self.state
    }

    /// The splits of a source; none if the source was not there.
    pub(crate) fn splits(&self, source: &str) -> Option<RestoredSplits<'_>> {
        let waiting = self.splits.get(source).map(Vec::as_slice);
        let open = self.sources.get(source);
        let was_there = self
            .manifest
            .operators
            .iter()
            .any(|operator| operator.name == source);
        if open.is_none() && waiting.is_none() && !was_there {
            return None;
        }
        let open = open.into_iter().flatten().map(Vec::as_slice);
        Some(RestoredSplits {
            open: open.collect(),
            waiting,
        })
    }

    /// What the subtasks of a sink had prepared.
    pub(crate) fn prepared(&self, sink: &str) -> Vec<&[u8]> {
        let prepared = self.sinks.get(sink).into_iter().flatten();
        prepared.map(Vec::as_slice).collect()
    }

    /// The names of the operators, sources, sinks and edges that have something in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let operators = self.state.operators().map(str::to_owned);
        let others = self
            .sources
            .keys()
            .chain(self.splits.keys())
            .chain(self.sinks.keys());
        let edges = self.channels.iter().filter(|(_, channels)| {
            let mut channels = channels.values();
            channels.any(|channel| !channel.elements.iter().all(Vec::is_empty))
        });
        let edges = edges.map(|(edge, _)| edge);
        let mut names: Vec<_> = operators.chain(others.chain(edges).cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The channels of an edge that one of its subtasks goes on with.
    fn channels(&self, input: &EdgeInput) -> Vec<RestoredChannel<'_>> {
        let Some(channels) = self.channels.get(&*input.name) else {
            return Vec::new();
        };
        let mine = channels.iter().filter(|((to, _), channel)| {
            let (to, before) = (*to as usize, channel.consumers as usize);
            match input.pattern {
                // Whoever was divided by keys is divided again; each record belongs to one of the new subtasks.
                Pattern::Hash => before != input.consumers || to == input.index,
                // Each had all: a new one takes what one of the old ones had, with the state of the same one.
                Pattern::Broadcast => to == input.index % before.max(1),
                _ => to % input.consumers == input.index,
            }
        });
        // What was in flight in an earlier checkpoint came before all that was sent after it, on whatever channel.
        let (mut mine, since): (Vec<_>, Vec<_>) =
            mine.partition(|((_, from), _)| *from >= FIRST_OF_BEFORE);
        mine.extend(since);
        let mine = mine.into_iter();
        mine.map(|(_, channel)| RestoredChannel {
            watermark: channel.watermark,
            elements: channel
                .elements
                .iter()
                .flatten()
                .map(Vec::as_slice)
                .collect(),
        })
        .collect()
    }

    fn take(&mut self, block: &Block<'_>) -> Result<(), BoxError> {
        let name = block.name.to_owned();
        match block.kind {
            BlockKind::Keyed => self.state.add(block.name, block.payload)?,
            BlockKind::Operator => {
                let mut rows = Vec::new();
                let mut bytes = block.payload;
                while !bytes.is_empty() {
                    rows.push(codec::decode_part(&mut bytes)?.to_vec());
                }
                self.state
                    .add_operator(block.name, block.from as usize, rows);
            }
            BlockKind::Channel => {
                let (held, rest) = block.payload.split_first().ok_or_else(too_short)?;
                let (consumers, elements) = split_u32(rest)?;
                let held = usize::from(*held == Held::BySender as u8);
                let channel = self.channel(block, consumers);
                channel.elements[held].push(elements.to_vec());
            }
            BlockKind::Input => {
                let (consumers, mut rest) = split_u32(block.payload)?;
                let at: Timestamp = codec::decode_next(&mut rest)?;
                let is_idle: bool = codec::decode(rest)?;
                self.channel(block, consumers).watermark = Watermark { at, is_idle };
            }
            BlockKind::Source => {
                let of_source = self.sources.entry(name).or_default();
                of_source.push(block.payload.to_vec());
            }
            BlockKind::Splits => {
                self.splits.insert(name, block.payload.to_vec());
            }
            BlockKind::Sink => {
                let of_sink = self.sinks.entry(name).or_default();
                of_sink.push(block.payload.to_vec());
            }
            BlockKind::Finished => {}
        }
        Ok(())
    }

    fn channel(&mut self, block: &Block<'_>, consumers: u32) -> &mut Channel {
        let edge = self.channels.entry(block.name.to_owned()).or_default();
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

/// Gives a stage what is its.
pub(crate) struct Restore<'a> {
    pub(crate) restored: &'a Restored,
    /// Records that are replayed.
    pub(crate) in_flight: u64,
}

impl Visitor for Restore<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        self.restored.state.read(operator.name(), state)
    }

    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        parallelism: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        self.restored
            .state
            .read_operator(operator.name(), subtask, parallelism, state)
    }

    fn replay(&mut self, replay: &mut dyn Replays) -> Result<(), StateError> {
        for input in 0..replay.inputs().len() {
            let channels = self.restored.channels(&replay.inputs()[input]);
            let loaded = replay.load(input, channels);
            self.in_flight += loaded.map_err(StateError::of_operator)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use levada_checkpoint::JobEntry;

    use super::*;
    use crate::checkpoint::schedule::template;

    /// A checkpoint with these bytes in flight from these producers to one consumer.
    fn restored(channels: &[(u32, &[u8])]) -> Restored {
        let job = JobEntry {
            name: String::new(),
            fingerprint: String::new(),
        };
        let mut restored = Restored {
            manifest: template(job, "run", 1, 128, Vec::new(), Vec::new()),
            state: Snapshot::new(),
            channels: HashMap::new(),
            sources: HashMap::new(),
            splits: HashMap::new(),
            sinks: BTreeMap::new(),
            in_flight: 0,
        };
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
        let channels = restored.channels(&input);
        let elements: Vec<_> = channels.iter().map(|channel| channel.elements[0]).collect();
        let expected: [&[u8]; 4] = [b"old", b"older", b"new", b"newer"];
        assert_eq!(elements, expected);
    }
}

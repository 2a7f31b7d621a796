//! A checkpoint that a job goes on from, until its tasks have taken what is theirs: in memory, but for the rows of keyed state.

mod channels;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use levada_checkpoint::{
    Archive, Block, BlockFile, BlockKind, CheckpointError, FileEntry, Manifest, Place,
};
use levada_core::codec::{self, CodecError};
use levada_core::{BoxError, KeyGroups, Origin};
use levada_state::{Hands, KeyedState, OperatorState, RowLog, Snapshot, StateError};

use crate::error::{Blame, Failure};
use crate::push::Visitor;
use crate::stage::Replays;
use crate::state_memory::Weigher;
use channels::Channels;

/// What was saved, by whom it belongs to. Rows of keyed state stay on the disk until they are read into the tables: there may
/// be more of them than there is memory for twice.
pub struct Restored {
    archive: Archive,
    manifest: Manifest,
    /// By operator.
    keyed: BTreeMap<String, RowLog<Chunk>>,
    /// State that is not kept by key.
    state: Snapshot,
    channels: Channels,
    /// By source: what each subtask was reading.
    sources: HashMap<String, Vec<Vec<u8>>>,
    /// By source: what nobody was reading.
    splits: HashMap<String, Vec<u8>>,
    /// By sink: what each subtask had prepared.
    sinks: BTreeMap<String, Vec<Vec<u8>>>,
}

/// What is left of a source.
pub(crate) struct RestoredSplits<'a> {
    /// What each subtask was reading.
    pub(crate) open: Vec<&'a [u8]>,
    /// What none was.
    pub(crate) waiting: Option<&'a [u8]>,
}

/// Bytes of blocks after which their rows are handed on: what threads share is to be worth it, and to stay in a cache.
const BATCH_BYTES: usize = 2 << 20;

/// Where rows are.
struct Chunk {
    /// The number of the file among those of the manifest.
    file: usize,
    place: Place,
}

impl Restored {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If it is missing or damaged in any way.
    pub(crate) fn load(
        archive: &Archive,
        manifest: &Manifest,
    ) -> Result<Arc<Self>, CheckpointError> {
        let mut restored = Self::new(archive.clone(), manifest.clone());
        let files = manifest.files.iter().enumerate();
        let is_own = |file: &FileEntry| file.number() == Some(manifest.number);
        // Of the checkpoints that this one is based on only the keyed state counts: the rest is all in its own file.
        for (number, file) in files.clone().filter(|(_, file)| !is_own(file)) {
            archive.load_file(manifest, file, |place, block| match block.kind {
                BlockKind::Keyed => restored.take(number, place, &block),
                _ => Ok(()),
            })?;
        }
        restored.forget_finished();
        for (number, file) in files.filter(|(_, file)| is_own(file)) {
            archive.load_file(manifest, file, |place, block| {
                restored.take(number, place, &block)
            })?;
        }
        Ok(Arc::new(restored))
    }

    fn new(archive: Archive, manifest: Manifest) -> Self {
        Self {
            archive,
            manifest,
            keyed: BTreeMap::new(),
            state: Snapshot::new(),
            channels: Channels::default(),
            sources: HashMap::new(),
            splits: HashMap::new(),
            sinks: BTreeMap::new(),
        }
    }

    /// A subtask that has ended tells nobody that the state which it had saved before is gone.
    fn forget_finished(&mut self) {
        let groups = self.key_groups();
        for operator in &self.manifest.operators {
            for subtask in &operator.finished {
                let owned = groups.owned_by(*subtask as usize, operator.parallelism as usize);
                if let Some(log) = self.keyed.get_mut(&operator.name) {
                    log.forget(&owned);
                }
            }
        }
    }

    fn key_groups(&self) -> KeyGroups {
        KeyGroups::new(self.manifest.key_groups).unwrap_or_default()
    }

    /// What it is of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Records that were in flight on channels.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.manifest.edges.iter().map(|edge| edge.records).sum()
    }

    /// The seed that the tables had.
    pub(crate) fn table_seed(&self) -> Option<u64> {
        let seed = self.manifest.table_seed.as_deref()?;
        u64::from_str_radix(seed, 16).ok()
    }

    /// Whether an operator has state that is not kept by key.
    pub(crate) fn has_operator_rows(&self, operator: &str) -> bool {
        self.state.has_operator_rows(operator)
    }

    /// Reads the groups that an operator is to keep into its state, with the help of whoever is free. Calls `watch` now and then.
    pub(crate) fn read_keyed(
        &self,
        operator: &str,
        state: &mut dyn KeyedState,
        hands: &dyn Hands,
        watch: &mut dyn FnMut(&mut dyn KeyedState) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let Some(log) = self.keyed.get(operator) else {
            return Ok(());
        };
        log.reserve(state);
        watch(state)?;
        let (mut read, mut watched_at) = (0, 0);
        let owned = state.owned();
        let mut open: Option<(usize, BlockFile)> = None;
        let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
        let steps = log.steps(state);
        let mut steps = steps.into_iter().peekable();
        while let Some((step, chunk)) = steps.next() {
            let file = match &mut open {
                Some((place, file)) if *place == chunk.file => file,
                open => {
                    let file = self.archive.open(&self.manifest.files[chunk.file]);
                    let file = file.map_err(StateError::of_operator)?;
                    &mut open.insert((chunk.file, file)).1
                }
            };
            let piece = file.read(chunk.place, &mut bytes);
            pieces.push((step, piece.map_err(StateError::of_operator)?));
            if bytes.len() < BATCH_BYTES && steps.peek().is_some() {
                continue;
            }
            let mut rows = Vec::new();
            for (step, piece) in pieces.drain(..) {
                log.find(step, &bytes[piece], &owned, &mut rows)?;
            }
            state.read_all(&rows, hands)?;
            read += bytes.len();
            bytes.clear();
            if read >= watched_at {
                // The more there is the longer it takes to look at it.
                watched_at = read + read / 8;
                watch(state)?;
            }
        }
        Ok(())
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
        let operators = operators.chain(self.keyed.keys().cloned());
        let others = self
            .sources
            .keys()
            .chain(self.splits.keys())
            .chain(self.sinks.keys());
        let edges = self.channels.edges();
        let mut names: Vec<_> = operators.chain(others.chain(edges).cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Takes a block of one of the files. Of rows of keyed state it is noted where they are.
    fn take(&mut self, file: usize, place: Place, block: &Block<'_>) -> Result<(), BoxError> {
        let name = block.name.to_owned();
        match block.kind {
            BlockKind::Keyed => {
                let log = self.keyed.entry(name).or_default();
                log.add(file, Chunk { file, place }, block.payload)?;
            }
            BlockKind::Operator => {
                let mut rows = Vec::new();
                let mut bytes = block.payload;
                while !bytes.is_empty() {
                    rows.push(codec::decode_part(&mut bytes)?.to_vec());
                }
                self.state
                    .add_operator(block.name, block.from as usize, rows);
            }
            BlockKind::Channel | BlockKind::Input => self.channels.take(block)?,
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
}

/// Gives a stage what is its.
pub(crate) struct Restore<'a> {
    pub(crate) restored: &'a Restored,
    pub(crate) hands: &'a dyn Hands,
    /// The operator whose state could not be read.
    pub(crate) failed: Option<Origin>,
    pub(crate) weigher: &'a mut Weigher,
    /// That the state takes too much memory, if it does.
    pub(crate) failure: Option<Failure>,
}

impl Visitor for Restore<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let (weigher, failure) = (&mut *self.weigher, &mut self.failure);
        let mut watch = |state: &mut dyn KeyedState| {
            weigher.weigh_one(operator, state).map_err(|too_much| {
                *failure = Some(too_much);
                StateError::of_operator(CodecError::damaged("it takes too much memory"))
            })
        };
        // It may be that a closure of the user's turns a value of before into one of now.
        let blame = Blame::on(operator);
        let (name, hands) = (operator.name(), self.hands);
        let read = self.restored.read_keyed(name, state, hands, &mut watch);
        blame.lift();
        read.inspect_err(|_| self.failed = Some(operator.clone()))
    }

    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        parallelism: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        let state_of = &self.restored.state;
        let read = state_of.read_operator(operator.name(), subtask, parallelism, state);
        read.inspect_err(|_| self.failed = Some(operator.clone()))
    }

    fn replay(&mut self, replay: &mut dyn Replays) -> Result<(), StateError> {
        let by_key = replay.is_keyed().then(|| self.restored.key_groups());
        for input in 0..replay.inputs().len() {
            let channels = self.restored.channels.of(&replay.inputs()[input], by_key);
            let loaded = replay.load(input, channels);
            loaded.map_err(StateError::of_operator)?;
        }
        Ok(())
    }
}

//! What goes through a stage for a checkpoint: at the barrier, for each slice, and when the checkpoint is complete.

use std::sync::Arc;

use levada_checkpoint::BlockKind;
use levada_core::{Origin, Timestamp, codec, fault};
use levada_network::Saved;
use levada_state::{KeyedState, OperatorState, Rows, StateError};

use crate::checkpoint::block::{Block, Outlet};
use crate::checkpoint::order::Order;
use crate::checkpoint::participant::{Passage, SLICE_BYTES, SavedByTask};
use crate::error::Failure;
use crate::push::{Epochs, Prepared, Sends, Visitor};
use crate::stage::Replays;

/// Sends the barrier on and begins to save.
pub(crate) struct Begin<'a> {
    order: Order,
    passage: Passage,
    out: Out<'a>,
    left: &'a mut Left,
    failure: Option<Failure>,
}

/// What a task has left to do for a checkpoint, besides its channels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Left {
    /// States have more to save.
    pub(crate) state: bool,
    /// A sink waits for somebody outside, or a barrier for room: the task will be polled when that changes.
    pub(crate) waiting: bool,
}

/// Saves a slice of each state that has more to save.
pub(crate) struct Slice<'a> {
    checkpoint: u64,
    out: Out<'a>,
    room: usize,
    left: Left,
    failure: Option<Failure>,
}

/// Sends barriers ahead that were sent in their order and wait.
pub(crate) struct Overtake<'a> {
    out: Out<'a>,
    failure: Option<Failure>,
}

/// Says that checkpoints are given up.
pub(crate) struct GiveUp(pub(crate) u64);

impl Visitor for GiveUp {
    fn sink(&mut self, _: &Origin, _: usize, sink: &mut dyn Epochs) -> Result<(), StateError> {
        sink.give_up(self.0);
        Ok(())
    }
}

/// Commits what sinks had prepared.
pub(crate) struct Commit {
    checkpoint: u64,
    failure: Option<Failure>,
}

/// Hands on blocks and counts them.
struct Out<'a> {
    checkpoint: u64,
    outlet: &'a Outlet,
    saved: &'a mut SavedByTask,
}

impl Out<'_> {
    fn send(&mut self, kind: BlockKind, name: &str, from: usize, to: usize, payload: Vec<u8>) {
        self.block(Block {
            kind,
            name: Arc::from(name),
            from: number(from),
            to: number(to),
            payload,
            records: 0,
        });
    }

    fn block(&mut self, block: Block) {
        self.saved.bytes += self.outlet.send(self.checkpoint, block);
    }

    fn rows(&mut self, operator: &Origin, mut rows: Rows) {
        if !rows.bytes().is_empty() {
            self.block(Block {
                kind: BlockKind::Keyed,
                name: Arc::from(operator.name()),
                from: 0,
                to: 0,
                records: rows.count(),
                payload: rows.take(),
            });
        }
    }

    /// Sends a barrier ahead, and hands on what it overtakes.
    fn overtake(&mut self, operator: &Origin, sender: &mut dyn Sends) -> Result<(), Failure> {
        let passed = sender.overtake(self.checkpoint, &mut |channel, elements| {
            let records = elements.records();
            let block = channel.block(Held::BySender, elements);
            self.in_flight(block, records);
        });
        passed.map_err(|error| Failure::error(operator.clone(), error.into()))
    }

    fn in_flight(&mut self, block: Block, records: u64) {
        let bytes = self.outlet.send(self.checkpoint, block);
        self.saved.bytes += bytes;
        self.saved.in_flight_bytes += bytes;
        self.saved.in_flight_records += records;
    }

    fn sink(
        &mut self,
        operator: &Origin,
        subtask: usize,
        sink: &mut dyn Epochs,
    ) -> Result<bool, Failure> {
        match sink.prepare(self.checkpoint)? {
            Prepared::NotYet => return Ok(false),
            Prepared::Nothing => {}
            Prepared::Epochs(epochs) => {
                self.send(BlockKind::Sink, operator.name(), subtask, 0, epochs);
            }
        }
        Ok(true)
    }
}

/// Subtasks and channels are counted in u32 on disk.
pub(crate) fn number(n: usize) -> u32 {
    u32::try_from(n).expect("a job has fewer than 2^32 subtasks")
}

impl<'a> Begin<'a> {
    pub(crate) fn new(
        order: Order,
        passage: Passage,
        outlet: &'a Outlet,
        saved: &'a mut SavedByTask,
        left: &'a mut Left,
    ) -> Self {
        Self {
            order,
            passage,
            out: Out {
                checkpoint: order.number(),
                outlet,
                saved,
            },
            left,
            failure: None,
        }
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Hands on a block that is no state.
    pub(crate) fn send(
        &mut self,
        kind: BlockKind,
        name: &str,
        from: usize,
        to: usize,
        payload: Vec<u8>,
    ) {
        self.out.send(kind, name, from, to, payload);
    }

    /// # Errors
    /// What a sink or a sender has said.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

impl Visitor for Begin<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        let mut rows = Rows::with_room(SLICE_BYTES);
        state.begin(&self.order.saving, &mut rows)?;
        let is_done = state.save(&mut rows)?;
        self.left.state |= !is_done;
        self.out.rows(operator, rows);
        Ok(())
    }

    fn operator(
        &mut self,
        operator: &Origin,
        subtask: usize,
        parallelism: usize,
        state: &mut dyn OperatorState,
    ) -> Result<(), StateError> {
        let mut payload = Vec::new();
        for row in state.write()? {
            codec::encode_part(&row, &mut payload);
        }
        self.out.send(
            BlockKind::Operator,
            operator.name(),
            subtask,
            parallelism,
            payload,
        );
        Ok(())
    }

    fn sink(
        &mut self,
        operator: &Origin,
        subtask: usize,
        sink: &mut dyn Epochs,
    ) -> Result<(), StateError> {
        match self.out.sink(operator, subtask, sink) {
            Ok(is_done) => self.left.waiting |= !is_done,
            Err(failure) => drop(self.failure.get_or_insert(failure)),
        }
        Ok(())
    }

    fn sender(&mut self, operator: &Origin, sender: &mut dyn Sends) -> Result<(), StateError> {
        let barrier = self.order.number();
        match self.passage {
            Passage::InOrder => {
                sender.barrier(barrier);
                self.left.waiting |= !sender.has_delivered(barrier);
            }
            Passage::Ahead => {
                if let Err(failure) = self.out.overtake(operator, sender) {
                    self.failure.get_or_insert(failure);
                }
            }
        }
        Ok(())
    }

    fn replay(&mut self, replay: &mut dyn Replays) -> Result<(), StateError> {
        let rest = replay.save().map_err(StateError::of_operator);
        for (channel, watermark, elements) in rest? {
            let (records, input) = (elements.records(), channel.input_block(watermark));
            self.out.in_flight(input, 0);
            if !elements.is_empty() {
                let block = channel.block(Held::ByReceiver, elements);
                self.out.in_flight(block, records);
            }
        }
        Ok(())
    }
}

impl<'a> Slice<'a> {
    pub(crate) fn new(checkpoint: u64, outlet: &'a Outlet, saved: &'a mut SavedByTask) -> Self {
        Self {
            checkpoint,
            out: Out {
                checkpoint,
                outlet,
                saved,
            },
            room: SLICE_BYTES,
            left: Left::default(),
            failure: None,
        }
    }

    /// What is left to do.
    ///
    /// # Errors
    /// What a sink has said.
    pub(crate) fn finish(self) -> Result<Left, Failure> {
        self.failure.map_or(Ok(self.left), Err)
    }
}

impl Visitor for Slice<'_> {
    fn keyed(&mut self, operator: &Origin, state: &mut dyn KeyedState) -> Result<(), StateError> {
        if self.room == 0 {
            // Whether it has anything left is seen with the next slice.
            self.left.state = true;
            return Ok(());
        }
        let mut rows = Rows::with_room(self.room);
        self.left.state |= !state.save(&mut rows)?;
        self.room = self.room.saturating_sub(rows.bytes().len());
        self.out.rows(operator, rows);
        Ok(())
    }

    fn sink(
        &mut self,
        operator: &Origin,
        subtask: usize,
        sink: &mut dyn Epochs,
    ) -> Result<(), StateError> {
        if sink.has_prepared(self.checkpoint) {
            return Ok(());
        }
        match self.out.sink(operator, subtask, sink) {
            Ok(is_done) => self.left.waiting |= !is_done,
            Err(failure) => drop(self.failure.get_or_insert(failure)),
        }
        Ok(())
    }

    fn sender(&mut self, _: &Origin, sender: &mut dyn Sends) -> Result<(), StateError> {
        self.left.waiting |= !sender.has_delivered(self.checkpoint);
        Ok(())
    }
}

impl<'a> Overtake<'a> {
    pub(crate) fn new(checkpoint: u64, outlet: &'a Outlet, saved: &'a mut SavedByTask) -> Self {
        Self {
            out: Out {
                checkpoint,
                outlet,
                saved,
            },
            failure: None,
        }
    }

    /// # Errors
    /// If a record could not be encoded.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

impl Visitor for Overtake<'_> {
    fn sender(&mut self, operator: &Origin, sender: &mut dyn Sends) -> Result<(), StateError> {
        if let Err(failure) = self.out.overtake(operator, sender) {
            self.failure.get_or_insert(failure);
        }
        Ok(())
    }
}

impl Commit {
    pub(crate) fn new(checkpoint: u64) -> Self {
        Self {
            checkpoint,
            failure: None,
        }
    }

    /// # Errors
    /// What a sink has said.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

impl Visitor for Commit {
    fn sink(&mut self, _: &Origin, _: usize, sink: &mut dyn Epochs) -> Result<(), StateError> {
        if let Err(failure) = sink.commit(self.checkpoint) {
            self.failure.get_or_insert(failure);
        }
        Ok(())
    }
}

/// Who held what was in flight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Held {
    ByReceiver = 0,
    BySender = 1,
}

/// A channel, as it is named in a checkpoint.
#[derive(Clone, Debug)]
pub struct ChannelName {
    /// The edge.
    pub(crate) edge: Arc<str>,
    /// The producer; beyond those of the job for what an earlier checkpoint had in flight.
    pub(crate) from: u32,
    /// The consumer, of so many.
    pub(crate) to: u32,
    pub(crate) consumers: u32,
}

impl ChannelName {
    /// A block is who held the elements (u8), the number of consumers (u32), and the elements.
    pub(crate) fn block(&self, held: Held, elements: Saved) -> Block {
        let mut payload = vec![held as u8];
        payload.extend_from_slice(&self.consumers.to_le_bytes());
        let records = elements.records();
        payload.extend_from_slice(&elements.into_bytes());
        Block {
            records,
            ..self.of_kind(BlockKind::Channel, payload)
        }
    }

    /// A block is the number of consumers (u32), the watermark (i64), and whether the channel was idle (u8).
    pub(crate) fn input_block(&self, watermark: levada_network::Watermark) -> Block {
        let mut payload = self.consumers.to_le_bytes().to_vec();
        let at = match fault!("watermark-unsaved") {
            true => Timestamp::MIN,
            false => watermark.at,
        };
        payload.extend_from_slice(&at.0.to_le_bytes());
        payload.push(u8::from(watermark.is_idle));
        self.of_kind(BlockKind::Input, payload)
    }

    fn of_kind(&self, kind: BlockKind, payload: Vec<u8>) -> Block {
        Block {
            kind,
            name: Arc::clone(&self.edge),
            from: self.from,
            to: self.to,
            payload,
            records: 0,
        }
    }
}

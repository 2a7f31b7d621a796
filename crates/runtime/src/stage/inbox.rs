//! The head of a stage that reads from exchanges.

use std::sync::Arc;

use levada_core::{Origin, Room, Timestamp};
use levada_network::{Arrival, Control, Gate, InHand, Unread};
use levada_state::StateError;

use crate::error::Failure;
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Read, Signal, Visitor};
use crate::stage::{Progress, Stage};
use crate::turn::Turn;

/// The operator behind the gates: one that takes records, or one that only reads them.
pub(crate) enum Input<W> {
    /// Takes records; those of shared batches are cloned.
    Push(Box<dyn Push<W>>, Option<fn(&W) -> W>),
    /// Reads records, which go back to their maker.
    Read(Box<dyn Read<W>>),
}

impl<W> Input<W> {
    fn chain(&mut self) -> &mut dyn Downstream {
        match self {
            Self::Push(chain, _) => chain,
            Self::Read(chain) => chain,
        }
    }

    fn run(&mut self, unread: &mut Unread<W>, turn: &mut Turn) -> Room {
        match self {
            Self::Push(chain, clone) => chain.push_all(unread, *clone, turn),
            Self::Read(chain) => chain.read_all(unread, turn),
        }
    }
}

/// Reads the gates in turn and runs each batch through the chain.
pub(crate) struct InboxStage<W> {
    gates: Vec<Gate<W>>,
    next_gate: usize,
    input: Input<W>,
    in_hand: Option<(usize, InHand<W>)>,
    /// By gate and channel; the input's watermark is the least of them.
    watermarks: Vec<Vec<Timestamp>>,
    watermark: Timestamp,
    /// Channels whose end has not come.
    open: usize,
    ended: bool,
    operator: Origin,
    counters: Arc<OperatorCounters>,
}

impl<W> InboxStage<W> {
    pub(crate) fn new(
        gates: Vec<Gate<W>>,
        input: Input<W>,
        operator: Origin,
        counters: Arc<OperatorCounters>,
    ) -> Self {
        let watermarks: Vec<Vec<_>> = gates
            .iter()
            .map(|gate| vec![Timestamp::MIN; gate.channels()])
            .collect();
        Self {
            next_gate: 0,
            input,
            in_hand: None,
            open: watermarks.iter().map(Vec::len).sum(),
            watermarks,
            watermark: Timestamp::MIN,
            gates,
            ended: false,
            operator,
            counters,
        }
    }

    fn advance(&mut self, turn: &mut Turn) -> Progress {
        loop {
            if self.input.chain().resume(turn).is_full() {
                return Progress::of_full(turn);
            }
            if self.ended {
                return Progress::Ended;
            }
            if self.open == 0 && self.in_hand.is_none() {
                self.ended = true;
                let _ = self.input.chain().signal(Signal::End, turn);
                continue;
            }
            if self.in_hand.is_some() {
                let room = self.run_batch(turn);
                if room.is_full() {
                    return Progress::of_full(turn);
                }
                continue;
            }
            match self.receive() {
                None => return Progress::Idle,
                Some((gate, Arrival::Batch(batch))) => {
                    turn.set_born(batch.born());
                    self.input.chain().mark(turn);
                    self.counters
                        .records_in
                        .add(batch.unread.rest().len() as u64);
                    self.in_hand = Some((gate, batch));
                }
                Some((gate, Arrival::Control(channel, Control::Watermark(watermark)))) => {
                    self.raise(gate, channel, watermark, turn);
                }
                Some((gate, Arrival::Control(channel, Control::End))) => {
                    self.open -= 1;
                    self.raise(gate, channel, Timestamp::MAX, turn);
                }
                Some((_, Arrival::Control(_, Control::Barrier(_)) | Arrival::Priority { .. })) => {
                    let _ = turn.fail(&self.operator, "a barrier came, but nobody takes snapshots");
                    return Progress::Blocked;
                }
            }
        }
    }

    /// Goes on with the batch in hand. Once all of it is read it goes back, whether or not there is room for more.
    fn run_batch(&mut self, turn: &mut Turn) -> Room {
        let Some((gate, batch)) = &mut self.in_hand else {
            return Room::Free;
        };
        let gate = *gate;
        let room = if batch.unread.is_done() {
            Room::Free
        } else {
            self.input.run(&mut batch.unread, turn)
        };
        if !batch.unread.is_done() {
            return room;
        }
        if room.is_full() && batch.watermark().is_some() {
            // The watermark comes after the records, so it waits for room, and the batch with it.
            return room;
        }
        let Some((_, batch)) = self.in_hand.take() else {
            return room;
        };
        let (channel, watermark) = (batch.channel(), batch.watermark());
        self.gates[gate].recycle(batch);
        let late = turn.spend_batch();
        if let Some(watermark) = watermark {
            self.raise(gate, channel, watermark, turn);
        }
        room.and(late)
    }

    fn receive(&mut self) -> Option<(usize, Arrival<W>)> {
        for _ in 0..self.gates.len() {
            let gate = self.next_gate;
            self.next_gate = (gate + 1) % self.gates.len();
            if let Some(arrival) = self.gates[gate].receive() {
                return Some((gate, arrival));
            }
        }
        None
    }

    /// A channel's watermark has risen; the input's may rise with it.
    fn raise(&mut self, gate: usize, channel: u32, watermark: Timestamp, turn: &mut Turn) {
        self.watermarks[gate][channel as usize] = watermark;
        let least = self.watermarks.iter().flatten().copied().min();
        if let Some(least) = least
            && least > self.watermark
        {
            self.watermark = least;
            // Whether there is room is asked again before anything follows.
            let _ = self.input.chain().signal(Signal::Watermark(least), turn);
        }
    }
}

impl<W: Send + Sync> Stage for InboxStage<W> {
    fn poll(&mut self, turn: &mut Turn) -> Progress {
        let progress = self.advance(turn);
        progress.after_tending(self.input.chain().tend(turn))
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.input.chain().visit(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.in_hand = None;
        self.input.chain().close(ending)
    }
}

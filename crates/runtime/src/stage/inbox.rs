//! The head of a stage that reads from exchanges.

use std::sync::Arc;

use levada_core::{Origin, Room, Timestamp};
use levada_network::{Arrival, Control, Gate, InHand, Unread, Watermark};
use levada_state::StateError;

use crate::error::Failure;
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Read, Signal, Visitor};
use crate::stage::{Confluence, Progress, Stage};
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
    /// The event time of all channels of all gates.
    time: Confluence,
    /// By gate: the number of its first channel.
    first_channel: Vec<usize>,
    /// The input is idle, and the chain is to be told when it has room.
    owes_idle: bool,
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
        let mut channels = 0;
        let first_channel = gates
            .iter()
            .map(|gate| {
                channels += gate.channels();
                channels - gate.channels()
            })
            .collect();
        Self {
            next_gate: 0,
            input,
            in_hand: None,
            open: channels,
            time: Confluence::new(channels),
            first_channel,
            owes_idle: false,
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
            if self.owes_idle {
                self.owes_idle = false;
                let _ = self.input.chain().signal(Signal::Idle, turn);
                continue;
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
                None => {
                    let now = turn.look();
                    turn.splits.found_nothing(0, now);
                    // Whoever counts the time without records does so now.
                    if self.input.chain().resume(turn).is_full() {
                        return Progress::of_full(turn);
                    }
                    return Progress::Idle;
                }
                Some((gate, Arrival::Batch(batch))) => {
                    turn.splits.is_busy(0);
                    turn.set_born(batch.born());
                    self.input.chain().mark(turn);
                    self.counters
                        .records_in
                        .add(batch.unread.rest().len() as u64);
                    self.in_hand = Some((gate, batch));
                }
                Some((gate, Arrival::Control(channel, Control::Watermark(watermark)))) => {
                    self.hear(gate, channel, watermark, turn);
                }
                Some((gate, Arrival::Control(channel, Control::End))) => {
                    self.open -= 1;
                    let end = Watermark::active(Timestamp::MAX);
                    self.hear(gate, channel, end, turn);
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
            self.hear(gate, channel, watermark, turn);
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

    /// A channel says how far it is in event time; the input may have something to say with it.
    fn hear(&mut self, gate: usize, channel: u32, watermark: Watermark, turn: &mut Turn) {
        let channel = self.first_channel[gate] + channel as usize;
        let Some(said) = self.time.hear(channel, watermark) else {
            return;
        };
        // Whether there is room is asked again before anything follows.
        self.owes_idle = said.is_idle;
        if let Some(at) = said.watermark {
            self.counters.watermark.set(at);
            let _ = self.input.chain().signal(Signal::Watermark(at), turn);
        }
    }
}

impl<W: Send + Sync> Stage for InboxStage<W> {
    fn poll(&mut self, turn: &mut Turn) -> Progress {
        let progress = self.advance(turn);
        if progress == Progress::Blocked {
            turn.splits.pause_idleness();
        }
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

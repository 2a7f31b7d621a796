//! The head of a stage that reads from exchanges.

use std::sync::Arc;

use levada_core::{Exchange, Origin, Room, Timestamp, fault};
use levada_network::{Ahead, Arrival, Control, Gate, InHand, Reached, Saved, Unread, Watermark};
use levada_state::StateError;

use crate::checkpoint::{Held, Participant, Passage};
use crate::error::Failure;
use crate::metrics::OperatorCounters;
use crate::push::{Downstream, Ending, Push, Read, Signal, Visitor};
use crate::stage::barriers::Barriers;
use crate::stage::{Confluence, Progress, Replay, Said, Stage};
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
///
/// In a checkpoint each of its channels is divided by a barrier into what belongs to it and what comes after. Either the stage
/// waits until the barriers of all channels have arrived, and a channel whose barrier has come is blocked meanwhile; or it
/// begins at once, and saves of each channel what has arrived before the barrier and has not been read
/// (`docs/checkpoints.md`).
pub(crate) struct InboxStage<W> {
    gates: Vec<Gate<W>>,
    next_gate: usize,
    input: Input<W>,
    in_hand: Option<(usize, InHand<W>)>,
    /// What was in flight when the checkpoint was taken that the job goes on from. It comes before everything else.
    replay: Replay<W>,
    /// The event time of all channels of all gates.
    time: Confluence,
    /// By gate: the number of its first channel.
    first_channel: Vec<usize>,
    barriers: Barriers,
    /// By channel: the next batch to be saved, while a checkpoint saves what arrives before its barrier.
    saving: Vec<Option<u64>>,
    /// Barriers that have overtaken before the stage knew that it is to begin: the number of the first batch behind each.
    ahead: Vec<Option<Ahead>>,
    /// The input is idle, and the chain is to be told when it has room.
    owes_idle: bool,
    /// Channels whose end has not come.
    open: usize,
    ended: bool,
    operator: Origin,
    counters: Arc<OperatorCounters>,
}

impl<W: Exchange> InboxStage<W> {
    pub(crate) fn new(
        gates: Vec<Gate<W>>,
        replay: Replay<W>,
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
            replay,
            open: channels,
            time: Confluence::new(channels),
            first_channel,
            barriers: Barriers::new(channels),
            saving: vec![None; channels],
            ahead: vec![None; channels],
            owes_idle: false,
            gates,
            ended: false,
            operator,
            counters,
        }
    }

    fn advance(&mut self, turn: &mut Turn, checkpoints: &mut Participant) -> Progress {
        loop {
            if self.input.chain().resume(turn).is_full() {
                return Progress::of_full(turn);
            }
            if let Some(passage) = self.may_begin(checkpoints) {
                self.start(passage, turn, checkpoints);
                if turn.has_failed() {
                    return Progress::Blocked;
                }
                continue;
            }
            if self.owes_idle {
                self.owes_idle = false;
                let _ = self.input.chain().signal(Signal::Idle, turn);
                continue;
            }
            if self.ended {
                return Progress::Ended;
            }
            if checkpoints.has_stopped() {
                return Progress::Idle;
            }
            if !self.replay.is_empty() {
                if self.go_back(turn).is_full() {
                    return Progress::of_full(turn);
                }
                continue;
            }
            if let Some(at) = self.replay.end() {
                // From here on no channel is further back than all were.
                self.time = Confluence::starting_at(self.saving.len(), at);
                turn.set_replaying(false);
                continue;
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
                    if self.gates[gate].has_ahead() {
                        // A barrier that was sent before this batch came.
                        self.look_ahead(turn, checkpoints);
                    }
                    self.save_in_hand(turn, checkpoints);
                }
                Some((gate, Arrival::Control(channel, control))) => {
                    self.take_control(gate, channel, control, turn, checkpoints);
                }
            }
        }
    }

    fn take_control(
        &mut self,
        gate: usize,
        channel: u32,
        control: Control,
        turn: &mut Turn,
        checkpoints: &mut Participant,
    ) {
        let number = self.first_channel[gate] + channel as usize;
        match control {
            Control::Watermark(watermark) => {
                if self.saving[number].is_some() {
                    let mut saved = Saved::new();
                    saved.add_watermark(watermark);
                    self.save_elements(gate, channel, saved, checkpoints);
                }
                self.hear(number, watermark, turn);
            }
            Control::End => {
                self.open -= 1;
                self.barriers.end(number);
                self.input_saved(number, checkpoints);
                self.hear(number, Watermark::active(Timestamp::MAX), turn);
            }
            Control::Barrier(barrier) => {
                // It may have come with the letter that tells of it.
                checkpoints.listen();
                if checkpoints.saving_inputs() == Some(barrier) {
                    self.input_saved(number, checkpoints);
                }
                let order = checkpoints.wanted();
                let Some(order) = order.filter(|order| order.number() == barrier) else {
                    return;
                };
                if self.barriers.arrive(barrier, number) {
                    self.unblock();
                }
                if order.aligns && !fault!("barrier-early") {
                    self.gates[gate].block(channel);
                }
            }
        }
    }

    /// Replays a part of what was in flight.
    fn go_back(&mut self, turn: &mut Turn) -> Room {
        turn.set_born(turn.now());
        self.input.chain().mark(turn);
        let mut room = Room::Free;
        while !room.is_full() {
            let (input, counters) = (&mut self.input, &self.counters);
            let any = self.replay.read(|unread| {
                let before = unread.rest().len();
                room = input.run(unread, turn);
                counters
                    .records_in
                    .add((before - unread.rest().len()) as u64);
            });
            if any {
                continue;
            }
            // Whether there is room is asked again before anything follows a word about time.
            if let Some(said) = self.replay.hear() {
                self.say(said, turn);
            }
            return Room::Free;
        }
        room
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
            self.hear(self.first_channel[gate] + channel as usize, watermark, turn);
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
    fn hear(&mut self, channel: usize, watermark: Watermark, turn: &mut Turn) {
        if let Some(said) = self.time.hear(channel, watermark) {
            self.say(said, turn);
        }
    }

    fn say(&mut self, said: Said, turn: &mut Turn) {
        // Whether there is room is asked again before anything follows.
        self.owes_idle = said.is_idle;
        if let Some(at) = said.watermark {
            self.counters.watermark.set(at);
            let _ = self.input.chain().signal(Signal::Watermark(at), turn);
        }
    }

    /// How the checkpoint that is wanted may begin now, when the chain has room.
    fn may_begin(&self, checkpoints: &Participant) -> Option<Passage> {
        let checkpoint = checkpoints.wanted()?.number();
        let is_it = |ahead: &Option<Ahead>| ahead.is_some_and(|ahead| ahead.barrier == checkpoint);
        if self.barriers.are_complete(checkpoint) {
            Some(Passage::InOrder)
        } else if checkpoints.must_overtake() || self.ahead.iter().any(is_it) {
            // What comes on that channel now is behind its barrier.
            Some(Passage::Ahead)
        } else {
            None
        }
    }

    /// Looks for what has overtaken, and lets go of what was put aside for a checkpoint that is over.
    fn look_ahead(&mut self, turn: &mut Turn, checkpoints: &mut Participant) {
        if let Some(over) = checkpoints.take_over() {
            if self.barriers.coming().is_some_and(|coming| coming <= over) {
                self.barriers.forget();
                self.unblock();
            }
            if checkpoints.saving_inputs().is_none() {
                self.saving.fill(None);
            }
        }
        for gate in 0..self.gates.len() {
            while let Some(ahead) = self.gates[gate].take_ahead() {
                // The letter that tells of it has been sent before.
                checkpoints.listen();
                if checkpoints.saving_inputs() == Some(ahead.barrier) {
                    self.save_before(gate, ahead, turn, checkpoints);
                } else if ahead.barrier > checkpoints.last() {
                    let channel = self.first_channel[gate] + ahead.channel as usize;
                    self.ahead[channel] = Some(ahead);
                }
            }
        }
    }

    /// A barrier has overtaken on a channel of which what arrives is being saved.
    fn save_before(
        &mut self,
        gate: usize,
        ahead: Ahead,
        turn: &mut Turn,
        checkpoints: &mut Participant,
    ) {
        let in_hand = self.in_hand.as_ref().filter(|(of, batch)| {
            *of == gate && batch.channel() == ahead.channel && batch.sequence() < ahead.before
        });
        if in_hand.is_some() {
            self.save_in_hand(turn, checkpoints);
        }
        self.save_unread(gate, ahead.channel, Some(ahead), turn, checkpoints);
    }

    /// Begins a checkpoint that must not wait for room: what cannot be saved half-way goes on without.
    fn begin_without_room(&mut self, turn: &mut Turn, checkpoints: &mut Participant) {
        if self.may_begin(checkpoints) == Some(Passage::Ahead) {
            let input = &mut self.input;
            let cleared = turn.clear(|turn| input.chain().resume(turn));
            if !cleared.is_full() {
                self.start(Passage::Ahead, turn, checkpoints);
            }
        }
    }

    /// Begins the checkpoint that is wanted.
    fn start(&mut self, passage: Passage, turn: &mut Turn, checkpoints: &mut Participant) {
        let Some(mut begin) = checkpoints.begin(passage) else {
            return;
        };
        let checkpoint = begin.order().number();
        let visited = self.visit_chain(&mut begin);
        let visited = visited
            .map_err(|error| Failure::error(self.operator.clone(), error.into()))
            .and(begin.finish());
        if let Err(failure) = visited {
            let _ = turn.fail_with(failure);
            return;
        }
        self.let_go_of_others(checkpoint);
        self.save_watermarks(checkpoints);
        if passage == Passage::Ahead {
            self.begin_saving(checkpoint);
            self.save_in_hand(turn, checkpoints);
            for gate in 0..self.gates.len() {
                for channel in 0..self.gates[gate].channels() {
                    let number = self.first_channel[gate] + channel;
                    let ahead = self.ahead[number].filter(|ahead| ahead.barrier == checkpoint);
                    self.save_unread(gate, channel as u32, ahead, turn, checkpoints);
                }
            }
        }
        self.ahead.fill(None);
        self.barriers.forget();
        self.unblock();
        self.see_whether_saved(checkpoints);
    }

    /// The checkpoint before may be over since the beginning of this poll: what was put aside or to be saved for it belongs to
    /// the one that begins.
    fn let_go_of_others(&mut self, checkpoint: u64) {
        if self.barriers.coming() != Some(checkpoint) {
            self.barriers.forget();
            self.unblock();
        }
        self.saving.fill(None);
    }

    /// From here on what arrives is saved, on each channel whose barrier has not.
    fn begin_saving(&mut self, checkpoint: u64) {
        for (number, saving) in self.saving.iter_mut().enumerate() {
            *saving = (!self.barriers.is_done(checkpoint, number)).then_some(0);
        }
        // Unless the batch in hand came behind the barrier of its channel.
        if let Some((gate, batch)) = &self.in_hand {
            let number = self.first_channel[*gate] + batch.channel() as usize;
            let ahead = self.ahead[number].filter(|ahead| ahead.barrier == checkpoint);
            if ahead.is_some_and(|ahead| batch.sequence() >= ahead.before) {
                self.saving[number] = None;
            }
        }
    }

    /// How far each open channel is in event time. While what was in flight before is replayed, that is what counts.
    fn save_watermarks(&self, checkpoints: &mut Participant) {
        if !self.replay.is_empty() {
            return;
        }
        for (gate, first) in self.first_channel.iter().enumerate() {
            let input = &self.replay.inputs()[gate];
            for channel in 0..self.gates[gate].channels() {
                let watermark = self.time.channel(first + channel);
                if watermark.at < Timestamp::MAX {
                    let producer = input.first_producer + channel;
                    let name = input.channel(crate::checkpoint::number(producer));
                    checkpoints.save(name.input_block(watermark), 0);
                }
            }
        }
    }

    /// Saves what is left of the batch in hand, if that is to be saved and has not been.
    fn save_in_hand(&mut self, turn: &mut Turn, checkpoints: &mut Participant) {
        let Some((gate, batch)) = &self.in_hand else {
            return;
        };
        let (gate, channel) = (*gate, batch.channel());
        let number = self.first_channel[gate] + channel as usize;
        if self.saving[number].is_none_or(|from| batch.sequence() < from) {
            return;
        }
        self.saving[number] = Some(batch.sequence() + 1);
        let mut saved = Saved::new();
        if let Err(error) = saved.add(batch.unread.rest(), batch.watermark()) {
            let _ = turn.fail(&self.operator, error);
        }
        if !saved.is_empty() && !fault!("hand-batch-unsaved") {
            self.save_elements(gate, channel, saved, checkpoints);
        }
    }

    /// Saves what has arrived on a channel before its barrier and has not been received.
    fn save_unread(
        &mut self,
        gate: usize,
        channel: u32,
        ahead: Option<Ahead>,
        turn: &mut Turn,
        checkpoints: &mut Participant,
    ) {
        let number = self.first_channel[gate] + channel as usize;
        let (Some(from), Some(checkpoint)) = (self.saving[number], checkpoints.saving_inputs())
        else {
            return;
        };
        let mut saved = Saved::new();
        let before = ahead.map(|ahead| ahead.before);
        let reached = self.gates[gate].save_unread(channel, checkpoint, from, before, &mut saved);
        match reached {
            Ok((reached, from)) => {
                self.saving[number] = Some(from);
                if !saved.is_empty() {
                    self.save_elements(gate, channel, saved, checkpoints);
                }
                if reached != Reached::Last {
                    self.input_saved(number, checkpoints);
                }
            }
            Err(error) => {
                let _ = turn.fail(&self.operator, error);
            }
        }
    }

    fn save_elements(
        &self,
        gate: usize,
        channel: u32,
        saved: Saved,
        checkpoints: &mut Participant,
    ) {
        let input = &self.replay.inputs()[gate];
        let producer = input.first_producer + channel as usize;
        let name = input.channel(crate::checkpoint::number(producer));
        let records = saved.records();
        checkpoints.save(name.block(Held::ByReceiver, saved), records);
    }

    /// All of a channel that comes before the barrier is saved.
    fn input_saved(&mut self, channel: usize, checkpoints: &mut Participant) {
        if self.saving[channel].take().is_some() {
            self.see_whether_saved(checkpoints);
        }
    }

    fn see_whether_saved(&self, checkpoints: &mut Participant) {
        if self.saving.iter().all(Option::is_none) {
            checkpoints.inputs_saved();
        }
    }

    fn unblock(&mut self) {
        self.gates.iter_mut().for_each(Gate::unblock);
    }

    fn visit_chain(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        visitor.replay(&mut self.replay)?;
        self.input.chain().visit(visitor)
    }
}

impl<W: Exchange> Stage for InboxStage<W> {
    fn poll(&mut self, turn: &mut Turn, checkpoints: &mut Participant) -> Progress {
        turn.set_replaying(!self.replay.is_empty());
        self.look_ahead(turn, checkpoints);
        self.begin_without_room(turn, checkpoints);
        let progress = self.advance(turn, checkpoints);
        if progress == Progress::Blocked {
            turn.splits.pause_idleness();
        }
        progress.after_tending(self.input.chain().tend(turn))
    }

    fn begin(&mut self, turn: &mut Turn, checkpoints: &mut Participant) {
        self.start(Passage::InOrder, turn, checkpoints);
    }

    fn missing(&self, checkpoint: u64) -> Vec<Arc<str>> {
        let is_saving = self.saving.iter().any(Option::is_some);
        let is_missing = |number: usize| match is_saving {
            true => self.saving[number].is_some(),
            false => !self.barriers.is_done(checkpoint, number),
        };
        let gates = self.gates.iter().zip(&self.first_channel).enumerate();
        let gates = gates.filter(|(_, (gate, first))| {
            let mut channels = **first..**first + gate.channels();
            channels.any(is_missing)
        });
        let inputs = self.replay.inputs();
        gates
            .map(|(place, _)| Arc::clone(&inputs[place].name))
            .collect()
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        self.visit_chain(visitor)
    }

    fn close(&mut self, ending: Ending) -> Result<(), Failure> {
        self.in_hand = None;
        self.input.chain().close(ending)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

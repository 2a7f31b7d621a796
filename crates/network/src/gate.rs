//! The receiving end of channels: one gate for all channels of a task's input.
//!
//! ```text
//!  lock of the gate:  ahead │ arrivals (channel, element)...   credit ledger   consumer waits?
//!                        ▲ deliver (producer)          │ swap (consumer, when its own queue is empty)
//!                        │                             ▼
//!                      Port                          Gate ──▶ receive() ──▶ InHand ──▶ recycle()
//! ```
//!
//! One lock is taken per batch, never per record, and no second one while it is held.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, OnceLock};

use levada_core::codec::CodecError;
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_core::{Exchange, Moment, Wake, fault};

use crate::batch::{Batch, Control, Element, Entries, Watermark};
use crate::credit::{CreditLedger, Grant};
use crate::desk::{Desk, Spent};
use crate::gauge::Charge;
use crate::in_flight::Saved;
use crate::unread::Unread;

/// The consumer's half.
pub struct Gate<T> {
    shared: Arc<Shared<T>>,
    /// Arrivals taken over from the shared queue, oldest first.
    taken: VecDeque<(u32, Element<T>)>,
    /// Arrivals on channels that are blocked, oldest first. They keep their credits, so there are no more than those allow.
    held: VecDeque<(u32, Element<T>)>,
    /// By channel.
    blocked: Vec<bool>,
    taken_ahead: VecDeque<Ahead>,
    /// The number of the next batch of each channel.
    expected: Vec<u64>,
}

/// The producer's half of one channel.
pub struct Port<T> {
    shared: Arc<Shared<T>>,
    channel: u32,
}

/// What a gate hands to its task.
#[derive(Debug)]
pub enum Arrival<T> {
    /// Records, to be given back by [`Gate::recycle`].
    Batch(InHand<T>),
    /// A control element in its place between the batches.
    Control(u32, Control),
}

/// A barrier that has overtaken what was in its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ahead {
    /// The channel it came on.
    pub channel: u32,
    /// The barrier.
    pub barrier: u64,
    /// The number of the first batch that had not been delivered when the barrier was sent, or comes after it in the order in
    /// which they were sent. Those before it are here, or have been received; of the others the sender has saved what belongs
    /// to the checkpoint, though it may have delivered them since.
    pub before: u64,
}

/// How far the saving of a channel's unread batches has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reached {
    /// The barrier: all that was in its way is saved.
    Barrier,
    /// The end of the channel: there will be no barrier.
    End,
    /// The last one that has arrived.
    Last,
}

/// Where the buffers of a gate are: `pooled + credits + in_flight = total`, always.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Buffers {
    /// All buffers, exclusive and floating.
    pub total: u32,
    /// Floating buffers that nobody has.
    pub pooled: u32,
    /// Credits at the senders.
    pub credits: u32,
    /// Buffers that carry a batch, in flight or in the consumer's hand.
    pub in_flight: u32,
}

/// A batch in the consumer's hand.
#[derive(Debug)]
pub struct InHand<T> {
    /// The records not yet read.
    pub unread: Unread<T>,
    channel: u32,
    sequence: u64,
    born: Moment,
    watermark: Option<Watermark>,
    charge: Option<Charge>,
}

impl<T> InHand<T> {
    /// The channel it came on.
    #[must_use]
    pub fn channel(&self) -> u32 {
        self.channel
    }

    /// Its number among the batches of its channel.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the oldest record left its source.
    #[must_use]
    pub fn born(&self) -> Moment {
        self.born
    }

    /// The watermark that applies after the last record.
    #[must_use]
    pub fn watermark(&self) -> Option<Watermark> {
        self.watermark
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// For each channel its producer's desk, and the number of the channel there.
    desks: Vec<OnceLock<(Arc<Desk<T>>, u32)>>,
    consumer: Arc<dyn Wake>,
    /// Whether a barrier that has overtaken waits; lets the consumer look without the lock.
    urgent: AtomicBool,
}

struct State<T> {
    arrivals: VecDeque<(u32, Element<T>)>,
    /// The number of the first of them, counted from the beginning.
    first: u64,
    /// By channel: the number of the watermark with nothing of its channel behind it. A reader that is slow cannot be given
    /// more of them than batches and channels.
    last_watermark: Vec<Option<u64>>,
    ahead: VecDeque<Ahead>,
    ledger: CreditLedger,
    /// The consumer found nothing and wants to be woken.
    waiting: bool,
}

impl<T> Gate<T> {
    /// A gate with `channels` channels, each with `exclusive` credits, and `floating` ones to lend. The ports are the
    /// producers' halves, in the order of the channels.
    #[must_use]
    pub fn new(
        channels: usize,
        exclusive: u32,
        floating: u32,
        consumer: Arc<dyn Wake>,
    ) -> (Self, Vec<Port<T>>) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                arrivals: VecDeque::new(),
                first: 0,
                last_watermark: vec![None; channels],
                ahead: VecDeque::new(),
                ledger: CreditLedger::new(channels, exclusive, floating),
                waiting: false,
            }),
            desks: (0..channels).map(|_| OnceLock::new()).collect(),
            consumer,
            urgent: AtomicBool::new(false),
        });
        let ports = (0..channels)
            .map(|channel| Port {
                shared: Arc::clone(&shared),
                channel: u32::try_from(channel).expect("a gate has fewer than 2^32 channels"),
            })
            .collect();
        let gate = Self {
            shared,
            taken: VecDeque::new(),
            held: VecDeque::new(),
            blocked: vec![false; channels],
            taken_ahead: VecDeque::new(),
            expected: vec![0; channels],
        };
        (gate, ports)
    }

    /// How many channels there are.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.expected.len()
    }

    /// The next arrival, of a channel that is not blocked. After `None` the consumer is woken by the next one.
    ///
    /// # Panics
    /// If a batch is missing or out of order: a channel delivers without a gap.
    pub fn receive(&mut self) -> Option<Arrival<T>> {
        let (channel, element) = loop {
            if self.taken.is_empty() && !self.take_over() {
                return None;
            }
            let (channel, element) = self.taken.pop_front()?;
            if !self.blocked[channel as usize] {
                break (channel, element);
            }
            self.held.push_back((channel, element));
        };
        Some(match element {
            Element::Control(control) => Arrival::Control(channel, control),
            Element::Batch(batch) => {
                let expected = &mut self.expected[channel as usize];
                assert_eq!(
                    batch.sequence, *expected,
                    "channel {channel} delivers its batches in order and without a gap"
                );
                *expected += 1;
                Arrival::Batch(InHand {
                    unread: Unread::of(batch.entries),
                    channel,
                    sequence: batch.sequence,
                    born: batch.born,
                    watermark: batch.watermark,
                    charge: batch.charge,
                })
            }
        })
    }

    /// The next barrier that has overtaken what was in its way. The consumer is woken by each, whether or not it waits.
    pub fn take_ahead(&mut self) -> Option<Ahead> {
        if self.shared.urgent.load(Ordering::Acquire) {
            let mut state = self.shared.state.lock();
            self.shared.urgent.store(false, Ordering::Relaxed);
            self.taken_ahead.append(&mut state.ahead);
        }
        self.taken_ahead.pop_front()
    }

    /// Whether a barrier has overtaken that has not been taken.
    #[inline]
    #[must_use]
    pub fn has_ahead(&self) -> bool {
        !self.taken_ahead.is_empty() || self.shared.urgent.load(Ordering::Acquire)
    }

    /// Receives nothing more from a channel until [`Gate::unblock`].
    pub fn block(&mut self, channel: u32) {
        self.blocked[channel as usize] = true;
    }

    /// Receives from all channels again.
    pub fn unblock(&mut self) {
        self.blocked.fill(false);
        self.held.append(&mut self.taken);
        mem::swap(&mut self.held, &mut self.taken);
    }

    /// Saves what has arrived on a channel and has not been received, up to the barrier. Batches before number `from` have
    /// been saved; if the barrier is known to have overtaken, `before` is [`Ahead::before`]. Returns how far it has come, and the
    /// number of the next batch to be saved.
    ///
    /// # Errors
    /// If a record cannot be encoded.
    pub fn save_unread(
        &mut self,
        channel: u32,
        barrier: u64,
        mut from: u64,
        before: Option<u64>,
        saved: &mut Saved,
    ) -> Result<(Reached, u64), CodecError>
    where
        T: Exchange,
    {
        self.gather();
        // It may have come together with what it says is not to be saved here.
        let is_it = |ahead: &&Ahead| ahead.channel == channel && ahead.barrier == barrier;
        let unseen = self.taken_ahead.iter().find(is_it);
        let before = before.or(unseen.map(|ahead| ahead.before));
        let elements = self.taken.iter().filter(|(other, _)| *other == channel);
        for (_, element) in elements {
            match element {
                Element::Batch(batch) if before.is_some_and(|before| batch.sequence >= before) => {
                    return Ok((Reached::Barrier, from));
                }
                Element::Batch(batch) if batch.sequence < from => {}
                Element::Batch(batch) => {
                    saved.add(batch.entries(), batch.watermark())?;
                    from = batch.sequence + 1;
                }
                Element::Control(Control::Watermark(watermark)) => {
                    saved.add_watermark(*watermark);
                }
                Element::Control(Control::Barrier(number)) if *number == barrier => {
                    return Ok((Reached::Barrier, from));
                }
                Element::Control(Control::Barrier(_)) => {}
                Element::Control(Control::End) => return Ok((Reached::End, from)),
            }
        }
        let reached = match before {
            Some(_) => Reached::Barrier,
            None => Reached::Last,
        };
        Ok((reached, from))
    }

    /// Takes over what has arrived, behind what has been taken over before, and the barriers that have overtaken.
    fn gather(&mut self) {
        let mut state = self.shared.state.lock();
        state.first += state.arrivals.len() as u64;
        self.taken.append(&mut state.arrivals);
        self.shared.urgent.store(false, Ordering::Relaxed);
        self.taken_ahead.append(&mut state.ahead);
    }

    /// Gives a batch back to its maker, and its buffer to whoever wants it next.
    pub fn recycle(&self, in_hand: InHand<T>) {
        let InHand {
            unread,
            channel,
            charge,
            ..
        } = in_hand;
        // The last reader of a shared batch gives it back; the others only return their credit.
        let spent = match unread.into_entries() {
            Entries::Owned(entries) => Some(Spent { entries, charge }),
            Entries::Shared(shared) => Arc::into_inner(shared).map(|last| Spent {
                entries: last.entries,
                charge: last.charge,
            }),
        };
        let grant = self.recycle_buffer(channel);
        if fault!("batch-returned-twice") {
            self.recycle_buffer(channel);
        }
        let (desk, index) = self.shared.desk(channel);
        match grant {
            Some(grant) if grant.channel == channel => desk.leave(index, grant.credits, spent),
            other => {
                desk.leave(index, 0, spent);
                if let Some(grant) = other {
                    let (desk, index) = self.shared.desk(grant.channel);
                    desk.leave(index, grant.credits, None);
                }
            }
        }
    }

    /// Who has the gate's buffers now.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        let state = self.shared.state.lock();
        let channels = 0..u32::try_from(self.channels()).expect("channels are counted in u32");
        Buffers {
            total: state.ledger.total(),
            pooled: state.ledger.pooled(),
            credits: channels.clone().map(|c| state.ledger.free(c)).sum(),
            in_flight: channels.map(|c| state.ledger.in_flight(c)).sum(),
        }
    }

    fn recycle_buffer(&self, channel: u32) -> Option<Grant> {
        self.shared.state.lock().ledger.on_recycle(channel)
    }

    /// Takes over what has arrived; if nothing has, asks to be woken.
    fn take_over(&mut self) -> bool {
        let mut state = self.shared.state.lock();
        mem::swap(&mut self.taken, &mut state.arrivals);
        state.first += self.taken.len() as u64;
        let any = !self.taken.is_empty();
        state.waiting = !any;
        any
    }
}

impl<T> Shared<T> {
    fn desk(&self, channel: u32) -> (&Desk<T>, u32) {
        let (desk, index) = self.desks[channel as usize]
            .get()
            .expect("a channel delivers only after its outbox has put its desk there");
        (desk, *index)
    }
}

impl<T> State<T> {
    /// Adds a control element. A watermark takes the place of one before it with no record between them.
    fn add(&mut self, channel: u32, control: Control) {
        let last = &mut self.last_watermark[channel as usize];
        let is_watermark = matches!(control, Control::Watermark(_));
        let waiting = last.and_then(|number| number.checked_sub(self.first));
        if let Some(index) = waiting
            && is_watermark
        {
            self.arrivals[index as usize].1 = Element::Control(control);
            return;
        }
        *last = is_watermark.then_some(self.first + self.arrivals.len() as u64);
        self.arrivals
            .push_back((channel, Element::Control(control)));
    }
}

impl<T> Port<T> {
    /// Says where credits and spent batches of this channel go.
    pub(crate) fn attach(&self, desk: &Arc<Desk<T>>, index: u32) {
        let attached = self.shared.desks[self.channel as usize].set((Arc::clone(desk), index));
        assert!(attached.is_ok(), "a channel has one producer");
    }

    pub(crate) fn initial_credit(&self) -> u32 {
        self.shared.state.lock().ledger.initial_credit()
    }

    /// Delivers a batch against a credit and says how many more wait. Returns new credits.
    pub(crate) fn deliver(&self, batch: Batch<T>, backlog: u32) -> u32 {
        let mut state = self.shared.state.lock();
        state
            .arrivals
            .push_back((self.channel, Element::Batch(batch)));
        state.last_watermark[self.channel as usize] = None;
        let granted = state.ledger.on_batch(self.channel, backlog);
        let wake = mem::take(&mut state.waiting);
        drop(state);
        if wake {
            self.shared.consumer.wake();
        }
        granted
    }

    /// Says how many batches wait when there is no credit to say it with a batch. Returns new credits.
    pub(crate) fn announce(&self, backlog: u32) -> u32 {
        self.shared
            .state
            .lock()
            .ledger
            .on_backlog(self.channel, backlog)
    }

    pub(crate) fn control(&self, control: Control) {
        let mut state = self.shared.state.lock();
        state.add(self.channel, control);
        let wake = mem::take(&mut state.waiting);
        drop(state);
        if wake {
            self.shared.consumer.wake();
        }
    }

    /// Sends a barrier ahead of everything; the receiver saves what comes before the batch of this number.
    pub(crate) fn ahead(&self, barrier: u64, before: u64) {
        let mut state = self.shared.state.lock();
        state.ahead.push_back(Ahead {
            channel: self.channel,
            barrier,
            before,
        });
        // And in its place, behind what the receiver saves: a word about time that follows is not taken for an earlier one.
        state.add(self.channel, Control::Barrier(barrier));
        self.shared.urgent.store(true, Ordering::Release);
        state.waiting = false;
        drop(state);
        self.shared.consumer.wake();
    }
}

#[cfg(all(test, loom))]
mod model {
    use levada_core::sync::thread;

    use super::*;
    use crate::desk::model::Bell;

    fn batch(sequence: u64) -> Batch<u64> {
        Batch {
            entries: Entries::Owned(Vec::new()),
            born: Moment::ZERO,
            sequence,
            watermark: None,
            charge: None,
        }
    }

    /// Everything that arrives, the element that overtakes included, is found by a consumer that comes again whenever it is
    /// woken, and both buffers are credits again.
    #[test]
    fn an_arrival_is_found_or_announced() {
        loom::model(|| {
            let bell = Arc::new(Bell::default());
            let (mut gate, mut ports) =
                Gate::<u64>::new(1, 2, 0, Arc::clone(&bell) as Arc<dyn Wake>);
            let port = ports.remove(0);
            port.attach(&Arc::new(Desk::new(2, Arc::new(Bell::default()))), 0);
            let producer = thread::spawn(move || {
                port.deliver(batch(0), 0);
                port.ahead(1, 1);
                port.control(Control::End);
            });
            let (mut batches, mut barriers, mut ended) = (0, 0, false);
            let mut receive = || {
                while gate.take_ahead().is_some() {
                    barriers += 1;
                }
                while let Some(arrival) = gate.receive() {
                    match arrival {
                        Arrival::Batch(in_hand) => {
                            batches += 1;
                            gate.recycle(in_hand);
                        }
                        Arrival::Control(_, control) => ended = control == Control::End,
                    }
                }
                gate.buffers()
            };
            let rung = bell.rung();
            let mut buffers = receive();
            producer.join().unwrap();
            if bell.rung() > rung {
                buffers = receive();
            }
            assert_eq!((buffers.credits, buffers.in_flight), (2, 0), "{buffers:?}");
            assert_eq!((batches, barriers, ended), (1, 1, true));
        });
    }
}

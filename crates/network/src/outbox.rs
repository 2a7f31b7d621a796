//! The sending end of an exchange: open batches, queues, credits.
//!
//! ```text
//!  push ─▶ routing ─▶ route: open batch ──seal──▶ queue of each channel ──credit──▶ port
//!                       │ full and cannot be sealed: the route is limited, and the outbox is Full
//! ```
//!
//! Records are accepted only while no route is limited, because nobody knows which route the next record takes. A sealed
//! batch may wait for a credit in its channel's queue; it is announced there as backlog.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use levada_core::codec::{self, CodecError};
use levada_core::sync::atomic::Ordering;
use levada_core::{Exchange, Moment, Room, Timestamp, Wake, fault};

use crate::batch::{Batch, Control, Element, Entries, Entry, SharedEntries, Watermark};
use crate::budget::Budget;
use crate::channel::Channel;
use crate::desk::{Desk, Left, Spent};
use crate::gate::Port;
use crate::gauge::{Account, ChannelGauge, Charge, EdgeGauge};
use crate::in_flight::Saved;
use crate::meter::Meter;
use crate::routing::Routing;

/// Sizes and times of an outbox, from the plan.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// The bytes at which a batch is sealed.
    pub batch_bytes: usize,
    /// The records at which a batch is sealed.
    pub batch_records_max: usize,
    /// Sealed batches that may wait for a credit, per channel; at least 1.
    pub queue_max: u32,
    /// Spent batches that are kept for reuse.
    pub spare_max: usize,
    /// How long a record waits in a batch that is not full. Zero: until the end of the poll.
    pub buffer_timeout: Duration,
}

/// What a record carries through a stage besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Event time.
    pub timestamp: Timestamp,
    /// When the record, or the input that caused it, left its source.
    pub born: Moment,
}

/// What an outbox says to a record that it has taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "pushing on without room breaks the bound of a queue"]
pub enum Taken {
    /// It lies in an open batch, and another one may follow.
    Open,
    /// It was the last one of its batch, and another one may follow on some route.
    Sealed,
    /// No other one may follow for now.
    Full,
}

/// What [`Outbox::tend`] leaves to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tended {
    /// When an open batch must be sealed, if nothing else happens before.
    pub flush_at: Option<Moment>,
    /// Whether there is room now. Credits may have come since a push found none; only an outbox that is still full wakes
    /// its task with the next one.
    pub room: Room,
}

/// The sending end of an exchange, in one subtask.
pub struct Outbox<T, R> {
    routing: R,
    routes: Vec<Route<T>>,
    channels: Vec<Channel<T>>,
    desk: Arc<Desk<T>>,
    /// Emptied batches, the newest last.
    spare: Vec<Vec<Entry<T>>>,
    left: Left<T>,
    meter: Meter<T>,
    account: Arc<Account>,
    options: OutboxOptions,
    /// The records at which a batch is sealed, whatever they weigh.
    batch_records: usize,
    /// Routes that cannot take another record.
    limited: usize,
    /// Batches in all queues.
    queued: usize,
    now: Moment,
    flush_at: Option<Moment>,
    /// Whether the first record has been through the codec.
    checked: bool,
    failure: Option<CodecError>,
    ended: bool,
}

/// Where records go together: one channel, or several that share the batches.
struct Route<T> {
    open: Vec<Entry<T>>,
    bytes: usize,
    born: Moment,
    watermark: Option<Watermark>,
    channels: Range<usize>,
    /// Set while the open batch is full and cannot be sealed; it is charged from then on.
    limited: Option<Charge>,
}

impl<T: Exchange, R: Routing<T>> Outbox<T, R> {
    /// An outbox with a route for each list of ports; a record that takes a route goes to all of its ports. The gauges
    /// are those of the channels, in the order of the ports.
    ///
    /// # Panics
    /// If the options cannot work, or a port is already taken.
    #[must_use]
    pub fn new(
        routing: R,
        routes: Vec<Vec<Port<T>>>,
        options: OutboxOptions,
        gauges: &[Arc<ChannelGauge>],
        edges: Vec<Arc<EdgeGauge>>,
        budget: Arc<Budget>,
        maker: Arc<dyn Wake>,
    ) -> Self {
        assert!(options.queue_max > 0, "a batch without a credit must wait");
        assert!(options.batch_bytes > 0 && options.batch_records_max > 0);
        let desk = Arc::new(Desk::new(options.spare_max, maker));
        let mut channels = Vec::new();
        let routes = routes
            .into_iter()
            .enumerate()
            .map(|(route, ports)| {
                let first = channels.len();
                for port in ports {
                    let index = channels.len();
                    port.attach(
                        &desk,
                        u32::try_from(index).expect("an outbox has fewer than 2^32 channels"),
                    );
                    let credits = port.initial_credit();
                    let gauge = Arc::clone(&gauges[index]);
                    gauge.credits.store(u64::from(credits), Ordering::Relaxed);
                    channels.push(Channel {
                        port,
                        route,
                        credits,
                        queue: VecDeque::new(),
                        backlog: 0,
                        sequence: 0,
                        barrier: (0, 0),
                        gauge,
                    });
                }
                Route {
                    open: Vec::new(),
                    bytes: 0,
                    born: Moment::ZERO,
                    watermark: None,
                    channels: first..channels.len(),
                    limited: None,
                }
            })
            .collect();
        let by_size = options.batch_bytes / size_of::<Entry<T>>().max(1);
        Self {
            routing,
            routes,
            channels,
            desk,
            spare: Vec::new(),
            left: Left::default(),
            meter: Meter::new(),
            account: Arc::new(Account::new(edges, budget)),
            options,
            batch_records: by_size.clamp(1, options.batch_records_max),
            limited: 0,
            queued: 0,
            now: Moment::ZERO,
            flush_at: None,
            checked: false,
            failure: None,
            ended: false,
        }
    }

    /// Takes a record. Not to be called after [`Taken::Full`] before [`Outbox::resume`] has said [`Room::Free`].
    #[inline]
    pub fn push(&mut self, record: T, stamp: Stamp) -> Taken {
        let index = self.routing.route(&record);
        let bytes = self.meter.charge(&record);
        let route = &mut self.routes[index];
        if route.open.is_empty() {
            route.begin(&mut self.spare, self.batch_records, stamp.born);
        }
        route.open.push(Entry {
            record,
            timestamp: stamp.timestamp,
        });
        route.bytes += bytes;
        if route.bytes < self.options.batch_bytes && route.open.len() < self.batch_records {
            Taken::Open
        } else {
            self.filled(index)
        }
    }

    /// Tries again what had no room. [`Room::Full`] after the end means that batches still wait for credits.
    pub fn resume(&mut self) -> Room {
        self.collect();
        self.room()
    }

    /// Looks after the outbox at the beginning and the end of a poll: collects what came back, drops spent records, seals
    /// what has waited long enough. If the outbox needs a credit to go on, its task is woken by the next one.
    pub fn tend(&mut self, now: Moment) -> Tended {
        self.now = now;
        loop {
            self.collect();
            let flush_at = self.flush();
            if !self.needs_credit() || self.desk.await_credit() {
                return Tended {
                    flush_at,
                    room: self.room(),
                };
            }
        }
    }

    /// Sends a control element on every channel, behind all records pushed before it.
    pub fn control(&mut self, control: Control) -> Room {
        if control == Control::End {
            self.ended = true;
            if fault!("end-overtakes") {
                for channel in &self.channels {
                    channel.port.control(control);
                }
            }
        }
        for index in 0..self.routes.len() {
            let route = &mut self.routes[index];
            if let Control::Watermark(watermark) = control
                && !route.open.is_empty()
            {
                // It rides at the end of the open batch, and does not seal it.
                route.watermark = Some(watermark);
                continue;
            }
            if !route.open.is_empty() {
                self.seal(index);
            }
            for i in self.routes[index].channels.clone() {
                let channel = &mut self.channels[i];
                if let Control::Barrier(number) = control {
                    channel.barrier = (number, channel.sequence);
                }
                channel.enqueue_control(control);
                self.pump(i);
            }
        }
        self.room()
    }

    /// Sends a barrier ahead of everything that waits on the channels, and saves what it overtakes that has not been
    /// delivered, channel by channel in the order of the ports. A barrier that has been sent in its order, and waits, goes
    /// ahead now; the receiver learns of one that waits there.
    ///
    /// # Errors
    /// If a record cannot be encoded.
    pub fn overtake(
        &mut self,
        barrier: u64,
        mut save: impl FnMut(usize, Saved),
    ) -> Result<(), CodecError> {
        for index in 0..self.routes.len() {
            let first = self.routes[index].channels.start;
            let is_sent = self.channels[first].barrier.0 == barrier;
            if !is_sent && !self.routes[index].open.is_empty() {
                self.seal(index);
            }
        }
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if channel.barrier.0 != barrier {
                channel.barrier = (barrier, channel.sequence);
            }
            let first_queued = channel.first_queued();
            let saved = channel.save_queue(barrier)?;
            if !saved.is_empty() && !fault!("queue-unsaved") {
                save(index, saved);
            }
            channel
                .port
                .ahead(barrier, channel.barrier.1.min(first_queued));
        }
        Ok(())
    }

    /// Whether a barrier that was sent in its order has been delivered on every channel.
    #[must_use]
    pub fn has_delivered(&self, barrier: u64) -> bool {
        let waits = |channel: &Channel<T>| {
            let mut queue = channel.queue.iter();
            queue.any(|element| {
                matches!(element, Element::Control(Control::Barrier(number)) if *number == barrier)
            })
        };
        !self.channels.iter().any(waits)
    }

    /// Makes room where there is none, for what must go on without: what is full waits in its queue, beyond the bound and
    /// counted as overdraft. [`Room::Full`] if that is used up.
    pub fn make_room(&mut self) -> Room {
        self.collect();
        for index in 0..self.routes.len() {
            if self.routes[index].limited.is_some() && !self.account.is_exhausted() {
                self.seal(index);
            }
        }
        self.room()
    }

    /// Why the outbox can take nothing any more, if it has failed.
    pub fn take_failure(&mut self) -> Option<CodecError> {
        self.failure.take()
    }

    fn needs_credit(&self) -> bool {
        self.queued > 0 || self.limited > 0 || self.account.overdrawn()
    }

    fn room(&self) -> Room {
        let stuck = self.is_limited()
            || self.account.overdrawn()
            || self.failure.is_some()
            || (self.ended && self.queued > 0);
        if stuck { Room::Full } else { Room::Free }
    }

    /// Whether no route is left for the next record, or the one it must take may be among those that are full.
    fn is_limited(&self) -> bool {
        if R::CHOOSES {
            self.limited == self.routes.len()
        } else {
            self.limited > 0
        }
    }

    /// The open batch of a route is full: seals it, or says that there is no room.
    #[inline(never)]
    fn filled(&mut self, index: usize) -> Taken {
        if !self.may_seal(index) {
            // Credits that have come meanwhile lie at the desk; a closure that goes on to emit should not wait for them.
            self.collect();
        }
        if self.may_seal(index) {
            self.seal(index);
        } else if self.routes[index].limited.is_none() {
            let route = &mut self.routes[index];
            let charge = Charge::new(&self.account, route.bytes, self.options.batch_bytes);
            route.limited = Some(charge);
            self.limited += 1;
            self.routing.set_closed(index, true);
            if self.is_limited() {
                self.begin_waiting();
            }
        }
        if self.room().is_full() {
            Taken::Full
        } else {
            Taken::Sealed
        }
    }

    /// Notes for which channels the producer waits.
    fn begin_waiting(&self) {
        for channel in &self.channels {
            let limited = self.routes[channel.route].limited.is_some();
            if limited && channel.backlog >= self.options.queue_max {
                channel.gauge.begin_waiting(self.now);
            }
        }
    }

    fn may_seal(&self, index: usize) -> bool {
        self.channels[self.routes[index].channels.clone()]
            .iter()
            .all(|channel| channel.backlog < self.options.queue_max)
    }

    /// Moves the open batch of a route into the queues of its channels.
    fn seal(&mut self, index: usize) {
        let within = self.may_seal(index);
        let route = &mut self.routes[index];
        let entries = std::mem::take(&mut route.open);
        let limited = route.limited.take();
        if limited.is_some() {
            self.limited -= 1;
            self.routing.set_closed(index, false);
        }
        let charge = match limited.filter(|_| within) {
            Some(charge) => charge,
            // What a barrier seals without room lies beyond the bound of the edge.
            None => {
                let target = if within { self.options.batch_bytes } else { 0 };
                Charge::new(&self.account, route.bytes, target)
            }
        };
        route.bytes = 0;
        let (born, watermark) = (route.born, route.watermark.take());
        let channels = route.channels.clone();
        self.account.count_sealed(entries.len());
        if !self.checked {
            self.checked = true;
            if let Err(error) = codec::round_trip(&entries[0].record) {
                self.failure = Some(error);
            }
        }
        let batch = |entries, charge, sequence| Batch {
            entries,
            born,
            sequence,
            watermark,
            charge,
        };
        if channels.len() == 1 {
            let channel = &mut self.channels[channels.start];
            let batch = batch(Entries::Owned(entries), Some(charge), channel.sequence);
            channel.enqueue_batch(batch);
        } else {
            let shared = Arc::new(SharedEntries {
                entries,
                charge: Some(charge),
            });
            for channel in &mut self.channels[channels.clone()] {
                let entries = Entries::Shared(Arc::clone(&shared));
                channel.enqueue_batch(batch(entries, None, channel.sequence));
            }
        }
        self.queued += channels.len();
        for i in channels {
            self.pump(i);
        }
    }

    /// Sends what a channel's credits allow.
    fn pump(&mut self, index: usize) {
        let channel = &mut self.channels[index];
        let before = channel.backlog;
        channel.pump();
        self.queued -= (before - channel.backlog) as usize;
        if channel.backlog < self.options.queue_max {
            channel.gauge.end_waiting(self.now);
        }
        channel
            .gauge
            .credits
            .store(u64::from(channel.credits), Ordering::Relaxed);
        channel
            .gauge
            .queued
            .store(u64::from(channel.backlog), Ordering::Relaxed);
    }

    /// Takes credits and spent batches from the desk and uses them.
    fn collect(&mut self) {
        let mut left = std::mem::take(&mut self.left);
        self.desk.collect(&mut left);
        left.repaid = false;
        for spent in left.spent.drain(..) {
            self.keep(spent);
        }
        for channel in left.credits.drain(..) {
            let index = channel as usize;
            self.channels[index].credits += 1;
            self.pump(index);
            let route = self.channels[index].route;
            if self.routes[route].limited.is_some() && self.may_seal(route) {
                self.seal(route);
            }
        }
        self.left = left;
    }

    /// Drops the records of a spent batch, here where they were made, and keeps the memory.
    fn keep(&mut self, spent: Spent<T>) {
        let Spent {
            mut entries,
            charge,
        } = spent;
        entries.clear();
        drop(charge);
        if self.spare.len() < self.options.spare_max {
            self.spare.push(entries);
        }
    }

    /// Seals the batches that have waited for long enough. Returns when to look again; a batch that waits behind others
    /// for a credit needs no look, since the credit wakes the task.
    fn flush(&mut self) -> Option<Moment> {
        if fault!("flush-forgotten") {
            return None;
        }
        let timeout = self.options.buffer_timeout;
        let due = timeout.is_zero() || self.flush_at.is_some_and(|at| self.now >= at);
        let (mut open, mut sealable) = (false, false);
        for index in 0..self.routes.len() {
            if self.routes[index].open.is_empty() || self.routes[index].limited.is_some() {
                continue;
            }
            let may_seal = self.may_seal(index);
            if due && may_seal {
                self.seal(index);
            } else {
                open = true;
                sealable |= may_seal;
            }
        }
        if !open {
            self.flush_at = None;
        } else if self.flush_at.is_none() {
            self.flush_at = Some(self.now + timeout);
        }
        self.flush_at.filter(|_| sealable)
    }
}

impl<T> Route<T> {
    /// Begins a batch, in the memory that was used last.
    #[inline(never)]
    fn begin(&mut self, spare: &mut Vec<Vec<Entry<T>>>, records: usize, born: Moment) {
        self.born = born;
        if self.open.capacity() == 0 {
            self.open = spare.pop().unwrap_or_else(|| Vec::with_capacity(records));
        }
    }
}

//! The invariants of the exchange under random schedules: several producers and consumers, any number of credits, polled
//! in any order by one thread. What must hold:
//!
//! 1. pooled buffers + credits + batches in flight = buffers of the gate, at every step;
//! 2. every record arrives once, in the order of its channel, and the end comes last;
//! 3. nobody sleeps while there is something to do for them: the run comes to its end;
//! 4. what an edge holds never exceeds its bound, and is nothing after all;
//! 5. a watermark passes no record, and the last one of a channel arrives; an idle channel has no records before it says
//!    that it is active again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use levada_core::random::SplitMix64;
use levada_core::{KeyGroup, KeyGroups, Moment, Room, Timestamp, Wake};
use levada_network::{
    Arrival, Budget, ByGroup, ChannelGauge, Control, EdgeGauge, Gate, HasKeyGroup, InHand,
    OneRoute, Outbox, OutboxOptions, Port, RoundRobin, Routing, Stamp, Taken, Watermark,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A record that says where it comes from and goes to.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Item {
    producer: usize,
    number: u64,
    group: u16,
    padding: String,
}

impl HasKeyGroup for Item {
    fn key_group(&self) -> KeyGroup {
        KeyGroup(self.group)
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Hash,
    Rebalance,
    Broadcast,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    kind: Kind,
    producers: usize,
    consumers: usize,
    exclusive: u32,
    floating: u32,
    batch_records: usize,
    records: u64,
    /// One record in this many is larger than a batch.
    large_every: u64,
    seed: u64,
}

struct Producer<R> {
    outbox: Outbox<Item, R>,
    next: u64,
    watermark: Watermark,
    suspended: bool,
    ended: bool,
    awake: Arc<Flag>,
}

struct Consumer {
    gate: Gate<Item>,
    in_hand: Option<InHand<Item>>,
    /// The next number expected from each producer; under hashing and rebalancing numbers only grow.
    last: Vec<Option<u64>>,
    /// By producer.
    watermarks: Vec<Watermark>,
    ended: usize,
    received: u64,
    awake: Arc<Flag>,
}

const BATCH_BYTES: usize = 4_096;
const QUEUE_MAX: u32 = 1;

fn spare_max(channels: usize) -> usize {
    channels.max(4)
}

fn run(setup: Setup) {
    match setup.kind {
        Kind::Hash => drive(setup, || {
            ByGroup::new(KeyGroups::default(), setup.consumers)
        }),
        Kind::Rebalance => drive(setup, || RoundRobin::new(setup.consumers, 1)),
        Kind::Broadcast => drive(setup, || OneRoute),
    }
}

fn drive<R: Routing<Item>>(setup: Setup, routing: impl Fn() -> R) {
    let edge = Arc::new(EdgeGauge::default());
    let budget = Arc::new(Budget::new(4 * BATCH_BYTES as u64));
    let mut consumers = Vec::new();
    let mut ports: Vec<Vec<Port<Item>>> = (0..setup.producers).map(|_| Vec::new()).collect();
    for _ in 0..setup.consumers {
        let awake = Arc::new(Flag(AtomicBool::new(true)));
        let (gate, gate_ports) = Gate::new(
            setup.producers,
            setup.exclusive,
            setup.floating,
            Arc::clone(&awake) as Arc<dyn Wake>,
        );
        for (producer, port) in gate_ports.into_iter().enumerate() {
            ports[producer].push(port);
        }
        consumers.push(Consumer {
            gate,
            in_hand: None,
            last: vec![None; setup.producers],
            watermarks: vec![Watermark::active(Timestamp::MIN); setup.producers],
            ended: 0,
            received: 0,
            awake,
        });
    }
    let options = OutboxOptions {
        batch_bytes: BATCH_BYTES,
        batch_records_max: setup.batch_records,
        queue_max: QUEUE_MAX,
        spare_max: spare_max(setup.consumers),
        buffer_timeout: Duration::from_nanos(100),
    };
    let mut producers: Vec<_> = ports
        .into_iter()
        .map(|ports| {
            let awake = Arc::new(Flag(AtomicBool::new(true)));
            let gauges: Vec<_> = ports
                .iter()
                .map(|_| Arc::new(ChannelGauge::default()))
                .collect();
            let routes = match setup.kind {
                Kind::Broadcast => vec![ports],
                _ => ports.into_iter().map(|port| vec![port]).collect(),
            };
            Producer {
                outbox: Outbox::new(
                    routing(),
                    routes,
                    options,
                    &gauges,
                    vec![Arc::clone(&edge)],
                    Arc::clone(&budget),
                    Arc::clone(&awake) as Arc<dyn Wake>,
                ),
                next: 0,
                watermark: Watermark::active(Timestamp::MIN),
                suspended: false,
                ended: false,
                awake,
            }
        })
        .collect();

    let mut random = SplitMix64::new(setup.seed);
    let mut now = 0;
    loop {
        now += random.below(50);
        let tasks = producers.len() + consumers.len();
        let awake: Vec<usize> = (0..tasks)
            .filter(|task| match task.checked_sub(producers.len()) {
                None => producers[*task].awake.0.load(Ordering::Relaxed),
                Some(consumer) => consumers[consumer].awake.0.load(Ordering::Relaxed),
            })
            .collect();
        if awake.is_empty() {
            break;
        }
        let task = awake[random.below(awake.len() as u64) as usize];
        match task.checked_sub(producers.len()) {
            None => poll_producer(&mut producers[task], task, setup, now, &mut random),
            Some(consumer) => poll_consumer(&mut consumers[consumer], setup, &mut random),
        }
        check_buffers(&consumers, setup);
        let held = edge.held();
        assert!(held <= bound(setup), "{held} bytes are held");
    }

    let each = match setup.kind {
        Kind::Broadcast => setup.consumers as u64,
        _ => 1,
    };
    let received: u64 = consumers.iter().map(|consumer| consumer.received).sum();
    assert_eq!(received, setup.producers as u64 * setup.records * each);
    for consumer in &consumers {
        assert_eq!(consumer.ended, setup.producers, "every channel has ended");
        let buffers = consumer.gate.buffers();
        assert_eq!(buffers.in_flight, 0, "all batches are home");
        let sent: Vec<_> = producers.iter().map(|p| p.watermark).collect();
        assert_eq!(consumer.watermarks, sent);
    }
    drop((producers, consumers));
    assert_eq!(edge.held(), 0);
    assert_eq!(edge.overdraft(), 0);
    assert_eq!(budget.used(), 0);
}

/// Open, queued and spare batches of the producers, and the buffers of the gates.
fn bound(setup: Setup) -> u64 {
    let (p, c) = (setup.producers as u64, setup.consumers as u64);
    let routes = match setup.kind {
        Kind::Broadcast => 1,
        _ => c,
    };
    let at_producer = routes * (1 + u64::from(QUEUE_MAX)) + spare_max(setup.consumers) as u64;
    let at_gate = p * u64::from(setup.exclusive) + u64::from(setup.floating);
    (p * at_producer + c * at_gate) * BATCH_BYTES as u64
}

fn check_buffers(consumers: &[Consumer], setup: Setup) {
    for consumer in consumers {
        let buffers = consumer.gate.buffers();
        assert_eq!(
            buffers.pooled + buffers.credits + buffers.in_flight,
            buffers.total
        );
        let total = setup.producers as u32 * setup.exclusive + setup.floating;
        assert_eq!(buffers.total, total);
    }
}

fn poll_producer<R: Routing<Item>>(
    producer: &mut Producer<R>,
    index: usize,
    setup: Setup,
    now: u64,
    random: &mut SplitMix64,
) {
    producer.awake.0.store(false, Ordering::Relaxed);
    let outbox = &mut producer.outbox;
    outbox.tend(Moment::from_nanos(now));
    if producer.suspended {
        producer.suspended = outbox.resume().is_full();
    }
    let mut more = 1 + random.below(2 * setup.batch_records as u64);
    while !producer.suspended && producer.next < setup.records && more > 0 {
        more -= 1;
        let number = producer.next;
        let said = match random.below(8) {
            0 => Some(Watermark::active(Timestamp(number as i64 - 1))),
            1 => Some(Watermark::idle(producer.watermark.at)),
            _ if producer.watermark.is_idle => Some(Watermark::active(producer.watermark.at)),
            _ => None,
        };
        if let Some(watermark) = said {
            producer.watermark = watermark;
            producer.suspended = outbox.control(Control::Watermark(watermark)).is_full();
            continue;
        }
        let large = setup.large_every > 0 && number % setup.large_every == 1;
        let item = Item {
            producer: index,
            number,
            group: (random.next() % 128) as u16,
            padding: if large {
                "x".repeat(3 * BATCH_BYTES)
            } else {
                String::new()
            },
        };
        producer.next += 1;
        let stamp = Stamp {
            timestamp: Timestamp(number as i64),
            born: Moment::ZERO,
        };
        producer.suspended = outbox.push(item, stamp) == Taken::Full;
    }
    if !producer.suspended && producer.next == setup.records && !producer.ended {
        producer.ended = true;
        producer.suspended = outbox.control(Control::End).is_full();
    }
    assert!(outbox.take_failure().is_none());
    let tended = outbox.tend(Moment::from_nanos(now));
    // A producer that has more to do, or a batch that becomes due, is polled again.
    let may_go_on = !tended.room.is_full() && (producer.suspended || !producer.ended);
    if may_go_on || tended.flush_at.is_some() {
        producer.awake.0.store(true, Ordering::Relaxed);
    }
}

fn poll_consumer(consumer: &mut Consumer, setup: Setup, random: &mut SplitMix64) {
    consumer.awake.0.store(false, Ordering::Relaxed);
    let mut more = 1 + random.below(2 * setup.batch_records as u64);
    loop {
        let Some(mut in_hand) = consumer.in_hand.take() else {
            match consumer.gate.receive() {
                None => return,
                Some(Arrival::Batch(in_hand)) => consumer.in_hand = Some(in_hand),
                Some(Arrival::Control(channel, Control::Watermark(watermark))) => {
                    hear(&mut consumer.watermarks[channel as usize], watermark);
                }
                Some(Arrival::Control(_, control)) => {
                    assert_eq!(control, Control::End);
                    consumer.ended += 1;
                }
            }
            continue;
        };
        let channel = in_hand.channel() as usize;
        let (last, received) = (&mut consumer.last[channel], &mut consumer.received);
        let watermark = &mut consumer.watermarks[channel];
        assert!(!watermark.is_idle, "it says that it is active first");
        let room = in_hand.unread.lend(|entry| {
            let item = &entry.record;
            assert_eq!(item.producer, channel);
            assert_eq!(entry.timestamp, Timestamp(item.number as i64));
            assert!(entry.timestamp > watermark.at, "{entry:?} is late");
            match setup.kind {
                Kind::Broadcast => assert_eq!(item.number, last.map_or(0, |last| last + 1)),
                _ => assert!(last.is_none_or(|last| item.number > last)),
            }
            *last = Some(item.number);
            *received += 1;
            more -= 1;
            if more == 0 { Room::Full } else { Room::Free }
        });
        if in_hand.unread.is_done() {
            if let Some(later) = in_hand.watermark() {
                hear(watermark, later);
            }
            consumer.gate.recycle(in_hand);
        } else {
            consumer.in_hand = Some(in_hand);
        }
        if room.is_full() {
            consumer.awake.0.store(true, Ordering::Relaxed);
            return;
        }
    }
}

fn hear(watermark: &mut Watermark, later: Watermark) {
    assert!(later.at >= watermark.at, "{watermark:?}, then {later:?}");
    *watermark = later;
}

fn setups() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![
            Just(Kind::Hash),
            Just(Kind::Rebalance),
            Just(Kind::Broadcast)
        ],
        1..5usize,
        1..5usize,
        prop_oneof![Just((0, 1)), Just((1, 0)), (0..3u32, 1..9u32)],
        1..20usize,
        0..400u64,
        prop_oneof![Just(0), 2..50u64],
        any::<u64>(),
    )
        .prop_map(
            |(kind, producers, consumers, credits, batch_records, records, large_every, seed)| {
                Setup {
                    kind,
                    producers,
                    consumers,
                    exclusive: credits.0,
                    floating: credits.1,
                    batch_records,
                    records,
                    large_every,
                    seed,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_arrives_once_within_the_bound(setup in setups()) {
        run(setup);
    }
}

/// Nothing holds up watermarks, so nothing else bounds how many of them wait for a reader.
#[test]
fn watermarks_without_records_between_them_take_no_room() {
    let awake = Arc::new(Flag::default());
    let (mut gate, ports) = Gate::<u64>::new(2, 1, 0, Arc::clone(&awake) as Arc<dyn Wake>);
    let mut outboxes = ports.into_iter().map(|port| {
        Outbox::new(
            OneRoute,
            vec![vec![port]],
            OutboxOptions {
                batch_bytes: BATCH_BYTES,
                batch_records_max: 1,
                queue_max: 1,
                spare_max: 1,
                buffer_timeout: Duration::ZERO,
            },
            &[Arc::new(ChannelGauge::default())],
            vec![Arc::new(EdgeGauge::default())],
            Arc::new(Budget::new(0)),
            Arc::clone(&awake) as Arc<dyn Wake>,
        )
    });
    let (mut first, mut second) = (outboxes.next().unwrap(), outboxes.next().unwrap());
    let stamp = Stamp {
        timestamp: Timestamp(1_000),
        born: Moment::ZERO,
    };
    for at in 0..1_000 {
        let at = Timestamp(at);
        let _ = first.control(Control::Watermark(Watermark::active(at)));
        let _ = second.control(Control::Watermark(Watermark::active(at)));
        let _ = second.control(Control::Watermark(Watermark::idle(at)));
    }
    assert_ne!(first.push(7, stamp), Taken::Full);
    let _ = first.control(Control::Watermark(Watermark::idle(Timestamp(1_000))));
    let mut seen = Vec::new();
    while let Some(arrival) = gate.receive() {
        match arrival {
            Arrival::Control(channel, Control::Watermark(watermark)) => {
                seen.push((channel, watermark));
            }
            Arrival::Batch(in_hand) => gate.recycle(in_hand),
            other => panic!("{other:?}"),
        }
    }
    let at = Timestamp(999);
    let expected = [
        (0, Watermark::active(at)),
        (1, Watermark::idle(at)),
        (0, Watermark::idle(Timestamp(1_000))),
    ];
    assert_eq!(seen, expected);
}

/// A closure emits without looking at its outbox in between: credits that have come back meanwhile are there for it.
#[test]
fn credits_that_come_while_records_are_pushed_are_used() {
    let awake = Arc::new(Flag::default());
    let (mut gate, ports) = Gate::new(1, 2, 0, Arc::clone(&awake) as Arc<dyn Wake>);
    let mut outbox = Outbox::new(
        OneRoute,
        vec![ports],
        OutboxOptions {
            batch_bytes: BATCH_BYTES,
            batch_records_max: 1,
            queue_max: 1,
            spare_max: 4,
            buffer_timeout: Duration::ZERO,
        },
        &[Arc::new(ChannelGauge::default())],
        vec![Arc::new(EdgeGauge::default())],
        Arc::new(Budget::new(0)),
        Arc::clone(&awake) as Arc<dyn Wake>,
    );
    let stamp = Stamp {
        timestamp: Timestamp::MIN,
        born: Moment::ZERO,
    };
    let mut push = |n: u64| outbox.push(n, stamp);
    assert_eq!([0, 1].map(&mut push), [Taken::Sealed; 2], "two credits");
    for _ in 0..2 {
        match gate.receive() {
            Some(Arrival::Batch(in_hand)) => gate.recycle(in_hand),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        [2, 3, 4].map(&mut push),
        [Taken::Sealed; 3],
        "two credits again, and one in the queue"
    );
    assert_eq!(push(5), Taken::Full);
}

//! Barriers that overtake, on one channel: what they pass is saved once, by the sender or the receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use levada_core::{Moment, Room, Timestamp, Wake};
use levada_network::{
    Arrival, Budget, ChannelGauge, Control, EdgeGauge, Gate, InFlight, OneRoute, Outbox,
    OutboxOptions, Reached, Saved, Stamp, Taken, Watermark, in_flight,
};

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const BATCH_BYTES: usize = 4_096;

/// A channel with two credits whose batches have one record each.
fn channel_of_two() -> (Gate<u64>, Outbox<u64, OneRoute>) {
    let awake = Arc::new(Flag::default());
    let (gate, ports) = Gate::new(1, 2, 0, Arc::clone(&awake) as Arc<dyn Wake>);
    let options = OutboxOptions {
        batch_bytes: BATCH_BYTES,
        batch_records_max: 1,
        queue_max: 8,
        spare_max: 4,
        buffer_timeout: Duration::ZERO,
    };
    let outbox = Outbox::new(
        OneRoute,
        vec![ports],
        options,
        &[Arc::new(ChannelGauge::default())],
        vec![Arc::new(EdgeGauge::default())],
        Arc::new(Budget::new(0)),
        Arc::clone(&awake) as Arc<dyn Wake>,
    );
    (gate, outbox)
}

fn push(outbox: &mut Outbox<u64, OneRoute>, records: std::ops::Range<u64>) {
    for record in records {
        let stamp = Stamp {
            timestamp: Timestamp::MIN,
            born: Moment::ZERO,
        };
        assert_ne!(outbox.push(record, stamp), Taken::Full);
    }
}

/// The records of what was saved.
fn records(saved: Saved) -> Vec<u64> {
    let elements = in_flight::<u64>(&saved.into_bytes()).expect("they were written here");
    let records = elements.into_iter().filter_map(|element| match element {
        InFlight::Record(entry) => Some(entry.record),
        InFlight::Watermark(_) => None,
    });
    records.collect()
}

/// The records that are received, and the barriers between them.
fn receive_all(gate: &mut Gate<u64>, outbox: &mut Outbox<u64, OneRoute>) -> (Vec<u64>, Vec<u64>) {
    let (mut seen, mut barriers) = (Vec::new(), Vec::new());
    while let Some(arrival) = gate.receive() {
        match arrival {
            Arrival::Batch(in_hand) => {
                seen.push(in_hand.unread.rest()[0].record);
                gate.recycle(in_hand);
            }
            Arrival::Control(_, Control::Barrier(number)) => barriers.push(number),
            Arrival::Control(..) => {}
        }
        outbox.tend(Moment::ZERO);
    }
    (seen, barriers)
}

/// Batch 0 is in hand, 1 has been delivered, 2 and 3 wait for credits; the barrier comes behind them, in its order or not.
#[test]
fn a_barrier_overtakes_what_waits_and_all_of_it_is_saved_once() {
    for in_order in [false, true] {
        let (mut gate, mut outbox) = channel_of_two();
        push(&mut outbox, 0..2);
        let Some(Arrival::Batch(first)) = gate.receive() else {
            panic!("the first batch has a credit");
        };
        push(&mut outbox, 2..4);
        if in_order {
            assert_eq!(outbox.control(Control::Barrier(7)), Room::Free);
            push(&mut outbox, 4..5);
            assert_eq!(gate.take_ahead(), None);
        }
        let mut queue = Vec::new();
        let saved = outbox.overtake(7, |channel, saved| {
            assert_eq!(channel, 0);
            queue.extend(records(saved));
        });
        saved.unwrap();
        if !in_order {
            push(&mut outbox, 4..5);
        }
        let ahead = gate.take_ahead().unwrap();
        assert_eq!((ahead.channel, ahead.barrier, ahead.before), (0, 7, 2));
        let mut saved = Saved::new();
        let reached = gate.save_unread(0, 7, 1, Some(ahead.before), &mut saved);
        assert_eq!(reached.unwrap(), (Reached::Barrier, 2));
        assert_eq!((records(saved), queue), (vec![1], vec![2, 3]));
        gate.recycle(first);
        outbox.tend(Moment::ZERO);
        let received = receive_all(&mut gate, &mut outbox);
        assert_eq!(
            received,
            (vec![1, 2, 3, 4], vec![7]),
            "it is not left in the queue, too"
        );
    }
}

/// What the sender has saved is delivered before the receiver looks, with the credit of a batch that it has just read: it
/// finds what is the sender's behind the barrier, whether or not it has seen the barrier.
#[test]
fn what_the_sender_has_saved_is_not_saved_again_where_it_arrives() {
    for has_looked in [false, true] {
        let (mut gate, mut outbox) = channel_of_two();
        push(&mut outbox, 0..2);
        let Some(Arrival::Batch(first)) = gate.receive() else {
            panic!("the first batch has a credit");
        };
        push(&mut outbox, 2..4);
        let mut queue = Vec::new();
        let saved = outbox.overtake(7, |_, saved| queue.extend(records(saved)));
        saved.unwrap();
        assert_eq!(queue, [2, 3]);
        gate.recycle(first);
        outbox.tend(Moment::ZERO);
        let before = has_looked.then(|| gate.take_ahead().unwrap().before);
        let mut saved = Saved::new();
        let reached = gate.save_unread(0, 7, 1, before, &mut saved);
        assert_eq!(reached.unwrap(), (Reached::Barrier, 2), "{has_looked}");
        assert_eq!(records(saved), [1], "{has_looked}");
        if !has_looked {
            let ahead = gate.take_ahead().unwrap();
            assert_eq!((ahead.barrier, ahead.before), (7, 2), "it is still told");
        }
        let received = receive_all(&mut gate, &mut outbox);
        assert_eq!(received, (vec![1, 2, 3], vec![7]));
    }
}

/// The barrier has been delivered in its order and not been received when the receiver learns that it shall overtake.
#[test]
fn a_barrier_that_waits_at_the_receiver_is_found_there() {
    let (mut gate, mut outbox) = channel_of_two();
    push(&mut outbox, 0..1);
    assert_eq!(outbox.control(Control::Barrier(3)), Room::Free);
    push(&mut outbox, 1..2);
    let mut saved = Saved::new();
    let reached = gate.save_unread(0, 3, 0, None, &mut saved).unwrap();
    assert_eq!(reached, (Reached::Barrier, 1));
    assert_eq!(records(saved), [0]);
    outbox.overtake(3, |_, _| panic!("nothing waits")).unwrap();
    assert_eq!(gate.take_ahead().map(|ahead| ahead.before), Some(1));
}

/// What comes on a blocked channel is received after it is unblocked, in its order; the other channel goes on.
#[test]
fn a_blocked_channel_waits_and_the_others_do_not() {
    let awake = Arc::new(Flag::default());
    let (mut gate, ports) = Gate::<u64>::new(2, 2, 0, Arc::clone(&awake) as Arc<dyn Wake>);
    let mut outboxes: Vec<_> = ports
        .into_iter()
        .map(|port| {
            Outbox::new(
                OneRoute,
                vec![vec![port]],
                OutboxOptions {
                    batch_bytes: BATCH_BYTES,
                    batch_records_max: 1,
                    queue_max: 8,
                    spare_max: 1,
                    buffer_timeout: Duration::ZERO,
                },
                &[Arc::new(ChannelGauge::default())],
                vec![Arc::new(EdgeGauge::default())],
                Arc::new(Budget::new(0)),
                Arc::clone(&awake) as Arc<dyn Wake>,
            )
        })
        .collect();
    gate.block(0);
    push(&mut outboxes[0], 0..4);
    push(&mut outboxes[1], 10..12);
    let mut receive = |gate: &mut Gate<u64>| {
        let mut seen = Vec::new();
        while let Some(Arrival::Batch(in_hand)) = gate.receive() {
            seen.push(in_hand.unread.rest()[0].record);
            gate.recycle(in_hand);
            for outbox in &mut outboxes {
                outbox.tend(Moment::ZERO);
            }
        }
        seen
    };
    assert_eq!(receive(&mut gate), [10, 11]);
    assert_eq!(gate.buffers().in_flight, 2, "what waits keeps its credits");
    gate.unblock();
    assert_eq!(receive(&mut gate), [0, 1, 2, 3]);
}

/// Without room, what must go on does so against the overdraft, as long as there is some.
#[test]
fn room_is_made_against_the_overdraft() {
    for (budget, expect) in [(1 << 20, Room::Free), (0, Room::Full)] {
        let awake = Arc::new(Flag::default());
        let (mut gate, ports) = Gate::new(1, 1, 0, Arc::clone(&awake) as Arc<dyn Wake>);
        let edge = Arc::new(EdgeGauge::default());
        let mut outbox = Outbox::new(
            OneRoute,
            vec![ports],
            OutboxOptions {
                batch_bytes: BATCH_BYTES,
                batch_records_max: 1,
                queue_max: 1,
                spare_max: 1,
                buffer_timeout: Duration::ZERO,
            },
            &[Arc::new(ChannelGauge::default())],
            vec![Arc::clone(&edge)],
            Arc::new(Budget::new(budget)),
            Arc::clone(&awake) as Arc<dyn Wake>,
        );
        push(&mut outbox, 0..2);
        let stamp = Stamp {
            timestamp: Timestamp::MIN,
            born: Moment::ZERO,
        };
        assert_eq!(outbox.push(2, stamp), Taken::Full);
        let held = edge.held();
        assert_eq!(outbox.make_room(), expect);
        if expect == Room::Free {
            assert!(edge.held() < held && edge.overdraft() > 0);
            assert_eq!(outbox.push(3, stamp), Taken::Full);
            assert_eq!(outbox.make_room(), Room::Free, "again");
        }
        assert_eq!(receive_all(&mut gate, &mut outbox).0[..3], [0, 1, 2]);
        assert_eq!((edge.overdraft(), outbox.resume()), (0, Room::Free));
    }
}

/// A word about time that follows a barrier which has overtaken neither takes the place of an earlier one nor is saved as one.
#[test]
fn what_is_said_of_time_behind_a_barrier_that_overtakes_is_not_saved() {
    let (mut gate, mut outbox) = channel_of_two();
    let watermark = |at| Control::Watermark(Watermark::active(Timestamp(at)));
    assert_eq!(outbox.control(watermark(5)), Room::Free);
    outbox.overtake(7, |_, _| panic!("nothing waits")).unwrap();
    assert_eq!(outbox.control(watermark(50)), Room::Free);
    let mut saved = Saved::new();
    let reached = gate.save_unread(0, 7, 0, None, &mut saved).unwrap();
    assert_eq!(reached, (Reached::Barrier, 0));
    let saved = in_flight::<u64>(&saved.into_bytes()).unwrap();
    let first = InFlight::Watermark(Watermark::active(Timestamp(5)));
    assert_eq!(saved, [first]);
}

//! What reaches an inbox in the middle of a poll, because others run at the same time.

use std::panic::Location;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use levada_core::sync::Mutex;
use levada_core::{Moment, Wake};
use levada_graph::Pattern;
use levada_network::{Budget, InFlight, OneRoute, Outbox, OutboxOptions, Stamp, in_flight};
use levada_state::Saving;

use super::*;
use crate::checkpoint::block::ToWriter;
use crate::checkpoint::order::Order;
use crate::checkpoint::{BlockKind, Mail, Outlet};
use crate::environment::Environment;
use crate::stage::EdgeInput;
use crate::turn::Limits;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// Two producers, and who tells of checkpoints.
struct Others {
    outboxes: [Outbox<u64, OneRoute>; 2],
    mail: Arc<Mail>,
}

impl Others {
    /// Sends a record as a batch.
    fn send(&mut self, producer: usize, record: u64) {
        let stamp = Stamp {
            timestamp: Timestamp(0),
            born: Moment::ZERO,
        };
        let _ = self.outboxes[producer].push(record, stamp);
        let _ = self.outboxes[producer].tend(Moment::ZERO);
    }

    fn send_barrier(&mut self, producer: usize, checkpoint: u64) {
        let _ = self.outboxes[producer].control(Control::Barrier(checkpoint));
    }

    fn send_watermark(&mut self, producer: usize, at: i64) {
        let watermark = Watermark::active(Timestamp(at));
        let _ = self.outboxes[producer].control(Control::Watermark(watermark));
    }

    fn send_ahead(&mut self, producer: usize, checkpoint: u64) {
        let nothing_waits = |_, _| panic!("there are credits for all batches");
        let overtaken = self.outboxes[producer].overtake(checkpoint, nothing_waits);
        overtaken.expect("there is nothing to encode");
    }

    fn order(&self, checkpoint: u64, overtakes: bool) {
        self.mail.tell(|letters| {
            letters.order = Some(Order {
                saving: Saving {
                    checkpoint,
                    ..Saving::default()
                },
                aligns: true,
                stops: false,
            });
            letters.overtake = overtakes.then_some(checkpoint);
        });
    }

    fn give_up(&self, checkpoint: u64) {
        self.mail.tell(|letters| letters.over = Some(checkpoint));
    }
}

/// What the others do while the inbox reads this record.
type Meanwhile = fn(u64, &mut Others);

struct Reading {
    others: Arc<Mutex<Others>>,
    meanwhile: Meanwhile,
}

impl Push<u64> for Reading {
    fn push(&mut self, record: u64, _: &mut Turn) -> Room {
        (self.meanwhile)(record, &mut self.others.lock());
        Room::Free
    }
}

impl Downstream for Reading {
    fn resume(&mut self, _: &mut Turn) -> Room {
        Room::Free
    }

    fn mark(&mut self, _: &mut Turn) {}

    fn signal(&mut self, _: Signal, _: &mut Turn) -> Room {
        Room::Free
    }

    fn tend(&mut self, _: &mut Turn) -> Room {
        Room::Free
    }

    fn visit(&mut self, _: &mut dyn Visitor) -> Result<(), StateError> {
        Ok(())
    }

    fn close(&mut self, _: Ending) -> Result<(), Failure> {
        Ok(())
    }
}

/// An inbox with two channels.
struct Inbox {
    stage: InboxStage<u64>,
    checkpoints: Participant,
    others: Arc<Mutex<Others>>,
    blocks: Receiver<ToWriter>,
    turn: Turn,
}

impl Inbox {
    fn new(meanwhile: Meanwhile) -> Self {
        let waker = Arc::new(Nobody) as Arc<dyn Wake>;
        let (gate, ports) = Gate::new(2, 8, 0, Arc::clone(&waker));
        let options = OutboxOptions {
            batch_bytes: 1 << 10,
            batch_records_max: 1,
            queue_max: 1,
            spare_max: 1,
            buffer_timeout: Duration::ZERO,
        };
        let outboxes = ports.into_iter().map(|port| {
            Outbox::new(
                OneRoute,
                vec![vec![port]],
                options,
                &[Arc::default()],
                vec![Arc::default()],
                Arc::new(Budget::new(1 << 20)),
                Arc::clone(&waker),
            )
        });
        let outboxes: Vec<_> = outboxes.collect();
        let Ok(outboxes) = outboxes.try_into() else {
            unreachable!("there are two ports")
        };
        let mail = Mail::new();
        let others = Others {
            outboxes,
            mail: Arc::clone(&mail),
        };
        let others = Arc::new(Mutex::new(others));
        let (outlet, blocks) = Outlet::new(1 << 20);
        let reading = Reading {
            others: Arc::clone(&others),
            meanwhile,
        };
        let edge = EdgeInput {
            name: "a -> b".into(),
            pattern: Pattern::Hash,
            index: 0,
            consumers: 1,
            first_producer: 0,
            owned: 0..128,
        };
        Self {
            stage: InboxStage::new(
                vec![gate],
                Replay::new(vec![edge], None),
                Input::Push(Box::new(reading), None),
                Origin::new("b", Location::caller()),
                OperatorCounters::new(),
            ),
            checkpoints: Participant::new(0, mail, Some(outlet), bounded(8).0, waker),
            others,
            blocks,
            turn: Turn::new(Environment::system().clock),
        }
    }

    fn act(&self, act: impl FnOnce(&mut Others)) {
        act(&mut self.others.lock());
    }

    fn poll(&mut self) {
        let limits = Limits {
            slice: Duration::from_secs(60),
            ..Limits::default()
        };
        self.checkpoints.listen();
        self.turn.begin(limits, Moment::ZERO);
        let progress = self.stage.poll(&mut self.turn, &mut self.checkpoints);
        assert_eq!(progress, Progress::Idle);
    }

    /// What is saved as in flight, with the numbers of the producers.
    fn saved_elements(&self, checkpoint: u64) -> Vec<(u32, InFlight<u64>)> {
        let mut saved = Vec::new();
        for message in self.blocks.try_iter() {
            let ToWriter::Block(number, block) = message else {
                continue;
            };
            if number == checkpoint && block.kind == BlockKind::Channel {
                let elements = in_flight(&block.payload[5..]);
                let elements = elements.expect("they were saved just now");
                saved.extend(elements.into_iter().map(|element| (block.from, element)));
            }
        }
        saved
    }

    /// The records of it, in the order of their producers.
    fn saved(&self, checkpoint: u64) -> Vec<(u32, u64)> {
        let saved = self.saved_elements(checkpoint).into_iter();
        let records = saved.filter_map(|(from, element)| match element {
            InFlight::Record(entry) => Some((from, entry.record)),
            InFlight::Watermark(_) => None,
        });
        let mut records: Vec<_> = records.collect();
        records.sort_unstable();
        records
    }

    fn saved_watermarks(&self, checkpoint: u64) -> Vec<i64> {
        let saved = self.saved_elements(checkpoint).into_iter();
        let watermarks = saved.filter_map(|(_, element)| match element {
            InFlight::Watermark(watermark) => Some(watermark.at.0),
            InFlight::Record(_) => None,
        });
        watermarks.collect()
    }
}

/// The first channel is blocked for checkpoint 1 and waits for the second one, when the checkpoint is given up and the next
/// one overtakes.
#[test]
fn what_was_put_aside_for_a_checkpoint_that_is_over_is_saved_for_the_next() {
    let mut inbox = Inbox::new(|record, others| {
        if record == 20 {
            others.send(1, 21);
            others.give_up(1);
            others.order(2, true);
            others.send_ahead(0, 2);
            others.send_ahead(1, 2);
        }
    });
    inbox.act(|others| {
        others.order(1, false);
        others.send_barrier(0, 1);
        others.send(0, 10);
        others.send(1, 20);
    });
    inbox.poll();
    assert_eq!(inbox.saved(2), [(0, 10), (1, 21)]);
    assert_eq!(inbox.checkpoints.saving_inputs(), None);
}

/// Checkpoint 1 has overtaken and saves what arrives, when it is given up and the next one comes in its order.
#[test]
fn what_was_to_be_saved_for_a_checkpoint_that_is_over_is_not_waited_for_in_the_next() {
    let mut inbox = Inbox::new(|record, others| {
        if record == 20 {
            others.give_up(1);
            others.order(2, false);
            others.send_barrier(0, 2);
            others.send_barrier(1, 2);
            others.send(1, 21);
        }
    });
    inbox.act(|others| {
        others.order(1, true);
        others.send(1, 20);
    });
    inbox.poll();
    assert!(inbox.saved(2).is_empty());
    assert_eq!(inbox.checkpoints.saving_inputs(), None);
}

/// The producer has overtaken, goes on, and says how far it is, before the inbox runs again.
#[test]
fn a_watermark_from_behind_a_barrier_that_overtakes_is_not_saved() {
    let mut inbox = Inbox::new(|_, _| {});
    inbox.act(|others| {
        others.order(1, true);
        others.send_watermark(0, 5);
        others.send_ahead(0, 1);
        others.send_watermark(0, 50);
    });
    inbox.poll();
    assert_eq!(inbox.saved_watermarks(1), [5]);
}

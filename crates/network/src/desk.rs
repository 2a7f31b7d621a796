//! Where consumers leave what belongs to a producer: its credits and its spent batches.

use std::mem;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicBool, Ordering};
use levada_core::{Wake, fault};

use crate::batch::Entry;
use crate::gauge::Charge;

/// The desk of one outbox. Its maker looks whenever it is polled, and is woken only while it is starved.
pub(crate) struct Desk<T> {
    /// Whether there is anything to collect; lets the maker look without the lock.
    arrived: AtomicBool,
    inner: Mutex<Inner<T>>,
    /// How many spent batches may lie here; the consumer drops the others itself, so that a maker with nothing to do
    /// does not keep the memory of what it once sent.
    spent_max: usize,
    maker: Arc<dyn Wake>,
}

struct Inner<T> {
    left: Left<T>,
    /// The maker waits for a credit.
    starved: bool,
}

/// What has been left at a desk.
pub(crate) struct Left<T> {
    /// One entry per credit: the channel, as the outbox numbers it.
    pub(crate) credits: Vec<u32>,
    pub(crate) spent: Vec<Spent<T>>,
    /// Whether a batch with overdraft has been dropped.
    pub(crate) repaid: bool,
}

/// A batch that has been read. Its records are still there if the consumer only borrowed them: dropping them is cheaper
/// where they were made.
pub(crate) struct Spent<T> {
    pub(crate) entries: Vec<Entry<T>>,
    pub(crate) charge: Option<Charge>,
}

impl<T> Desk<T> {
    pub(crate) fn new(spent_max: usize, maker: Arc<dyn Wake>) -> Self {
        Self {
            arrived: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                left: Left::default(),
                starved: false,
            }),
            spent_max,
            maker,
        }
    }

    /// Leaves a spent batch, `credits` credits for a channel, or both.
    pub(crate) fn leave(&self, channel: u32, credits: u32, mut spent: Option<Spent<T>>) {
        // Large records are dropped here and at once, so that their maker learns of it with this visit: it may be waiting
        // for its own overdraft.
        let overdraft = spent
            .take_if(|spent| spent.charge.as_ref().is_some_and(Charge::is_overdraft))
            .is_some();
        let mut inner = self.inner.lock();
        for _ in 0..credits {
            inner.left.credits.push(channel);
        }
        if inner.left.spent.len() < self.spent_max {
            inner.left.spent.extend(spent.take());
        }
        inner.left.repaid |= overdraft;
        self.arrived.store(true, Ordering::Release);
        let wake = (credits > 0 || overdraft) && mem::take(&mut inner.starved);
        let wake = wake && !fault!("wake-forgotten");
        drop(inner);
        if wake {
            self.maker.wake();
        }
    }

    /// Takes everything that was left, into the empty `left`.
    pub(crate) fn collect(&self, left: &mut Left<T>) {
        if self.arrived.load(Ordering::Acquire) {
            let mut inner = self.inner.lock();
            self.arrived.store(false, Ordering::Relaxed);
            mem::swap(&mut inner.left, left);
        }
    }

    /// Asks to be woken by the next credit or repaid overdraft. Returns false if one lies here already: then the maker
    /// must collect first.
    pub(crate) fn await_credit(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.starved = inner.left.credits.is_empty() && !inner.left.repaid;
        inner.starved
    }
}

impl<T> Default for Left<T> {
    fn default() -> Self {
        Self {
            credits: Vec::new(),
            spent: Vec::new(),
            repaid: false,
        }
    }
}

#[cfg(all(test, loom))]
pub(crate) mod model {
    use levada_core::sync::atomic::AtomicUsize;
    use levada_core::sync::thread;

    use super::*;

    /// Counts wake-ups.
    #[derive(Default)]
    pub(crate) struct Bell(AtomicUsize);

    impl Bell {
        /// How often it has rung.
        pub(crate) fn rung(&self) -> usize {
            self.0.load(Ordering::Acquire)
        }
    }

    impl Wake for Bell {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A maker that has found no credit and asked to be woken is woken by the next one, however the two race.
    #[test]
    fn a_credit_is_found_or_announced() {
        loom::model(|| {
            let bell = Arc::new(Bell::default());
            let desk = Arc::new(Desk::<u64>::new(4, Arc::clone(&bell) as Arc<dyn Wake>));
            let consumer = {
                let desk = Arc::clone(&desk);
                thread::spawn(move || {
                    desk.leave(0, 1, None);
                    desk.leave(0, 1, None);
                })
            };
            let mut left = Left::default();
            let mut found = 0;
            while found == 0 {
                desk.collect(&mut left);
                found += left.credits.drain(..).count();
                if found == 0 && desk.await_credit() {
                    break;
                }
            }
            let asked = found == 0;
            consumer.join().unwrap();
            if asked {
                assert!(bell.rung() > 0, "nobody woke the maker");
            }
            desk.collect(&mut left);
            assert_eq!(
                found + left.credits.len(),
                2,
                "no credit is lost or doubled"
            );
        });
    }
}

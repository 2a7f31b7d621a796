//! Stopping half-way: the readers bring in so many events and no more, and whoever waits for that learns of it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use levada_core::sync::Mutex;

/// How many events the readers of a run may bring in. Clones are the same limit.
#[derive(Clone)]
pub(crate) struct Limit {
    state: Arc<Mutex<State>>,
    reached: Sender<()>,
}

struct State {
    /// Events that no reader has claimed.
    unclaimed: u64,
    /// Events that no reader has brought in: those and the ones that are claimed.
    unread: u64,
}

impl Limit {
    /// Allows so many events. The receiver gets something when they have all been brought in, and is disconnected when
    /// nobody is left who could bring one in.
    pub(crate) fn new(events: u64) -> (Self, Receiver<()>) {
        let (reached, receiver) = bounded(1);
        let state = State {
            unclaimed: events,
            unread: events,
        };
        let limit = Self {
            state: Arc::new(Mutex::new(state)),
            reached,
        };
        (limit, receiver)
    }

    /// Claims up to `wanted` events; none if no more may be brought in.
    pub(crate) fn claim(&self, wanted: u64) -> Option<u64> {
        let mut state = self.state.lock();
        if state.unclaimed == 0 {
            return None;
        }
        let claimed = wanted.min(state.unclaimed);
        state.unclaimed -= claimed;
        Some(claimed)
    }

    /// Of those that were claimed so many were brought in; the others may be claimed again.
    pub(crate) fn use_up(&self, claimed: u64, read: u64) {
        let mut state = self.state.lock();
        state.unclaimed += claimed - read;
        state.unread -= read;
        if state.unread == 0 {
            // Full if it has been told already.
            let _ = self.reached.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_claimed_again_before_the_limit_is_reached() {
        let (limit, reached) = Limit::new(10);
        assert_eq!((limit.claim(6), limit.claim(6)), (Some(6), Some(4)));
        assert_eq!(limit.claim(1), None);
        limit.use_up(4, 4);
        limit.use_up(6, 5);
        assert!(reached.is_empty(), "9 of 10 were brought in");
        assert_eq!(limit.claim(6), Some(1));
        limit.use_up(1, 1);
        assert_eq!(reached.try_recv(), Ok(()));
        drop(limit);
        assert!(reached.recv().is_err());
    }
}

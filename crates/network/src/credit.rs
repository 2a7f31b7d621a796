//! The receiver's side of the credit protocol, as a state machine that moves no data.
//!
//! A *buffer* is the right to have one batch at this gate. Each channel owns `exclusive` buffers; the gate lends
//! `floating` more to the channels that announce a *backlog* (batches that wait at the sender). A buffer that is neither
//! with a batch nor in the floating pool is a *credit* at the sender.
//!
//! ```text
//!          grant                    on_batch                  on_recycle
//!  pool ──────────▶ credit (free) ──────────▶ in flight/hand ───────────▶ credit, or pool if floating
//! ```
//!
//! Source of the rules: Flink's `BufferManager` and `RemoteInputChannel` (FLIP-2 of the network stack, 2018). A channel
//! wants as many credits as batches wait at its sender; one with no backlog wants nothing, so no floating buffer lies idle
//! at a sender that has nothing to send. Flink asks for `backlog + exclusive`: then the first sender that is short takes
//! most of the pool, and when the consumer stops, the others' buffers are never filled. Buffers are interchangeable, so
//! only their number is kept.

use std::collections::VecDeque;

use levada_core::fault;

/// Who owns which of a gate's buffers.
///
/// Invariant: over all channels, buffers held plus the floating ones in the pool are constant.
#[derive(Debug)]
pub struct CreditLedger {
    exclusive: u32,
    /// Floating buffers in the pool.
    pool: u32,
    accounts: Vec<Account>,
    /// Channels that want more than they have, each at most once, served in turn.
    waiting: VecDeque<u32>,
}

#[derive(Clone, Debug)]
struct Account {
    /// Buffers of this channel: credits, in flight, and in the consumer's hand.
    held: u32,
    /// Of these the credits that the sender has not used.
    free: u32,
    backlog: u32,
    waiting: bool,
}

/// One credit for a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The channel whose sender gets the credit.
    pub channel: u32,
    /// How many; more than one only if a fault is planted.
    pub credits: u32,
}

impl CreditLedger {
    /// A ledger for `channels` channels with `exclusive` buffers each and `floating` ones to lend.
    ///
    /// # Panics
    /// If there is no buffer at all: nothing could ever be sent.
    #[must_use]
    pub fn new(channels: usize, exclusive: u32, floating: u32) -> Self {
        assert!(
            exclusive + floating > 0,
            "a gate needs at least one buffer, exclusive or floating"
        );
        let account = Account {
            held: exclusive,
            free: exclusive,
            backlog: 0,
            waiting: false,
        };
        Self {
            exclusive,
            pool: floating,
            accounts: vec![account; channels],
            waiting: VecDeque::new(),
        }
    }

    /// The credits that every channel starts with.
    #[must_use]
    pub fn initial_credit(&self) -> u32 {
        self.exclusive
    }

    /// A batch has arrived, and `backlog` more wait at its sender. Returns the credits granted to that sender.
    ///
    /// # Panics
    /// If the sender had no credit: the batch has no buffer to lie in.
    pub fn on_batch(&mut self, channel: u32, backlog: u32) -> u32 {
        let account = &mut self.accounts[channel as usize];
        assert!(
            account.free > 0,
            "channel {channel} sent a batch without a credit"
        );
        account.free -= 1;
        self.on_backlog(channel, backlog)
    }

    /// The sender has said how many batches wait. Returns the credits granted to it.
    pub fn on_backlog(&mut self, channel: u32, backlog: u32) -> u32 {
        let account = &mut self.accounts[channel as usize];
        account.backlog = backlog;
        let mut granted = 0;
        while account.wants_more() && self.pool > 0 {
            self.pool -= 1;
            account.held += 1;
            account.free += 1;
            granted += 1;
        }
        if account.wants_more() && !account.waiting {
            account.waiting = true;
            self.waiting.push_back(channel);
        }
        granted
    }

    /// The consumer is done with a batch of this channel. Returns who gets the buffer, if anyone wants it now.
    ///
    /// # Panics
    /// If the channel has no batch at the consumer.
    pub fn on_recycle(&mut self, channel: u32) -> Option<Grant> {
        if fault!("credit-leaked") {
            return None;
        }
        let account = &mut self.accounts[channel as usize];
        assert!(
            account.held > account.free,
            "channel {channel} gave back a buffer that it does not have"
        );
        if account.held > self.exclusive {
            account.held -= 1;
            self.pool += 1;
            return self.serve_next();
        }
        account.free += 1;
        let credits = if fault!("credit-doubled") { 2 } else { 1 };
        Some(Grant { channel, credits })
    }

    /// Buffers of this channel that carry a batch, in flight or in the consumer's hand.
    #[must_use]
    pub fn in_flight(&self, channel: u32) -> u32 {
        let account = &self.accounts[channel as usize];
        account.held - account.free
    }

    /// Credits that the sender of this channel has not used.
    #[must_use]
    pub fn free(&self, channel: u32) -> u32 {
        self.accounts[channel as usize].free
    }

    /// Floating buffers that nobody has.
    #[must_use]
    pub fn pooled(&self) -> u32 {
        self.pool
    }

    /// All buffers of the gate, wherever they are; never changes.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.pool
            + self
                .accounts
                .iter()
                .map(|account| account.held)
                .sum::<u32>()
    }

    fn serve_next(&mut self) -> Option<Grant> {
        while let Some(channel) = self.waiting.pop_front() {
            let account = &mut self.accounts[channel as usize];
            account.waiting = false;
            if account.wants_more() {
                self.pool -= 1;
                account.held += 1;
                account.free += 1;
                if account.wants_more() {
                    account.waiting = true;
                    self.waiting.push_back(channel);
                }
                return Some(Grant {
                    channel,
                    credits: 1,
                });
            }
        }
        None
    }
}

impl Account {
    fn wants_more(&self) -> bool {
        self.free < self.backlog
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_starts_with_its_exclusive_credits() {
        let ledger = CreditLedger::new(3, 2, 8);
        assert_eq!(ledger.initial_credit(), 2);
        assert_eq!(ledger.total(), 14);
        assert_eq!(ledger.pooled(), 8);
    }

    #[test]
    fn a_backlog_is_answered_with_floating_buffers() {
        let mut ledger = CreditLedger::new(2, 2, 4);
        assert_eq!(ledger.on_batch(0, 0), 0, "nothing waits, nothing is lent");
        assert_eq!(ledger.on_batch(0, 1), 1, "wants 1, has none");
        assert_eq!(ledger.on_backlog(1, 3), 1, "wants 3, has its own 2");
        assert_eq!(ledger.on_backlog(0, 9), 2, "the pool has two left");
        assert_eq!(ledger.pooled(), 0);
    }

    #[test]
    fn a_returned_floating_buffer_goes_to_the_next_that_waits() {
        let mut ledger = CreditLedger::new(2, 1, 1);
        assert_eq!(ledger.on_batch(0, 1), 1);
        assert_eq!(ledger.on_batch(0, 0), 0);
        assert_eq!(ledger.on_backlog(1, 3), 0, "the pool is empty");
        let grant = |channel| {
            Some(Grant {
                channel,
                credits: 1,
            })
        };
        assert_eq!(ledger.on_recycle(0), grant(1), "channel 1 waits for it");
        assert_eq!(ledger.on_recycle(0), grant(0), "an exclusive one goes home");
    }

    #[test]
    fn without_exclusive_buffers_channels_take_turns() {
        let mut ledger = CreditLedger::new(2, 0, 1);
        assert_eq!(ledger.on_backlog(0, 1), 1);
        assert_eq!(ledger.on_backlog(1, 2), 0);
        for turn in [0, 1, 0, 1, 0] {
            assert_eq!(ledger.on_batch(turn, 2), 0, "there is one buffer");
            assert_eq!(ledger.on_recycle(turn).unwrap().channel, 1 - turn);
        }
    }

    #[test]
    #[should_panic(expected = "without a credit")]
    fn a_batch_without_a_credit_is_a_broken_sender() {
        let mut ledger = CreditLedger::new(1, 1, 0);
        ledger.on_batch(0, 0);
        ledger.on_batch(0, 0);
    }
}

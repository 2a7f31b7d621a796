//! Where the barriers of a checkpoint are, at a task that reads several channels.

/// Which channels have delivered the barrier of the checkpoint that is coming, or need not.
///
/// ```text
///             first barrier                 barrier or end of each open channel
///  nothing ─────────────────▶ aligning(n) ──────────────────────────────────────▶ complete
///     ▲                          │ over(n), or a barrier of a later one
///     └──────────────────────────┘
/// ```
///
/// It is told what arrives and says when all have arrived; what becomes of the channels meanwhile is its owner's affair.
#[derive(Debug)]
pub(crate) struct Barriers {
    coming: Option<u64>,
    /// By channel.
    channels: Vec<State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Arrived,
    Ended,
}

impl Barriers {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            coming: None,
            channels: vec![State::Open; channels],
        }
    }

    /// The barrier of a checkpoint has arrived on a channel. True if it is the first of this checkpoint: whatever was put
    /// aside for an earlier one is to be let go before.
    pub(crate) fn arrive(&mut self, checkpoint: u64, channel: usize) -> bool {
        let is_first = self.coming != Some(checkpoint);
        if is_first {
            self.forget();
            self.coming = Some(checkpoint);
        }
        if self.channels[channel] == State::Open {
            self.channels[channel] = State::Arrived;
        }
        is_first
    }

    /// A channel has ended.
    pub(crate) fn end(&mut self, channel: usize) {
        self.channels[channel] = State::Ended;
    }

    /// Whether a channel has delivered the barrier of this checkpoint, or never will.
    pub(crate) fn is_done(&self, checkpoint: u64, channel: usize) -> bool {
        match self.channels[channel] {
            State::Open => false,
            State::Arrived => self.coming == Some(checkpoint),
            State::Ended => true,
        }
    }

    /// Whether all channels have.
    pub(crate) fn are_complete(&self, checkpoint: u64) -> bool {
        let mut channels = 0..self.channels.len();
        let is_early = levada_core::fault!("barrier-early") && self.coming == Some(checkpoint);
        is_early || channels.all(|channel| self.is_done(checkpoint, channel))
    }

    /// The checkpoint whose barriers are arriving.
    pub(crate) fn coming(&self) -> Option<u64> {
        self.coming
    }

    /// The checkpoint has begun or is over.
    pub(crate) fn forget(&mut self) {
        self.coming = None;
        for state in &mut self.channels {
            if *state == State::Arrived {
                *state = State::Open;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_complete_with_the_last_barrier_or_end() {
        let mut barriers = Barriers::new(3);
        assert!(barriers.arrive(1, 0));
        assert!(!barriers.arrive(1, 0), "twice is once");
        assert!(!barriers.are_complete(1));
        barriers.end(1);
        assert!(!barriers.are_complete(1));
        assert!(!barriers.arrive(1, 2));
        assert!(barriers.are_complete(1) && !barriers.are_complete(2));
        barriers.forget();
        assert!(!barriers.are_complete(2) && barriers.is_done(2, 1));
        barriers.arrive(2, 0);
        assert!(barriers.arrive(3, 2), "the next one supersedes");
        assert!(!barriers.is_done(3, 0));
    }

    #[test]
    fn without_open_channels_nothing_is_awaited() {
        let mut barriers = Barriers::new(2);
        barriers.end(0);
        barriers.end(1);
        assert!(barriers.are_complete(7));
    }
}

//! The event time of an input that comes over several channels.

use levada_core::Timestamp;
use levada_network::Watermark;

/// Combines the watermarks of channels.
///
/// The input is as far as the channel that is least far, among those that are active. A channel that has ended (its
/// watermark is [`Timestamp::MAX`]) holds back nobody. When all others are idle the input is idle too, and as far as the one
/// that was furthest: none holds back another, and in which order they became idle does not matter. The watermark of the
/// input never goes back.
#[derive(Debug)]
pub struct Confluence {
    channels: Vec<Watermark>,
    said: Watermark,
}

impl Confluence {
    /// An input of channels that have said nothing so far.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        let nothing = Watermark::active(Timestamp::MIN);
        Self {
            channels: vec![nothing; channels],
            said: nothing,
        }
    }

    /// An input of channels that are all as far as this.
    #[must_use]
    pub fn starting_at(channels: usize, at: Timestamp) -> Self {
        let start = Watermark::active(at);
        Self {
            channels: vec![start; channels],
            said: start,
        }
    }

    /// How far a channel is.
    #[must_use]
    pub fn channel(&self, channel: usize) -> Watermark {
        self.channels[channel]
    }

    /// A channel says how far it is. Returns what the input says then, if that is new.
    pub fn hear(&mut self, channel: usize, watermark: Watermark) -> Option<Said> {
        let before = std::mem::replace(&mut self.channels[channel], watermark);
        let is_active = !before.is_idle && !watermark.is_idle && !self.said.is_idle;
        if is_active && before.at > self.said.at {
            // Another channel holds the input back.
            return None;
        }
        let now = self.combine();
        let rises = now.at > self.said.at || (self.said.is_idle && !now.is_idle);
        let is_idle = now.is_idle && (rises || !self.said.is_idle);
        self.said = now;
        (rises || is_idle).then_some(Said {
            watermark: rises.then_some(now.at),
            is_idle,
        })
    }

    /// How far the input is.
    #[must_use]
    pub fn said(&self) -> Watermark {
        self.said
    }

    fn combine(&self) -> Watermark {
        let open = || self.channels.iter().filter(|c| c.at < Timestamp::MAX);
        let active = open().filter(|channel| !channel.is_idle);
        let idle = open().filter(|channel| channel.is_idle);
        let least = active.map(|channel| channel.at).min();
        let furthest = idle.map(|channel| channel.at).max();
        let now = match (least, furthest) {
            (Some(least), _) => Watermark::active(least),
            (None, Some(furthest)) => Watermark::idle(furthest),
            (None, None) => Watermark::active(Timestamp::MAX),
        };
        Watermark {
            at: now.at.max(self.said.at),
            ..now
        }
    }
}

/// What an input says: a watermark, that it is idle, or one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Said {
    /// The watermark, if it has risen or the input is active again.
    pub watermark: Option<Timestamp>,
    /// Whether it is idle from now on, after the watermark.
    pub is_idle: bool,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an input has said to a chain, signal by signal.
    fn apply(heard: &mut Watermark, said: Said) {
        if let Some(at) = said.watermark {
            assert!(at > heard.at || heard.is_idle, "{heard:?}, then {said:?}");
            *heard = Watermark::active(at);
        }
        if said.is_idle {
            assert!(!heard.is_idle, "it is idle already");
            heard.is_idle = true;
        }
    }

    #[test]
    fn idle_channels_hold_back_nobody() {
        let mut input = Confluence::new(3);
        let mut hear = |channel, at, is_idle| {
            let at = Timestamp(at);
            input
                .hear(channel, Watermark { at, is_idle })
                .map(|said| (said.watermark.map(|at| at.0), said.is_idle))
        };
        assert_eq!(hear(0, 5, false), None);
        assert_eq!(hear(1, 3, false), None, "channel 2 has said nothing");
        assert_eq!(hear(2, i64::MIN, true), Some((Some(3), false)));
        assert_eq!(hear(1, 3, true), Some((Some(5), false)));
        assert_eq!(hear(0, 5, true), Some((None, true)), "all are idle");
        assert_eq!(hear(1, 4, false), Some((Some(5), false)), "never back");
        assert_eq!(hear(1, 6, false), Some((Some(6), false)));
        assert_eq!(hear(0, i64::MAX, false), None);
        assert_eq!(hear(1, i64::MAX, false), Some((None, true)));
        assert_eq!(hear(2, i64::MAX, false), Some((Some(i64::MAX), false)));
    }

    proptest! {
        #[test]
        fn an_input_is_as_far_as_its_least_active_channel(
            acts in prop::collection::vec((0..4usize, 0..6i64, any::<bool>()), 0..200)
        ) {
            let mut input = Confluence::new(4);
            let mut channels = [Watermark::active(Timestamp::MIN); 4];
            let mut heard = Watermark::active(Timestamp::MIN);
            for (channel, step, is_idle) in acts {
                let at = match (channels[channel].at, step) {
                    (Timestamp::MAX, _) => continue,
                    (_, 5) if !is_idle => Timestamp::MAX,
                    (Timestamp::MIN, step) => Timestamp(step),
                    (at, step) => Timestamp(at.0 + step),
                };
                channels[channel] = Watermark { at, is_idle };
                let before = heard;
                if let Some(said) = input.hear(channel, channels[channel]) {
                    apply(&mut heard, said);
                }
                prop_assert_eq!(heard, input.said());
                let active = channels.iter().filter(|c| !c.is_idle);
                let least = active.map(|c| c.at).min();
                let open = channels.iter().filter(|c| c.at != Timestamp::MAX);
                let all_idle = open.clone().count() > 0 && open.clone().all(|c| c.is_idle);
                prop_assert_eq!(heard.is_idle, all_idle);
                let bound = match least {
                    Some(least) if !all_idle => least,
                    _ => open.map(|c| c.at).max().unwrap_or(Timestamp::MAX),
                };
                prop_assert_eq!(heard.at, before.at.max(bound));
            }
        }
    }
}

//! What was in flight on the way into an operator when a checkpoint was taken, and comes before everything else after a
//! restore.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use levada_core::codec::CodecError;
use levada_core::key::common;
use levada_core::{Exchange, Timestamp};
use levada_graph::Pattern;
use levada_network::{Entry, InFlight, Saved, Unread, Watermark, in_flight};

use crate::checkpoint::ChannelName;
use crate::stage::confluence::{Confluence, Said};

/// An edge on its way into one subtask.
#[derive(Clone, Debug)]
pub struct EdgeInput {
    /// The edge.
    pub(crate) name: Arc<str>,
    pub(crate) pattern: Pattern,
    /// The subtask, of so many.
    pub(crate) index: usize,
    pub(crate) consumers: usize,
    /// The number of the first producer that sends to it.
    pub(crate) first_producer: usize,
    /// The key groups of the subtask.
    pub(crate) owned: Range<u16>,
}

impl EdgeInput {
    /// The channel from a producer.
    pub(crate) fn channel(&self, producer: u32) -> ChannelName {
        ChannelName {
            edge: Arc::clone(&self.name),
            from: producer,
            to: crate::checkpoint::number(self.index),
            consumers: crate::checkpoint::number(self.consumers),
        }
    }
}

/// A channel of a checkpoint.
#[derive(Clone, Debug)]
pub struct Restored<'a> {
    /// How far it was in event time.
    pub(crate) watermark: Watermark,
    /// The key groups of the subtask that it led to, if what is new takes it because of them.
    pub(crate) groups: Option<Range<u16>>,
    /// What was in flight, in pieces.
    pub(crate) elements: Vec<&'a [u8]>,
}

/// What waits to be replayed, whatever its type.
pub trait Replays {
    /// The edges that come here.
    fn inputs(&self) -> &[EdgeInput];

    /// Whether it is on the way to state that is kept by key.
    fn is_keyed(&self) -> bool;

    /// Takes the channels of an edge.
    ///
    /// # Errors
    /// If the bytes are not its records.
    fn load(&mut self, input: usize, channels: Vec<Restored<'_>>) -> Result<(), CodecError>;

    /// What is left of it.
    ///
    /// # Errors
    /// If a record cannot be encoded.
    fn save(&self) -> Result<Vec<(ChannelName, Watermark, Saved)>, CodecError>;
}

/// Elements that wait to be replayed, and how far their channels were.
pub(crate) struct Replay<T> {
    inputs: Vec<EdgeInput>,
    /// For an operator whose state is kept by key.
    narrow: Option<Narrow<T>>,
    /// By channel: the edge it is of.
    edges: Vec<usize>,
    /// Channel by channel, in their order.
    waiting: VecDeque<(usize, InFlight<T>)>,
    /// Records of a channel that are being read, before those that wait.
    in_hand: Option<(usize, Unread<T>)>,
    time: Confluence,
}

/// Makes a record one for some key groups only; false if it is for none of them.
pub(crate) type Narrow<T> = fn(&mut T, &Range<u16>) -> bool;

/// What comes next.
pub(crate) enum Replayed<T> {
    Record(Entry<T>),
    Said(Said),
}

/// Records that are read in one go.
const BATCH_RECORDS: usize = 256;

/// From this number on, producers stand for channels of the checkpoint before.
pub(crate) const FIRST_OF_BEFORE: u32 = 1 << 31;

impl<T> Replay<T> {
    /// Nothing, for these edges.
    pub(crate) fn new(inputs: Vec<EdgeInput>, narrow: Option<Narrow<T>>) -> Self {
        Self {
            inputs,
            narrow,
            edges: Vec::new(),
            waiting: VecDeque::new(),
            in_hand: None,
            time: Confluence::new(0),
        }
    }

    pub(crate) fn inputs(&self) -> &[EdgeInput] {
        &self.inputs
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_hand.is_none()
    }

    /// Lets records be read, if those are what comes next, as many as are of one channel; false if they are not. What is not
    /// read stays.
    pub(crate) fn read(&mut self, read: impl FnOnce(&mut Unread<T>)) -> bool {
        if self.in_hand.is_none() {
            let Some((channel, InFlight::Record(_))) = self.waiting.front() else {
                return false;
            };
            let channel = *channel;
            let mut entries = Vec::new();
            while entries.len() < BATCH_RECORDS
                && let Some((_, InFlight::Record(entry))) =
                    self.waiting.pop_front_if(|(of, next)| {
                        *of == channel && matches!(next, InFlight::Record(_))
                    })
            {
                entries.push(entry);
            }
            self.in_hand = Some((channel, Unread::new(entries)));
        }
        if let Some((_, unread)) = &mut self.in_hand {
            read(unread);
            if unread.is_done() {
                self.in_hand = None;
            }
        }
        true
    }

    /// How far the input was, once all has been replayed; none if there was nothing.
    pub(crate) fn end(&mut self) -> Option<Timestamp> {
        if self.edges.is_empty() {
            return None;
        }
        self.edges.clear();
        Some(self.time.said().at)
    }

    /// What is said of event time before the next record.
    pub(crate) fn hear(&mut self) -> Option<Said> {
        let is_word =
            |(_, element): &mut (usize, InFlight<T>)| matches!(element, InFlight::Watermark(_));
        while let Some((channel, element)) = self.waiting.pop_front_if(is_word) {
            if let InFlight::Watermark(watermark) = element
                && let Some(said) = self.time.hear(channel, watermark)
            {
                return Some(said);
            }
        }
        None
    }

    /// The next element that matters.
    pub(crate) fn next(&mut self) -> Option<Replayed<T>> {
        loop {
            match self.waiting.pop_front()? {
                (_, InFlight::Record(entry)) => return Some(Replayed::Record(entry)),
                (channel, InFlight::Watermark(watermark)) => {
                    if let Some(said) = self.time.hear(channel, watermark) {
                        return Some(Replayed::Said(said));
                    }
                }
            }
        }
    }
}

impl<T: Exchange> Replays for Replay<T> {
    fn inputs(&self) -> &[EdgeInput] {
        &self.inputs
    }

    fn is_keyed(&self) -> bool {
        self.narrow.is_some()
    }

    fn load(&mut self, input: usize, channels: Vec<Restored<'_>>) -> Result<(), CodecError> {
        let owned = self.inputs[input].owned.clone();
        let pattern = self.inputs[input].pattern;
        for channel in channels {
            let narrowed = match pattern {
                Pattern::Hash => Some(owned.clone()),
                Pattern::Broadcast => channel.groups.map(|groups| common(&groups, &owned)),
                _ => None,
            };
            let narrowed = self.narrow.zip(narrowed);
            let number = self.edges.len();
            self.edges.push(input);
            // At first, so that all channels have spoken before the first record.
            self.waiting
                .push_front((number, InFlight::Watermark(channel.watermark)));
            for piece in channel.elements {
                for mut element in in_flight::<T>(piece)? {
                    if let (InFlight::Record(entry), Some((narrow, groups))) =
                        (&mut element, &narrowed)
                        && !narrow(&mut entry.record, groups)
                    {
                        continue;
                    }
                    self.waiting.push_back((number, element));
                }
            }
        }
        self.time = Confluence::new(self.edges.len());
        Ok(())
    }

    fn save(&self) -> Result<Vec<(ChannelName, Watermark, Saved)>, CodecError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let mut channels: Vec<_> = (self.edges.iter().enumerate())
            .map(|(number, input)| {
                let from = FIRST_OF_BEFORE + crate::checkpoint::number(number);
                let channel = self.inputs[*input].channel(from);
                (channel, self.time.channel(number), Saved::new())
            })
            .collect();
        if let Some((channel, unread)) = &self.in_hand {
            channels[*channel].2.add(unread.rest(), None)?;
        }
        for (channel, element) in &self.waiting {
            let saved = &mut channels[*channel].2;
            match element {
                InFlight::Record(entry) => saved.add(std::slice::from_ref(entry), None)?,
                InFlight::Watermark(watermark) => saved.add_watermark(*watermark),
            }
        }
        Ok(channels)
    }
}

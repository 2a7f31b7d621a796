//! The state of windows that fire by triggers.

use std::mem;
use std::ops::Range;

use levada_core::codec;
use levada_core::{Key, KeyGroup, Span, Timestamp};
use levada_runtime::{StateError, Subtask};
use levada_state::{DueQueue, KeyedState, KeyedTable, Parts, ValueReader, WholeState, read_list};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::process::times::Times;
use crate::window::emitting::Emissions;

/// A window of a key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pane<A, S> {
    pub(crate) span: Span,
    /// None if it has been purged.
    pub(crate) accumulator: Option<A>,
    /// What other windows have gathered that it has been merged with, until the record that has done so has been added.
    #[serde(skip, default = "Vec::new")]
    pub(crate) later: Vec<A>,
    /// What its trigger remembers.
    pub(crate) state: S,
}

impl<A, S: Default> Pane<A, S> {
    /// A window without records.
    pub(crate) fn new(span: Span) -> Self {
        Self {
            span,
            accumulator: None,
            later: Vec::new(),
            state: S::default(),
        }
    }
}

/// The windows of a key, in the order of time.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct KeyPanes<A, S> {
    pub(crate) panes: Vec<Pane<A, S>>,
    /// The time of the key's entry in the queue, if there is one that counts. A key without windows is kept until then, so
    /// that it has one entry however often its windows come and go.
    #[serde(skip)]
    due: Option<Timestamp>,
}

impl<A, S> KeyPanes<A, S> {
    pub(crate) fn new() -> Self {
        Self {
            panes: Vec::new(),
            due: None,
        }
    }

    /// Reads accumulators so, and the rest as the codec writes it.
    fn reader(accumulators: &ValueReader<A>) -> ValueReader<Self>
    where
        A: DeserializeOwned + 'static,
        S: DeserializeOwned,
    {
        accumulators.within(|accumulators, bytes| {
            let panes = read_list(bytes, |bytes| {
                Ok(Pane {
                    span: codec::decode_next(bytes)?,
                    accumulator: accumulators.read_option(bytes)?,
                    later: Vec::new(),
                    state: codec::decode_next(bytes)?,
                })
            })?;
            Ok(Self { panes, due: None })
        })
    }

    /// Where a window is to be made, and how many from there on become part of it, if windows are merged.
    pub(crate) fn make_room(&self, span: Span, merges: bool) -> (usize, usize) {
        let place = (self.panes).partition_point(|pane| pane.span.start < span.start);
        let inside = self.panes[place..].iter();
        let merged = inside.take_while(|pane| merges && pane.span.end <= span.end);
        (place, merged.count())
    }

    /// Where a window is.
    pub(crate) fn find(&self, span: Span) -> Option<usize> {
        self.panes.iter().position(|pane| pane.span == span)
    }
}

/// Windows by key, with their timers and what is being emitted.
pub(crate) struct PaneState<K, A, S> {
    pub(crate) table: KeyedTable<K, KeyPanes<A, S>>,
    /// Timers of the triggers, by key and window.
    pub(crate) times: Times<(K, Span)>,
    /// When the first window of a key is forgotten, or before.
    forgetting: DueQueue<K>,
    pub(crate) emitting: Emitting<K, A>,
}

/// Entries that are due at once.
const AT_ONCE: Timestamp = Timestamp::MIN;

impl<K: Key, A, S> PaneState<K, A, S> {
    pub(crate) fn new(subtask: &Subtask) -> Self {
        let owned = subtask.owned_groups();
        Self {
            table: KeyedTable::new(owned.clone(), subtask.table_seed),
            times: Times::new(owned.clone(), subtask),
            forgetting: DueQueue::new(),
            emitting: Emitting {
                owned,
                emissions: Emissions::default(),
                is_restored: false,
                queue_bytes: 0,
            },
        }
    }

    /// Accumulators in a snapshot are read so.
    pub(crate) fn reading(mut self, reader: ValueReader<A>) -> Self
    where
        A: DeserializeOwned + 'static,
        S: DeserializeOwned,
    {
        self.table = self.table.reading(KeyPanes::reader(&reader));
        self.emitting.emissions.set_reader(reader);
        self
    }

    /// Looks at state that has been read; false if none has. `end` says when a window is forgotten, if it is.
    pub(crate) fn prepare(&mut self, end: impl Fn(Span) -> Option<Timestamp>) -> bool {
        if !mem::take(&mut self.emitting.is_restored) {
            return false;
        }
        self.times.restore();
        self.forgetting.clear();
        let mut keys = Vec::with_capacity(self.table.len());
        let mut empty = Vec::new();
        for (key, panes, group) in self.table.iter() {
            if panes.panes.is_empty() {
                empty.push(key.clone());
            }
            let first = panes.panes.iter().filter_map(|pane| end(pane.span)).min();
            if let Some(at) = first {
                let reached = at <= self.times.watermark(|| Ok(group));
                keys.push((key.clone(), if reached { AT_ONCE } else { at }));
            }
        }
        for (key, at) in keys {
            self.schedule(&key, at);
        }
        for key in empty {
            self.table.remove(&key);
        }
        true
    }

    /// A window of a key is forgotten when the watermark has reached this time.
    pub(crate) fn schedule(&mut self, key: &K, at: Timestamp) {
        let Some(panes) = self.table.get_mut(key) else {
            return;
        };
        if panes.due.is_none_or(|before| at < before) {
            panes.due = Some(at);
            self.forgetting.add(at, key.clone());
        }
    }

    /// Looks at the next key one of whose windows may be forgotten by this watermark; false if there is none.
    pub(crate) fn forget_next(
        &mut self,
        watermark: Timestamp,
        end: impl Fn(Span) -> Option<Timestamp>,
    ) -> bool {
        let Some((at, key)) = self.forgetting.take(watermark) else {
            return false;
        };
        let Some(place) = self.table.find(&key) else {
            return true;
        };
        let group = self.table.group(place);
        let now = self.times.watermark(|| Ok(group));
        let panes = self.table.value_mut(place);
        if panes.due != Some(at) {
            return true;
        }
        panes.due = None;
        let times = &mut self.times;
        panes.panes.retain(|pane| {
            let is_over = end(pane.span).is_some_and(|at| at <= now);
            if is_over {
                times.forget(&(key.clone(), pane.span));
            }
            !is_over
        });
        let next = panes.panes.iter().filter_map(|pane| end(pane.span)).min();
        if panes.panes.is_empty() {
            self.table.remove(&key);
        } else if let Some(at) = next {
            self.schedule(&key, at);
        }
        true
    }

    /// Forgets a window.
    pub(crate) fn forget(&mut self, key: &K, span: Span) {
        self.times.forget(&(key.clone(), span));
        let Some(panes) = self.table.get_mut(key) else {
            return;
        };
        panes.panes.retain(|pane| pane.span != span);
        if panes.panes.is_empty() && panes.due.is_none() {
            self.table.remove(key);
        }
    }
}

impl<K, A, S> PaneState<K, A, S>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
    S: Serialize + DeserializeOwned + Send,
{
    /// All of it, as it is saved.
    pub(crate) fn visit<R>(&mut self, visit: impl FnOnce(&mut dyn KeyedState) -> R) -> R {
        let key = self.table.key_heap();
        self.emitting.queue_bytes = self.forgetting.memory(key) + self.times.queue_bytes();
        let [watermark, event, processing] = self.times.states();
        let mut parts = [
            &mut self.table as &mut dyn KeyedState,
            watermark,
            event,
            processing,
            &mut self.emitting,
        ];
        visit(&mut Parts(&mut parts))
    }
}

/// Results that are being emitted, in their order.
pub(crate) struct Emitting<K, A> {
    owned: Range<u16>,
    pub(crate) emissions: Emissions<K, A>,
    is_restored: bool,
    /// What the queues beside the windows take.
    queue_bytes: u64,
}

/// A group is written as the number of its emissions (u64) and the emissions.
impl<K, A> WholeState for Emitting<K, A>
where
    K: Key,
    A: Clone + Serialize + DeserializeOwned + Send,
{
    fn owned(&self) -> Range<u16> {
        self.owned.clone()
    }

    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError> {
        self.emissions.write(&self.owned, groups)
    }

    fn memory(&self) -> u64 {
        self.queue_bytes
    }

    fn read_group(&mut self, group: KeyGroup, mut bytes: &[u8]) -> Result<(), StateError> {
        self.is_restored = true;
        let read = self.emissions.read(group, &mut bytes);
        read.and_then(|()| codec::expect_end(bytes))
            .map_err(|error| StateError::new(group, error))
    }
}

//! Keys in the order of a time at which something is due for them.

use std::collections::{BTreeMap, VecDeque};

use levada_core::Timestamp;

use crate::memory::scaled;

/// Keys by time; a key may be there several times.
///
/// It is in no snapshot: whoever keeps one can build it again from its state. Keys of one time come in the order in which
/// they were added.
#[derive(Debug)]
pub struct DueQueue<K> {
    /// No list is empty.
    by_time: BTreeMap<Timestamp, VecDeque<K>>,
    len: usize,
}

impl<K> DueQueue<K> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            by_time: BTreeMap::new(),
            len: 0,
        }
    }

    /// Adds a key.
    pub fn add(&mut self, at: Timestamp, key: K) {
        self.by_time.entry(at).or_default().push_back(key);
        self.len += 1;
    }

    /// The earliest time.
    #[must_use]
    pub fn earliest(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|(at, _)| *at)
    }

    /// Takes the next key whose time is `until` or earlier.
    pub fn take(&mut self, until: Timestamp) -> Option<(Timestamp, K)> {
        let mut first = self.by_time.first_entry()?;
        let at = *first.key();
        if at > until {
            return None;
        }
        let keys = first.get_mut();
        let key = keys.pop_front();
        if keys.is_empty() {
            first.remove();
        }
        self.len -= 1;
        key.map(|key| (at, key))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes that it takes in memory, about; `key` is what a key owns on the heap.
    #[must_use]
    pub fn memory(&self, key: f64) -> u64 {
        // Nodes of a tree are two thirds full, and lists have room for four keys at least, or for a third more than they have.
        let times = self.by_time.len();
        let lists = times * (size_of::<(Timestamp, VecDeque<K>)>() * 3 / 2 + 16);
        let keys = (4 * times).max(self.len * 4 / 3) * size_of::<K>();
        (lists + keys) as u64 + scaled(key, self.len)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.by_time.clear();
        self.len = 0;
    }
}

impl<K> Default for DueQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_by_time_and_then_in_their_order() {
        let mut queue = DueQueue::new();
        for (at, key) in [(5, 'a'), (3, 'b'), (5, 'c'), (-1, 'd')] {
            queue.add(Timestamp(at), key);
        }
        assert_eq!((queue.earliest(), queue.len()), (Some(Timestamp(-1)), 4));
        let mut taken = Vec::new();
        while let Some((at, key)) = queue.take(Timestamp(4)) {
            taken.push((at.0, key));
        }
        assert_eq!(taken, [(-1, 'd'), (3, 'b')]);
        assert_eq!(queue.earliest(), Some(Timestamp(5)));
        assert_eq!(queue.take(Timestamp(5)), Some((Timestamp(5), 'a')));
        assert_eq!(queue.take(Timestamp(9)), Some((Timestamp(5), 'c')));
        assert!(queue.is_empty() && queue.take(Timestamp::MAX).is_none());
    }
}

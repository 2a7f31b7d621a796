//! All values of a table, each of which counts as changed once it is shown.

use std::ops::Range;
use std::slice;

use levada_core::Key;

use crate::shards::{Marks, Shard, Shards};
use crate::table::changed;
use crate::table::entry::Entry;
use crate::table::saver::Saver;

pub(crate) struct IterMut<'a, K, V> {
    shards: slice::IterMut<'a, Shard<Entry<K, V>>>,
    /// What is left of a shard.
    entries: Option<(
        hashbrown::hash_table::IterMut<'a, Entry<K, V>>,
        &'a mut Marks,
    )>,
    saver: &'a mut Saver<K, V>,
    /// The key groups that are shown.
    groups: Range<u16>,
}

impl<'a, K, V> IterMut<'a, K, V> {
    pub(crate) fn new(
        entries: &'a mut Shards<Entry<K, V>>,
        saver: &'a mut Saver<K, V>,
        groups: Range<u16>,
    ) -> Self {
        Self {
            groups,
            shards: entries.shards_mut(),
            entries: None,
            saver,
        }
    }
}

impl<'a, K: Key, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((entries, marks)) = &mut self.entries
                && let Some(entry) = entries.find(|entry| self.groups.contains(&entry.group.0))
            {
                changed(self.saver, (&mut *entry, marks));
                return Some((&entry.key, &mut entry.value));
            }
            let Shard { table, marks } = self.shards.next()?;
            self.entries = Some((table.iter_mut(), marks));
        }
    }
}

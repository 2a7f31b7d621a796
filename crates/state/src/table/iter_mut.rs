//! All values of a table, each of which counts as changed once it is shown.

use std::ops::Range;
use std::slice;

use hashbrown::hash_table;
use levada_core::Key;

use crate::marks::Beside;
use crate::shards::{Shard, Shards};
use crate::table::changed;
use crate::table::entry::Entry;
use crate::table::saver::Saver;

pub(crate) struct IterMut<'a, K, V> {
    shards: slice::IterMut<'a, Shard<Entry<K, V>>>,
    /// What is left of a shard.
    entries: Option<(hash_table::IterMut<'a, Entry<K, V>>, Beside<'a>)>,
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
            if let Some((entries, beside)) = &mut self.entries
                && let Some(entry) = entries.find(|entry| self.groups.contains(&entry.group.0))
            {
                changed(self.saver, (&mut *entry, beside.again()));
                return Some((&entry.key, &mut entry.value));
            }
            let shard = self.shards.next()?;
            shard.mark_entries();
            shard.changed.set_all();
            let beside = Beside {
                marks: &mut shard.marks,
                changed: &mut shard.changed,
                // Which one it is does not matter: all are marked.
                bucket: 0,
            };
            self.entries = Some((shard.table.iter_mut(), beside));
        }
    }
}

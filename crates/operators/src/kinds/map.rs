//! Values by a second key.

use std::borrow::Borrow;
use std::hash::Hash;

use foldhash::quality::FixedState;
use indexmap::{Equivalent, IndexMap};
use serde::{Deserialize, Serialize};

/// Values by a key of their own, within the state of a key.
///
/// Entries come in an order that depends on the calls alone, so that a run can be repeated exactly: in the order in which
/// they were added, except that a removal puts the last one in the place of the removed one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize",
    deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"
))]
pub struct MapState<K, V>(IndexMap<K, V, FixedState>);

impl<K: Eq + Hash, V> MapState<K, V> {
    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Borrow<Q>,
    {
        self.0.get_mut(key)
    }

    /// The value of a key; if there is none, its type's default is added.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.0.entry(key).or_default()
    }

    /// Sets the value of a key; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Takes a value out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Borrow<Q>,
    {
        self.0.swap_remove(key)
    }

    /// Whether there is a value of this key.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// Keeps the entries for which `f` is true.
    pub fn retain(&mut self, f: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain(f);
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K, V> Default for MapState<K, V> {
    fn default() -> Self {
        Self(IndexMap::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_depends_on_the_calls_alone() {
        let mut map = MapState::default();
        for n in 0..6u32 {
            assert_eq!(map.insert(n.to_string(), n), None);
        }
        assert_eq!(map.remove("1"), Some(1));
        *map.get_or_default("0".to_owned()) += 10;
        assert_eq!(map.get("1"), None);
        let entries: Vec<_> = map.iter().map(|(_, n)| *n).collect();
        assert_eq!(entries, [10, 5, 2, 3, 4]);

        let mut bytes = Vec::new();
        levada_core::codec::encode(&map, &mut bytes).unwrap();
        let rebuilt: MapState<String, u32> = levada_core::codec::decode(&bytes).unwrap();
        assert!(rebuilt.iter().eq(map.iter()));
    }
}

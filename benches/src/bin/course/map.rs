//! The hash map of the hand loops.

/// What a careful programmer takes: hashbrown with foldhash.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;

//! The first record of each key.

use std::marker::PhantomData;

use levada_core::{Exchange, Key};

use crate::process::{Context, Process};

/// Passes on the first record of each key; the state of a key is that it has been seen.
pub struct Deduplicate<K, T>(PhantomData<fn(K, T)>);

impl<K, T> Deduplicate<K, T> {
    /// The process.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K, T> Default for Deduplicate<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T> Clone for Deduplicate<K, T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<K: Key, T: Exchange + Clone> Process for Deduplicate<K, T> {
    type Key = K;
    type In = T;
    type State = ();
    type Out = T;

    fn element(&self, record: &T, context: &mut Context<'_, Self>) {
        if context.existing_state().is_none() {
            context.state();
            context.emit(record.clone());
        }
    }
}

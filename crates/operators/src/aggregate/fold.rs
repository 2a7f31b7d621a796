//! A fold: an accumulation that cannot be merged.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::aggregate::{Accumulate, FoldState};

/// Adds each record to a value that starts as its type's default.
pub struct Fold<F, V> {
    closure: Arc<F>,
    value: PhantomData<fn() -> V>,
}

impl<F, V> Fold<F, V> {
    /// Folds by this closure.
    pub fn new(closure: F) -> Self {
        Self {
            closure: Arc::new(closure),
            value: PhantomData,
        }
    }
}

impl<F, V> Clone for Fold<F, V> {
    fn clone(&self) -> Self {
        Self {
            closure: Arc::clone(&self.closure),
            value: PhantomData,
        }
    }
}

impl<T, V, F> Accumulate<T> for Fold<F, V>
where
    F: Fn(&mut V, &T) + Send + Sync + 'static,
    V: FoldState,
{
    type Accumulator = V;
    type Out = V;

    #[inline]
    fn create(&self) -> V {
        V::default()
    }

    #[inline]
    fn add(&self, value: &mut V, record: &T) {
        (self.closure)(value, record);
    }

    #[inline]
    fn finish(&self, value: V) -> V {
        value
    }
}

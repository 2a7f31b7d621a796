//! One value, or none.

use serde::{Deserialize, Serialize};

/// One value, or none yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ValueState<T>(Option<T>);

impl<T> ValueState<T> {
    /// The value, if there is one.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// The value, to be changed.
    #[must_use]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }

    /// The value; if there is none, its type's default.
    pub fn get_or_default(&mut self) -> &mut T
    where
        T: Default,
    {
        self.0.get_or_insert_default()
    }

    /// Sets the value; returns the one before.
    pub fn set(&mut self, value: T) -> Option<T> {
        self.0.replace(value)
    }

    /// Takes the value out.
    pub fn clear(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Default for ValueState<T> {
    fn default() -> Self {
        Self(None)
    }
}

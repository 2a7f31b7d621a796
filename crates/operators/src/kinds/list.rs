//! Values in the order in which they were added.

use serde::{Deserialize, Serialize};

/// Values in the order in which they were added.
///
/// It grows with every value: whoever adds must also say when it ends, with [`clear`](Self::clear),
/// [`keep_last`](Self::keep_last) or [`retain`](Self::retain).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListState<T>(Vec<T>);

impl<T> ListState<T> {
    /// Adds a value at the end.
    pub fn add(&mut self, value: T) {
        self.0.push(value);
    }

    /// Adds values at the end.
    pub fn add_all(&mut self, values: impl IntoIterator<Item = T>) {
        self.0.extend(values);
    }

    /// The values.
    #[must_use]
    pub fn get(&self) -> &[T] {
        &self.0
    }

    /// Replaces all values.
    pub fn update(&mut self, values: Vec<T>) {
        self.0 = values;
    }

    /// Keeps the values for which `f` is true.
    pub fn retain(&mut self, f: impl FnMut(&T) -> bool) {
        self.0.retain(f);
    }

    /// Keeps the `count` values that were added last.
    pub fn keep_last(&mut self, count: usize) {
        let surplus = self.0.len().saturating_sub(count);
        self.0.drain(..surplus);
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all values out.
    pub fn clear(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T> Default for ListState<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> IntoIterator for &'a ListState<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_values_are_kept() {
        let mut list = ListState::default();
        list.add_all(0..5);
        list.keep_last(7);
        assert_eq!(list.get(), [0, 1, 2, 3, 4]);
        list.keep_last(2);
        assert_eq!(list.get(), [3, 4]);
        list.retain(|n| *n > 3);
        assert_eq!(list.clear(), [4]);
        assert!(list.is_empty());
    }
}

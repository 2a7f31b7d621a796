//! The records with the greatest rank, all of them.

use levada::Aggregate;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Keeps the records that share the greatest rank.
#[derive(Clone)]
pub(super) struct Most<F>(pub(super) F);

impl<T, F> Aggregate<T> for Most<F>
where
    F: Fn(&T) -> u64 + Clone + Send + Sync + 'static,
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type Accumulator = Vec<T>;
    type Out = Vec<T>;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    #[inline]
    fn add(&self, most: &mut Vec<T>, record: &T) {
        let rank = (self.0)(record);
        match most.first().map(&self.0) {
            Some(greatest) if greatest > rank => return,
            Some(greatest) if greatest < rank => most.clear(),
            _ => {}
        }
        most.push(record.clone());
    }

    fn merge(&self, into: &mut Vec<T>, other: Vec<T>) {
        for record in &other {
            self.add(into, record);
        }
    }

    fn finish(&self, most: Vec<T>) -> Vec<T> {
        most
    }
}

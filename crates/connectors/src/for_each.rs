//! Records to a closure.

use std::sync::Arc;

use levada_core::BoxError;
use levada_runtime::{Drain, Sink, SinkContext, Writer};

/// Gives every record to a closure, at once and at least once: what it does is not undone when the job fails. The closure
/// runs on a worker thread and should not block; it is shared by all subtasks.
///
/// ```
/// use levada_connectors::for_each;
///
/// let sink = for_each(|(word, count): (String, u64)| println!("{word} {count}"));
/// ```
pub fn for_each<T, F>(closure: F) -> ForEach<F>
where
    F: Fn(T) + Send + Sync + 'static,
{
    ForEach {
        closure: Arc::new(closure),
    }
}

/// The sink made by [`for_each`].
pub struct ForEach<F> {
    closure: Arc<F>,
}

impl<T, F> Sink<T> for ForEach<F>
where
    F: Fn(T) + Send + Sync + 'static,
{
    type Writer = Calling<F>;

    /// There is nothing to commit: the closure has been called.
    fn recover(&self, _: Vec<()>, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, _: &SinkContext) -> Result<Calling<F>, BoxError> {
        Ok(Calling {
            closure: Arc::clone(&self.closure),
        })
    }
}

/// Calls the closure of a [`ForEach`].
pub struct Calling<F> {
    closure: Arc<F>,
}

impl<T, F> Writer<T> for Calling<F>
where
    F: Fn(T) + Send + Sync + 'static,
{
    type Pending = ();

    #[inline]
    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        for record in records {
            (self.closure)(record);
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

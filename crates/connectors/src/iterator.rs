//! Records from an iterator.

use std::vec::IntoIter;

use levada_core::{BoxError, fault};
use levada_runtime::{Intake, Reader, ReaderContext, Source, SourceContext, Status};

/// The records of an iterator, read by one subtask.
///
/// The iterator is cloned for each start of the job, so that it can be read again from its beginning: a range or a `Vec`
/// will do. After a restore it is made again and what was read is skipped.
///
/// ```
/// use levada_connectors::iterator;
///
/// let numbers = iterator(0..1_000u64);
/// let words = iterator(vec!["to", "be"]);
/// ```
pub fn iterator<I>(records: I) -> IteratorSource<I>
where
    I: IntoIterator + Clone + Send + Sync + 'static,
    I::IntoIter: Send + 'static,
    I::Item: Send + 'static,
{
    IteratorSource { records }
}

/// The source made by [`iterator`].
#[derive(Clone, Debug)]
pub struct IteratorSource<I = IntoIter<()>> {
    records: I,
}

/// Reads an iterator.
#[derive(Debug)]
pub struct IteratorReader<I> {
    records: I,
    read: u64,
}

impl<I> Source for IteratorSource<I>
where
    I: IntoIterator + Clone + Send + Sync + 'static,
    I::IntoIter: Send + 'static,
    I::Item: Send + 'static,
{
    type Out = I::Item;
    type Split = ();
    type Reader = IteratorReader<I::IntoIter>;

    fn splits(&self, _: &SourceContext) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(
        &self,
        (): (),
        position: Option<u64>,
        _: &ReaderContext,
    ) -> Result<Self::Reader, BoxError> {
        let mut records = self.records.clone().into_iter();
        let skipped = fault!("position-off-by-one") && position.is_some();
        let read = position.unwrap_or(0) + u64::from(skipped);
        if let Some(last) = read.checked_sub(1) {
            let last = usize::try_from(last).map_err(|_| "the position is beyond this machine")?;
            records.nth(last);
        }
        Ok(IteratorReader { records, read })
    }

    fn parallelism_max(&self) -> Option<(usize, &'static str)> {
        Some((
            1,
            "an iterator is read by one subtask; call `.rebalance()` behind it",
        ))
    }
}

impl<I> Reader for IteratorReader<I>
where
    I: Iterator<Item: Send + 'static> + Send + 'static,
{
    type Out = I::Item;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<I::Item>) -> Result<Status, BoxError> {
        let mut read = 0;
        let mut status = Status::More;
        while !intake.is_full() {
            let Some(record) = self.records.next() else {
                status = Status::Done;
                break;
            };
            read += 1;
            intake.push(record);
        }
        self.read += read;
        Ok(status)
    }

    fn position(&self) -> u64 {
        self.read
    }
}

//! Events with dense numbers in several splits.

use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};

/// An event; its time grows with its number, roughly.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) at: i64,
}

/// Events 0 to `count`, of which split i has every `splits`-th, from i on.
pub(crate) fn dense(count: u64, splits: u64) -> Dense {
    Dense { count, splits }
}

pub(crate) struct Dense {
    count: u64,
    splits: u64,
}

impl Source for Dense {
    type Out = Event;
    type Split = u64;
    type Reader = DenseReader;

    fn splits(&self, _: &SourceContext) -> Result<Vec<u64>, BoxError> {
        Ok((0..self.splits).collect())
    }

    fn open(
        &self,
        split: u64,
        position: Option<u64>,
        _: &ReaderContext,
    ) -> Result<DenseReader, BoxError> {
        Ok(DenseReader {
            next: position.unwrap_or(split),
            step: self.splits,
            end: self.count,
        })
    }

    /// Each has something at all times: the others need not wait until one is at its end.
    fn is_endless(&self) -> bool {
        true
    }
}

pub(crate) struct DenseReader {
    next: u64,
    step: u64,
    end: u64,
}

impl Reader for DenseReader {
    type Out = Event;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<Event>) -> Result<Status, BoxError> {
        while self.next < self.end {
            if intake.is_full() {
                return Ok(Status::More);
            }
            let id = self.next;
            self.next += self.step;
            let at = 10 * id as i64 + (id * 7_919 % 97) as i64;
            intake.push(Event { id, at });
        }
        Ok(Status::Done)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

//! A source of dense numbers.

use std::sync::Arc;
use std::time::Duration;

use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use levada_core::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

/// What is made of the numbers below `count`, which are divided into splits by their remainders.
pub(crate) struct Ids<F> {
    pub(crate) count: u64,
    pub(crate) splits: u64,
    /// After each record.
    pub(crate) pause: Duration,
    pub(crate) make: F,
}

/// The numbers `offset`, `offset + stride`...
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Every {
    offset: u64,
    stride: u64,
}

pub(crate) struct IdsReader<F> {
    next: u64,
    stride: u64,
    count: u64,
    pause: Duration,
    clock: Arc<dyn Clock>,
    make: F,
}

impl<T, F> Source for Ids<F>
where
    F: Fn(u64) -> T + Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    type Out = T;
    type Split = Every;
    type Reader = IdsReader<F>;

    fn splits(&self, _: &SourceContext) -> Result<Vec<Every>, BoxError> {
        let stride = self.splits;
        Ok((0..stride).map(|offset| Every { offset, stride }).collect())
    }

    fn open(
        &self,
        split: Every,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<IdsReader<F>, BoxError> {
        Ok(IdsReader {
            next: position.unwrap_or(split.offset),
            stride: split.stride,
            count: self.count,
            pause: self.pause,
            clock: Arc::clone(&context.environment.clock),
            make: self.make.clone(),
        })
    }

    /// The splits of a subtask are read in turn, so that a checkpoint finds many of them in the middle.
    fn is_endless(&self) -> bool {
        true
    }
}

impl<T, F> Reader for IdsReader<F>
where
    F: Fn(u64) -> T + Send + 'static,
    T: Send + 'static,
{
    type Out = T;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<T>) -> Result<Status, BoxError> {
        while self.next < self.count {
            if intake.is_full() {
                return Ok(Status::More);
            }
            intake.push_at((self.make)(self.next), Timestamp::MIN);
            self.next += self.stride;
            if !self.pause.is_zero() {
                return Ok(Status::Idle(Some(self.clock.now() + self.pause)));
            }
        }
        Ok(Status::Done)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

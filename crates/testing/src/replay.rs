//! A source without a job, whose readers are given up and go on where they were.

use std::panic::Location;
use std::sync::Arc;

use levada::{BoxError, Environment, Intake, Reader, ReaderContext, Source, SourceContext, Status};
use levada_core::{Origin, Timestamp, Wake};

/// Reads all splits of a bounded source, one after the other. Every reader is given up after `at_once` records, and another
/// one is opened at its position: what comes out must be the same as with one reader. That is what a restore does.
///
/// ```
/// use levada::{Environment, prelude::*};
/// use levada_testing::replay;
///
/// let whole = replay(&iterator(0..10u64), &Environment::system(), 1, usize::MAX)?;
/// assert_eq!(replay(&iterator(0..10u64), &Environment::system(), 1, 3)?, whole);
/// # Ok::<(), levada::BoxError>(())
/// ```
///
/// # Errors
/// What the source or a reader says.
///
/// # Panics
/// If a reader has nothing to give for now: nobody would wake it.
#[track_caller]
pub fn replay<S: Source>(
    source: &S,
    environment: &Environment,
    parallelism: usize,
    at_once: usize,
) -> Result<Vec<S::Out>, BoxError> {
    let operator = Origin::new("replay", Location::caller());
    let splits = source.splits(&SourceContext {
        operator: operator.clone(),
        parallelism,
        environment: environment.clone(),
    })?;
    let context =
        ReaderContext::without_job(operator, parallelism, environment.clone(), Arc::new(Nobody));
    let mut records = Vec::new();
    for split in splits {
        let mut position = None;
        loop {
            let mut reader = source.open(split.clone(), position, &context)?;
            let mut taking = Taking {
                records: &mut records,
                room: at_once,
            };
            let mut status = Status::More;
            while !taking.is_full() && status == Status::More {
                status = reader.read(&mut taking)?;
            }
            match status {
                Status::Done => break,
                Status::More => position = Some(reader.position()),
                Status::Idle(_) => panic!("nobody wakes a reader without a job"),
            }
        }
    }
    Ok(records)
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// Takes as many records as it has room for.
struct Taking<'a, T> {
    records: &'a mut Vec<T>,
    room: usize,
}

impl<T> Intake<T> for Taking<'_, T> {
    fn push_at(&mut self, record: T, _: Timestamp) {
        assert!(self.room > 0, "a reader looks whether the intake is full");
        self.room -= 1;
        self.records.push(record);
    }

    fn room(&self) -> usize {
        self.room
    }
}

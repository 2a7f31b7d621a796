//! Records computed from their number.

use std::sync::Arc;

use levada_core::{BoxError, Clock};
use levada_runtime::{Intake, Reader, ReaderContext, Source, SourceContext, Status, Throttle};
use serde::{Deserialize, Serialize};

/// Records computed from their number, 0, 1, 2..., without end unless a [`count`](Generator::count) is set. Subtask i of p
/// makes the records i, i + p, i + 2p...
///
/// ```
/// use levada_connectors::generator;
///
/// let bids = generator(|n| (n % 100, n * 7)).count(1_000_000).rate(50_000.0);
/// ```
pub fn generator<T, F>(make: F) -> Generator<F>
where
    F: Fn(u64) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    Generator {
        make: Arc::new(make),
        count: u64::MAX,
        throttle: None,
    }
}

/// The source made by [`generator`].
pub struct Generator<F> {
    make: Arc<F>,
    count: u64,
    throttle: Option<Arc<Throttle>>,
}

impl<F> Generator<F> {
    /// Ends after this many records, over all subtasks.
    #[must_use]
    pub fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// Makes this many records per second, over all subtasks.
    ///
    /// # Panics
    /// If the rate is not a positive number.
    #[must_use]
    pub fn rate(self, rate: f64) -> Self {
        let throttle = Some(Arc::new(Throttle::new(rate)));
        Self { throttle, ..self }
    }
}

/// The numbers of one subtask: `first`, `first + step`...
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Numbers {
    first: u64,
    step: u64,
}

/// Makes the records of one subtask.
pub struct GeneratorReader<F> {
    make: Arc<F>,
    next: u64,
    step: u64,
    count: u64,
    throttle: Option<(Arc<Throttle>, Arc<dyn Clock>)>,
}

impl<T, F> Source for Generator<F>
where
    F: Fn(u64) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Out = T;
    type Split = Numbers;
    type Reader = GeneratorReader<F>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<Numbers>, BoxError> {
        let step = context.parallelism as u64;
        Ok((0..step).map(|first| Numbers { first, step }).collect())
    }

    fn open(
        &self,
        split: Numbers,
        position: Option<u64>,
        context: &ReaderContext,
    ) -> Result<Self::Reader, BoxError> {
        let clock = || Arc::clone(&context.environment.clock);
        Ok(GeneratorReader {
            make: Arc::clone(&self.make),
            next: position.unwrap_or(split.first),
            step: split.step,
            count: self.count,
            throttle: self
                .throttle
                .as_ref()
                .map(|throttle| (Arc::clone(throttle), clock())),
        })
    }
}

impl<T, F> Reader for GeneratorReader<F>
where
    F: Fn(u64) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Out = T;
    type Position = u64;

    fn read(&mut self, intake: &mut impl Intake<T>) -> Result<Status, BoxError> {
        let mut room = intake.room() as u64;
        if let Some((throttle, clock)) = &self.throttle {
            let left = self.count.saturating_sub(self.next).div_ceil(self.step);
            if left == 0 {
                return Ok(Status::Done);
            }
            match throttle.take(room.min(left), clock.now()) {
                Ok(granted) => room = granted,
                Err(at) => return Ok(Status::Idle(Some(at))),
            }
        }
        let mut status = Status::More;
        let mut made = 0;
        while made < room && !intake.is_full() {
            if self.next >= self.count {
                status = Status::Done;
                break;
            }
            intake.push((self.make)(self.next));
            self.next = self.next.saturating_add(self.step);
            made += 1;
        }
        if let Some((throttle, _)) = &self.throttle {
            throttle.give_back(room - made);
        }
        Ok(status)
    }

    fn position(&self) -> u64 {
        self.next
    }
}

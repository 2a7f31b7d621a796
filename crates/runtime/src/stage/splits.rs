//! The splits of a source that nobody reads yet.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{BoxError, Moment, Wake};

use crate::error::Blame;
use crate::source::{Discovery, ReaderContext, Source, SourceContext};

/// Splits that wait; the subtasks of the source take one after the other. When none is left, one of them asks the source for
/// more, and the others wait.
///
/// ```text
///            ask (one subtask)            again_after has passed
///  Due(now) ──────────────────▶ Asked ──▶ Due(at) ──▶ ...
///                                 └──────▶ Complete
/// ```
pub(crate) struct Splits<S: Source> {
    state: Mutex<State<S::Split>>,
}

struct State<T> {
    waiting: VecDeque<T>,
    search: Search,
    /// Subtasks that found nothing, by their number.
    idle: Vec<Option<Arc<dyn Wake>>>,
}

#[derive(Clone, Copy)]
enum Search {
    /// To be done at a moment.
    Due(Moment),
    /// Somebody is at it.
    Asked,
    /// There are no more splits.
    Complete,
}

/// What a subtask is to do.
pub(crate) enum NextSplit<T> {
    /// To read this split.
    Read(T),
    /// To ask again when it is woken, or at this moment.
    Wait(Option<Moment>),
    /// To end.
    End,
}

impl<S: Source> Splits<S> {
    pub(crate) fn new(splits: Vec<S::Split>) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: splits.into(),
                search: Search::Due(Moment::ZERO),
                idle: Vec::new(),
            }),
        }
    }

    /// The next split, after looking for more if it is time to.
    pub(crate) fn next(
        &self,
        source: &S,
        now: Moment,
        context: &ReaderContext,
    ) -> Result<NextSplit<S::Split>, BoxError> {
        let mut looked = false;
        loop {
            let mut state = self.state.lock();
            if let Some(split) = state.waiting.pop_front() {
                return Ok(NextSplit::Read(split));
            }
            match state.search {
                Search::Complete => return Ok(NextSplit::End),
                // Who has looked in vain waits at least until its next poll.
                Search::Due(at) if at <= now && !looked => state.search = Search::Asked,
                Search::Due(at) => {
                    state.wait(context);
                    return Ok(NextSplit::Wait(Some(at)));
                }
                Search::Asked => {
                    state.wait(context);
                    return Ok(NextSplit::Wait(None));
                }
            }
            drop(state);
            self.look(source, now, context)?;
            looked = true;
        }
    }

    /// Asks the source, without the lock: it may take its time. Should it panic, the job has failed and nobody waits.
    fn look(&self, source: &S, now: Moment, context: &ReaderContext) -> Result<(), BoxError> {
        let blame = Blame::on(&context.operator);
        let found = source.discover(&SourceContext {
            operator: context.operator.clone(),
            parallelism: context.parallelism,
            environment: context.environment.clone(),
        });
        blame.lift();
        let mut state = self.state.lock();
        state.search = match found? {
            Discovery::Complete => Search::Complete,
            Discovery::Found {
                splits,
                again_after,
            } => {
                state.waiting.extend(splits);
                Search::Due(now + again_after)
            }
        };
        let idle = mem::take(&mut state.idle);
        drop(state);
        for waker in idle.into_iter().flatten() {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> State<T> {
    fn wait(&mut self, context: &ReaderContext) {
        let subtasks = self.idle.len().max(context.parallelism);
        self.idle.resize(subtasks, None);
        self.idle[context.subtask] = Some(Arc::clone(&context.waker));
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::panic::Location;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use levada_core::Origin;

    use super::*;
    use crate::environment::Environment;
    use crate::source::{Intake, Reader, Status};

    /// Counts how often it wakes somebody.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A source that finds two splits each time; meanwhile another subtask wants one.
    #[derive(Default)]
    struct Twos {
        splits: OnceLock<Splits<Self>>,
        other: Arc<Counting>,
        looked: AtomicUsize,
    }

    struct Nothing;

    impl Reader for Nothing {
        type Out = ();
        type Position = ();

        fn read(&mut self, _: &mut impl Intake<()>) -> Result<Status, BoxError> {
            Ok(Status::Done)
        }

        fn position(&self) {}
    }

    impl Source for Twos {
        type Out = ();
        type Split = usize;
        type Reader = Nothing;

        fn splits(&self, _: &SourceContext) -> Result<Vec<usize>, BoxError> {
            Ok(vec![0])
        }

        fn discover(&self, _: &SourceContext) -> Result<Discovery<usize>, BoxError> {
            let looked = self.looked.fetch_add(1, Ordering::Relaxed);
            let splits = self.splits.get().ok_or("the splits are there")?;
            let context = context(&self.other);
            let next = splits.next(self, Moment::NEVER, &context)?;
            assert!(matches!(next, NextSplit::Wait(None)), "one looks at a time");
            assert_eq!(self.other.0.load(Ordering::Relaxed), looked);
            Ok(match looked {
                2 => Discovery::Complete,
                _ => Discovery::Found {
                    splits: vec![1, 2],
                    again_after: Duration::from_secs(1),
                },
            })
        }

        fn open(&self, _: usize, _: Option<()>, _: &ReaderContext) -> Result<Nothing, BoxError> {
            Ok(Nothing)
        }
    }

    fn context(waker: &Arc<Counting>) -> ReaderContext {
        let operator = Origin::new("twos", Location::caller());
        let waker = Arc::clone(waker) as Arc<dyn Wake>;
        ReaderContext::without_job(operator, 1, Environment::system(), waker)
    }

    #[test]
    fn one_subtask_looks_and_those_that_wait_are_woken() {
        let source = Twos::default();
        let splits = source.splits.get_or_init(|| Splits::new(vec![0]));
        let waker = Arc::default();
        let next = |seconds: u64| {
            let now = Moment::ZERO + Duration::from_secs(seconds);
            splits.next(&source, now, &context(&waker)).unwrap()
        };
        let read = |seconds| match next(seconds) {
            NextSplit::Read(split) => Some(split),
            _ => None,
        };
        assert_eq!(
            [read(5), read(5), read(5), read(5)],
            [Some(0), Some(1), Some(2), None]
        );
        assert_eq!(source.looked.load(Ordering::Relaxed), 1);
        assert_eq!(source.other.0.load(Ordering::Relaxed), 1);
        let due = Moment::ZERO + Duration::from_secs(6);
        assert!(matches!(next(5), NextSplit::Wait(Some(at)) if at == due));
        assert_eq!([read(6), read(6)], [Some(1), Some(2)]);
        assert!(matches!(next(7), NextSplit::End));
        assert!(matches!(next(100), NextSplit::End));
        assert_eq!(source.other.0.load(Ordering::Relaxed), 3);
    }

    /// A source that is to be asked again at once, and never finds anything.
    struct Never(AtomicUsize);

    impl Source for Never {
        type Out = ();
        type Split = usize;
        type Reader = Nothing;

        fn splits(&self, _: &SourceContext) -> Result<Vec<usize>, BoxError> {
            Ok(Vec::new())
        }

        fn discover(&self, _: &SourceContext) -> Result<Discovery<usize>, BoxError> {
            let looked = self.0.fetch_add(1, Ordering::Relaxed);
            assert!(looked < 100, "nobody else could run");
            Ok(Discovery::Found {
                splits: Vec::new(),
                again_after: Duration::ZERO,
            })
        }

        fn open(&self, _: usize, _: Option<()>, _: &ReaderContext) -> Result<Nothing, BoxError> {
            Ok(Nothing)
        }
    }

    #[test]
    fn a_subtask_that_has_looked_in_vain_lets_others_run() {
        let source = Never(AtomicUsize::new(0));
        let splits = Splits::new(Vec::new());
        let waker = Arc::default();
        for looked in 1..4 {
            let next = splits
                .next(&source, Moment::ZERO, &context(&waker))
                .unwrap();
            assert!(matches!(next, NextSplit::Wait(Some(Moment::ZERO))));
            assert_eq!(source.0.load(Ordering::Relaxed), looked);
        }
    }
}

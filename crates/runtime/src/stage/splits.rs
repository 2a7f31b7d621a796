//! The splits of a source that nobody reads yet.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicUsize, Ordering};
use levada_core::{BoxError, Moment, Wake};

use crate::error::Blame;
use crate::source::{Discovery, ReaderContext, Source, SourceContext};
use crate::stage::drift::Drift;

/// Splits that wait; the subtasks of the source take one after the other. When none is left, one of them asks the source for
/// more, and the others wait.
///
/// ```text
///            ask (one subtask)            again_after has passed
///  Due(now) ──────────────────▶ Asked ──▶ Due(at) ──▶ ...
///                                 └──────▶ Complete
/// ```
///
/// What waits may have records of any event time, and any subtask may come to read it: so while something waits, no watermark
/// of the source rises.
pub(crate) struct Splits<S: Source> {
    state: Mutex<State<S::Split>>,
    /// Splits that wait, and those that have been taken, but whose subtask has not told those behind it that it is active.
    unread: AtomicUsize,
    /// How far those are that are being read.
    pub(crate) drift: Drift,
}

struct State<T> {
    waiting: VecDeque<T>,
    search: Search,
    /// By number.
    subtasks: Vec<Subtask>,
}

#[derive(Clone, Default)]
struct Subtask {
    /// None before it has asked for a split.
    waker: Option<Arc<dyn Wake>>,
    /// It has found nothing and wants to know of more.
    waits: bool,
    /// Splits that it reads.
    open: usize,
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

/// Which split a subtask wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// Whatever waits.
    Any,
    /// One, unless it reads its share already: then the others shall take what waits.
    Share,
}

/// What a subtask is to do.
pub(crate) enum NextSplit<T> {
    /// To read this split.
    Read(T),
    /// To leave what waits to the others.
    Enough,
    /// To ask again when it is woken, or at this moment.
    Wait(Option<Moment>),
    /// To end, if it reads nothing.
    End,
}

impl<S: Source> Splits<S> {
    pub(crate) fn new(splits: Vec<S::Split>) -> Self {
        Self {
            unread: AtomicUsize::new(splits.len()),
            drift: Drift::new(),
            state: Mutex::new(State {
                waiting: splits.into(),
                search: Search::Due(Moment::ZERO),
                subtasks: Vec::new(),
            }),
        }
    }

    /// The next split, after looking for more if it is time to.
    pub(crate) fn next(
        &self,
        source: &S,
        now: Moment,
        context: &ReaderContext,
        wish: Wish,
    ) -> Result<NextSplit<S::Split>, BoxError> {
        let mut looked = false;
        loop {
            let mut state = self.state.lock();
            let share = state.share(context);
            let has_share = state.subtask(context).open >= share;
            if wish == Wish::Share && has_share && !state.waiting.is_empty() {
                return Ok(NextSplit::Enough);
            }
            if let Some(split) = state.waiting.pop_front() {
                state.subtask(context).open += 1;
                return Ok(NextSplit::Read(split));
            }
            match state.search {
                Search::Complete => return Ok(NextSplit::End),
                // Who has looked in vain waits at least until its next poll.
                Search::Due(at) if at <= now && !looked => state.search = Search::Asked,
                Search::Due(at) => {
                    state.subtask(context).waits = true;
                    return Ok(NextSplit::Wait(Some(at)));
                }
                Search::Asked => {
                    state.subtask(context).waits = true;
                    return Ok(NextSplit::Wait(None));
                }
            }
            drop(state);
            self.look(source, now, context)?;
            looked = true;
        }
    }

    /// Whether splits wait, so that no watermark may rise.
    pub(crate) fn is_held(&self) -> bool {
        // Acquires what `begun` releases: whoever sees that nothing waits sends its watermark after the one by which the
        // reader of the last split has said that it is active.
        self.unread.load(Ordering::Acquire) > 0
    }

    /// A subtask has told those behind it that it reads so many splits more.
    pub(crate) fn begun(&self, splits: usize, context: &ReaderContext) {
        if self.unread.fetch_sub(splits, Ordering::AcqRel) > splits {
            return;
        }
        // Nothing waits any more: the watermarks of those that sleep may rise.
        let state = self.state.lock();
        let others = state.subtasks.iter().enumerate();
        let others = others.filter(|(index, _)| *index != context.subtask);
        let wakers: Vec<_> = others
            .filter_map(|(_, other)| other.waker.clone())
            .collect();
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }

    /// A subtask has read a split to its end.
    pub(crate) fn done(&self, context: &ReaderContext) {
        self.state.lock().subtask(context).open -= 1;
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
                self.unread.fetch_add(splits.len(), Ordering::AcqRel);
                state.waiting.extend(splits);
                Search::Due(now + again_after)
            }
        };
        let waiting = state.subtasks.iter_mut().filter(|subtask| subtask.waits);
        let wakers: Vec<_> = waiting
            .filter_map(|subtask| {
                subtask.waits = false;
                subtask.waker.clone()
            })
            .collect();
        drop(state);
        for waker in wakers {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> State<T> {
    /// The subtask that asks.
    fn subtask(&mut self, context: &ReaderContext) -> &mut Subtask {
        let subtasks = self.subtasks.len().max(context.parallelism);
        self.subtasks.resize_with(subtasks, Subtask::default);
        let subtask = &mut self.subtasks[context.subtask];
        subtask
            .waker
            .get_or_insert_with(|| Arc::clone(&context.waker));
        subtask
    }

    /// How many splits each subtask reads if all have as many.
    fn share(&self, context: &ReaderContext) -> usize {
        let open: usize = self.subtasks.iter().map(|subtask| subtask.open).sum();
        (open + self.waiting.len()).div_ceil(context.parallelism)
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
            let context = ReaderContext {
                subtask: 1,
                parallelism: 2,
                ..context(&self.other)
            };
            let next = splits.next(self, Moment::NEVER, &context, Wish::Any)?;
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
            splits
                .next(&source, now, &context(&waker), Wish::Any)
                .unwrap()
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

    /// What two subtasks are given of four splits, and who is woken when nobody waits for one any more.
    #[test]
    fn each_subtask_reads_its_share_and_all_hear_when_nothing_waits() {
        let source = Twos::default();
        let splits = Splits::<Twos>::new(vec![0, 1, 2, 3]);
        let wakers = [Arc::default(), Arc::default()];
        let of = |subtask: usize| ReaderContext {
            subtask,
            parallelism: 2,
            ..context(&wakers[subtask])
        };
        let take = |subtask, wish| {
            let next = splits.next(&source, Moment::ZERO, &of(subtask), wish);
            match next.unwrap() {
                NextSplit::Read(split) => Some(split),
                NextSplit::Enough => None,
                _ => panic!("four splits wait"),
            }
        };
        assert_eq!(take(0, Wish::Share), Some(0));
        assert_eq!(take(0, Wish::Share), Some(1));
        assert_eq!(take(0, Wish::Share), None, "the others are not its");
        assert_eq!(take(1, Wish::Share), Some(2));
        splits.begun(1, &of(1));
        splits.begun(2, &of(0));
        assert!(splits.is_held());
        assert_eq!(take(0, Wish::Any), Some(3), "but it may have them");
        splits.done(&of(0));
        assert!(splits.is_held());
        let woken = |subtask: usize| wakers[subtask].0.load(Ordering::Relaxed);
        assert_eq!([woken(0), woken(1)], [0, 0]);
        splits.begun(1, &of(0));
        assert!(!splits.is_held());
        assert_eq!([woken(0), woken(1)], [0, 1]);
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
                .next(&source, Moment::ZERO, &context(&waker), Wish::Any)
                .unwrap();
            assert!(matches!(next, NextSplit::Wait(Some(Moment::ZERO))));
            assert_eq!(source.0.load(Ordering::Relaxed), looked);
        }
    }
}

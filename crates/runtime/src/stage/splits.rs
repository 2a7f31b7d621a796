//! The splits of a source that nobody reads yet.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::codec::{self, CodecError};
use levada_core::sync::Mutex;
use levada_core::sync::atomic::{AtomicUsize, Ordering};
use levada_core::{BoxError, Moment, Wake};

use crate::error::{Blame, Failure, blaming};
use crate::source::{Discovery, Reader, ReaderContext, Source, SourceContext};
use crate::stage::commits::Positioned;
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
///
/// In a checkpoint each split is saved once: by the subtask that reads it, or as one that waits, by the subtask that is the last
/// to begin. Until then those that have begun are given none.
pub(crate) struct Splits<S: Source> {
    state: Mutex<State<S>>,
    /// Splits that wait, and those that have been taken, but whose subtask has not told those behind it that it is active.
    unread: AtomicUsize,
    /// How far those are that are being read.
    pub(crate) drift: Drift,
}

struct State<S: Source> {
    waiting: VecDeque<Waiting<S>>,
    /// Splits that had been read to their end in an earlier run, and perhaps not been committed.
    done: Vec<Positioned<S>>,
    search: Search,
    /// By number.
    subtasks: Vec<Subtask>,
    /// The checkpoint that some subtasks have begun and others have not.
    checkpoint: Option<u64>,
}

/// A split, and where an earlier reader of it was.
type Waiting<S> = (
    <S as Source>::Split,
    Option<<<S as Source>::Reader as Reader>::Position>,
);

#[derive(Clone, Default)]
struct Subtask {
    /// None before it has asked for a split.
    waker: Option<Arc<dyn Wake>>,
    /// It has found nothing and wants to know of more.
    waits: bool,
    /// Splits that it reads.
    open: usize,
    /// The last checkpoint that it has begun.
    saved: u64,
    /// It has come to its end.
    ended: bool,
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
pub(crate) enum NextSplit<S: Source> {
    /// To read this split, from this position on.
    Read(S::Split, Option<<S::Reader as Reader>::Position>),
    /// To leave what waits to the others.
    Enough,
    /// To ask again when it is woken, or at this moment.
    Wait(Option<Moment>),
    /// To end, if it reads nothing.
    End,
}

impl<S: Source> Splits<S> {
    pub(crate) fn new(splits: Vec<S::Split>) -> Self {
        let waiting = splits.into_iter().map(|split| (split, None));
        Self::of(waiting.collect(), Vec::new(), Search::Due(Moment::ZERO))
    }

    /// Those that were left when a checkpoint was taken: what each subtask was reading, and what waited. Returns what the source
    /// remembers, too.
    ///
    /// # Errors
    /// If the bytes are not its splits.
    pub(crate) fn restore(
        open: &[&[u8]],
        waiting: Option<&[u8]>,
    ) -> Result<(Self, Vec<u8>), CodecError> {
        let mut splits = VecDeque::new();
        let mut done = Vec::new();
        for mut bytes in open.iter().copied() {
            let (now_open, now_done) = decode_open::<S>(&mut bytes)?;
            let now_open = now_open.into_iter();
            splits.extend(now_open.map(|(split, position)| (split, Some(position))));
            done.extend(now_done);
        }
        let mut memory = Vec::new();
        let mut search = Search::Complete;
        if let Some(mut bytes) = waiting {
            if !codec::decode_next::<bool>(&mut bytes)? {
                search = Search::Due(Moment::ZERO);
            }
            memory = codec::decode_part(&mut bytes)?.to_vec();
            let waiting: Vec<Waiting<S>> = codec::decode(bytes)?;
            splits.extend(waiting);
        }
        Ok((Self::of(splits, done, search), memory))
    }

    fn of(waiting: VecDeque<Waiting<S>>, done: Vec<Positioned<S>>, search: Search) -> Self {
        Self {
            unread: AtomicUsize::new(waiting.len()),
            drift: Drift::new(),
            state: Mutex::new(State {
                waiting,
                done,
                search,
                subtasks: Vec::new(),
                checkpoint: None,
            }),
        }
    }

    /// What an earlier run had read to its end and perhaps not committed: for one subtask to commit.
    pub(crate) fn take_done(&self) -> Vec<Positioned<S>> {
        std::mem::take(&mut self.state.lock().done)
    }

    /// A subtask begins a checkpoint. Returns what waits if all have.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub(crate) fn save(
        &self,
        checkpoint: u64,
        source: &S,
        context: &ReaderContext,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut state = self.state.lock();
        if state.checkpoint.is_some_and(|later| later > checkpoint) {
            // This one is over, and others know it already: what waits is kept for the later one.
            return Ok(None);
        }
        state.checkpoint = Some(checkpoint);
        state.subtask(context).saved = checkpoint;
        if !state.all_have_saved(checkpoint) {
            return Ok(None);
        }
        state.checkpoint = None;
        let memory = blaming(&context.operator, || source.memory())?;
        let mut bytes = Vec::new();
        let is_complete = matches!(state.search, Search::Complete);
        let encoded = codec::encode(&is_complete, &mut bytes).and_then(|()| {
            codec::encode_part(&memory, &mut bytes);
            codec::encode(&state.waiting, &mut bytes)
        });
        encoded.map_err(|error| Failure::error(context.operator.clone(), error.into()))?;
        let woken = state.take_waiting();
        drop(state);
        woken.iter().for_each(|waker| waker.wake());
        Ok(Some(bytes))
    }

    /// Checkpoints up to this one are over.
    pub(crate) fn release(&self, over: u64) {
        let mut state = self.state.lock();
        if state
            .checkpoint
            .take_if(|checkpoint| *checkpoint <= over)
            .is_some()
        {
            let woken = state.take_waiting();
            drop(state);
            woken.iter().for_each(|waker| waker.wake());
        }
    }

    /// A subtask has come to its end: nothing is left, and there will be nothing more.
    pub(crate) fn ended(&self, context: &ReaderContext) {
        let mut state = self.state.lock();
        state.subtask(context).ended = true;
        let checkpoint = state.checkpoint;
        if checkpoint.is_some_and(|checkpoint| state.all_have_saved(checkpoint)) {
            state.checkpoint = None;
            let woken = state.take_waiting();
            drop(state);
            woken.iter().for_each(|waker| waker.wake());
        }
    }

    /// The next split, after looking for more if it is time to.
    pub(crate) fn next(
        &self,
        source: &S,
        now: Moment,
        context: &ReaderContext,
        wish: Wish,
    ) -> Result<NextSplit<S>, BoxError> {
        let mut looked = false;
        loop {
            let mut state = self.state.lock();
            let checkpoint = state.checkpoint;
            if checkpoint == Some(state.subtask(context).saved) {
                // What it would take now is saved as waiting.
                state.subtask(context).waits = true;
                return Ok(NextSplit::Wait(None));
            }
            let share = state.share(context);
            let has_share = state.subtask(context).open >= share;
            if wish == Wish::Share && has_share && !state.waiting.is_empty() {
                return Ok(NextSplit::Enough);
            }
            if let Some((split, position)) = state.waiting.pop_front() {
                state.subtask(context).open += 1;
                return Ok(NextSplit::Read(split, position));
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
                let splits = splits.into_iter().map(|split| (split, None));
                state.waiting.extend(splits);
                Search::Due(now + again_after)
            }
        };
        let wakers = state.take_waiting();
        drop(state);
        for waker in wakers {
            waker.wake();
        }
        Ok(())
    }
}

impl<S: Source> State<S> {
    /// Those that wait for something.
    fn take_waiting(&mut self) -> Vec<Arc<dyn Wake>> {
        let waiting = self.subtasks.iter_mut().filter(|subtask| subtask.waits);
        let wakers = waiting.filter_map(|subtask| {
            subtask.waits = false;
            subtask.waker.clone()
        });
        wakers.collect()
    }

    /// Whether a checkpoint has begun in all subtasks that have not come to their end.
    fn all_have_saved(&self, checkpoint: u64) -> bool {
        let mut subtasks = self.subtasks.iter();
        subtasks.all(|subtask| subtask.ended || subtask.saved == checkpoint)
    }

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

/// What a subtask reads, and what it has read to its end and not committed: the number of each (u64), and split and position
/// of each.
pub(crate) fn encode_open<S: Source>(
    open: &[Positioned<S>],
    done: &VecDeque<Positioned<S>>,
) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    codec::encode(open, &mut bytes)?;
    codec::encode(done, &mut bytes)?;
    Ok(bytes)
}

type OpenAndDone<S> = (Vec<Positioned<S>>, Vec<Positioned<S>>);

fn decode_open<S: Source>(bytes: &mut &[u8]) -> Result<OpenAndDone<S>, CodecError> {
    Ok((codec::decode_next(bytes)?, codec::decode_next(bytes)?))
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
            NextSplit::Read(split, _) => Some(split),
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
                NextSplit::Read(split, _) => Some(split),
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

    /// One of two subtasks has heard that checkpoint 1 is over and has begun 2, when the other one begins 1.
    #[test]
    fn a_checkpoint_that_is_over_does_not_free_the_splits_of_the_next() {
        let source = Twos::default();
        let splits = Splits::<Twos>::new(vec![0, 1]);
        let waker = Arc::default();
        let of = |subtask: usize| ReaderContext {
            subtask,
            parallelism: 2,
            ..context(&waker)
        };
        let waits = |subtask| {
            let next = splits.next(&source, Moment::ZERO, &of(subtask), Wish::Any);
            matches!(next.unwrap(), NextSplit::Wait(None))
        };
        splits.release(1);
        assert_eq!(splits.save(2, &source, &of(0)).unwrap(), None);
        assert_eq!(splits.save(1, &source, &of(1)).unwrap(), None);
        assert!(waits(0), "it would be in nobody's part of checkpoint 2");
        splits.release(1);
        assert!(waits(0));
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

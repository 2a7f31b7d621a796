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
        loop {
            let mut state = self.state.lock();
            if let Some(split) = state.waiting.pop_front() {
                return Ok(NextSplit::Read(split));
            }
            match state.search {
                Search::Complete => return Ok(NextSplit::End),
                Search::Due(at) if at <= now => state.search = Search::Asked,
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

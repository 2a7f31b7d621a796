//! A process whose records meet state that every subtask has.

use levada_core::{BoxError, Exchange, Key, KeyGroup, State};
use levada_runtime::{KeyedRecord, ToAll, Turn, Two};

use crate::process::operator::{Logic, Parts};
use crate::process::{KeyedContext, KeysContext, OpenContext, SharedContext, Timer};

/// An operator of the user's that holds its records against state that is broadcast: rules, prices, settings.
///
/// Every subtask gets every record of the broadcast input and changes its own copy of the shared state; the records of the
/// main input read it. The copies are alike only if [`broadcast`](Self::broadcast) does the same in each: it must depend on
/// nothing but the record and the shared state, and where the broadcast stream has several senders, not on their order.
/// There is no order between the inputs: a record may come before the rule that is meant for it.
///
/// Behind a stream without keys, `Key` and `State` are `()`, and there are no timers.
pub trait BroadcastProcess: Clone + Send + 'static {
    /// What the records of the main input are grouped by.
    type Key: Key;
    /// The records of the main input.
    type In: Exchange;
    /// The records that are broadcast.
    type Broadcast: Exchange;
    /// What is kept for each key.
    type State: State;
    /// What every subtask keeps of the broadcast records.
    type Shared: State;
    /// What is emitted.
    type Out: Send + 'static;

    /// Called once in each subtask, before the first record.
    ///
    /// # Errors
    /// If the process cannot work: the job does not start.
    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Called for each record of the main input.
    fn element(
        &self,
        record: &Self::In,
        shared: &Self::Shared,
        context: &mut BroadcastContext<'_, Self>,
    );

    /// Called for each broadcast record, in every subtask. What it emits is emitted by each of them.
    ///
    /// A job that is rescaled with broadcast records in flight has keys in one subtask of which some have met such a record and
    /// others have not. It is called with it for those that have not, with a copy of the shared state that had not
    /// either: once for each old subtask whose keys it has. Of these calls one emits for the subtask
    /// ([`SharedContext`]).
    fn broadcast(
        &self,
        record: &Self::Broadcast,
        shared: &mut Self::Shared,
        context: &mut SharedContext<'_, Self>,
    );

    /// Called for each [`Timer`] of a key that is due. Without keys there are no timers: setting one fails the job.
    fn timer(&self, timer: Timer, shared: &Self::Shared, context: &mut BroadcastContext<'_, Self>) {
        let _ = (timer, shared, context);
    }

    /// Called once in each subtask that was built: after the last record, a cancel, a failure, or when another subtask
    /// could not be opened.
    ///
    /// # Errors
    /// If something is left behind: the job fails.
    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What a [`BroadcastProcess`] sees while it has a record of its main input in hand.
pub type BroadcastContext<'a, P> = KeyedContext<
    'a,
    <P as BroadcastProcess>::Key,
    <P as BroadcastProcess>::State,
    <P as BroadcastProcess>::Out,
>;

/// A [`BroadcastProcess`] behind a keyed stream, as what the operator runs.
#[derive(Clone)]
pub struct Informed<P>(pub P);

impl<P: BroadcastProcess> Logic for Informed<P> {
    type Record = Two<KeyedRecord<P::Key, P::In>, ToAll<P::Broadcast>>;
    type Key = P::Key;
    type State = P::State;
    type Shared = P::Shared;
    type Out = P::Out;

    const SHARED: bool = true;

    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
        self.0.open(context)
    }

    #[inline]
    fn run(&self, record: &Self::Record, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        match record {
            Two::First(keyed) => {
                let group = || parts.values.group(&keyed.key, keyed.group);
                let shared = parts.shared.of(group);
                let mut context =
                    KeyedContext::new(&keyed.key, keyed.group, parts.values, parts.outputs, turn);
                self.0.element(&keyed.record, shared, &mut context);
            }
            Two::Second(ToAll { record, only }) => {
                parts.shared.change(only.as_ref(), |shared, part| {
                    let mut context = KeysContext::new(part, parts.values, parts.outputs, turn);
                    self.0.broadcast(record, shared, &mut context);
                });
            }
        }
    }

    fn timer(&self, key: &P::Key, timer: Timer, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        let shared = parts.shared.of(|| parts.values.group(key, None));
        let mut context = KeyedContext::new(key, None, parts.values, parts.outputs, turn);
        self.0.timer(timer, shared, &mut context);
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.0.close()
    }
}

/// A [`BroadcastProcess`] behind a stream without keys, as what the operator runs.
#[derive(Clone)]
pub struct InformedWithoutKeys<P>(pub P);

impl<P> Logic for InformedWithoutKeys<P>
where
    P: BroadcastProcess<Key = (), State = ()>,
{
    type Record = Two<P::In, P::Broadcast>;
    type Key = ();
    type State = ();
    type Shared = P::Shared;
    type Out = P::Out;

    const KEYED: bool = false;
    const SHARED: bool = true;

    fn open(&mut self, context: &OpenContext) -> Result<(), BoxError> {
        self.0.open(context)
    }

    #[inline]
    fn run(&self, record: &Self::Record, parts: &mut Parts<'_, Self>, turn: &mut Turn) {
        match record {
            Two::First(record) => {
                let mut context = KeyedContext::new(&(), None, parts.values, parts.outputs, turn);
                let shared = parts.shared.of(|| KeyGroup(0));
                self.0.element(record, shared, &mut context);
            }
            Two::Second(record) => {
                parts.shared.change(None, |shared, part| {
                    let mut context = KeysContext::new(part, parts.values, parts.outputs, turn);
                    self.0.broadcast(record, shared, &mut context);
                });
            }
        }
    }

    fn timer(&self, (): &(), _: Timer, _: &mut Parts<'_, Self>, _: &mut Turn) {
        unreachable!("without keys no timer can be set")
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.0.close()
    }
}

//! `key_by` and `keyed`: each record gets its key, and the group of the key.

use std::sync::Arc;

use levada_core::{Key, KeyGroups, Origin};
use levada_runtime::{
    Blame, Downstream, KeyedRecord, Push, Room, Step, Subtask, Turn, forward_downstream,
};

super::step! {
    /// Computes a key from each record.
    KeyStep
}

impl<A, K, S, F> Step<A> for KeyStep<S, F>
where
    S: Step<A>,
    F: Fn(&S::Out) -> K + Send + Sync + 'static,
    K: Key,
{
    type Out = KeyedRecord<K, S::Out>;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<Self::Out> + 'static,
    {
        let keying = Keying {
            closure: Arc::clone(&self.closure),
            grouping: Grouping {
                key_groups: subtask.crosses_exchange.then_some(subtask.key_groups),
                operator: self.operator.clone(),
                next,
            },
        };
        self.before.attach(subtask, keying)
    }
}

/// Takes the first half of each pair as its key.
#[derive(Clone)]
pub struct KeyedStep<S> {
    before: S,
    operator: Origin,
}

impl<S> KeyedStep<S> {
    /// The step that follows `before`.
    pub fn new(before: S, operator: Origin) -> Self {
        Self { before, operator }
    }
}

impl<A, K, T, S> Step<A> for KeyedStep<S>
where
    S: Step<A, Out = (K, T)>,
    K: Key,
    T: Send + 'static,
{
    type Out = KeyedRecord<K, T>;

    fn attach<P>(&self, subtask: &Subtask, next: P) -> impl Push<A> + 'static
    where
        P: Push<Self::Out> + 'static,
    {
        let grouping = Grouping {
            key_groups: subtask.crosses_exchange.then_some(subtask.key_groups),
            operator: self.operator.clone(),
            next,
        };
        self.before.attach(subtask, Pairs(grouping))
    }
}

struct Keying<F, P> {
    closure: Arc<F>,
    grouping: Grouping<P>,
}

impl<F: Send + Sync, P: Downstream> Downstream for Keying<F, P> {
    forward_downstream!(grouping);
}

impl<K, T, F, P> Push<T> for Keying<F, P>
where
    F: Fn(&T) -> K + Send + Sync,
    K: Key,
    P: Push<KeyedRecord<K, T>>,
{
    #[inline(always)]
    fn push(&mut self, record: T, turn: &mut Turn) -> Room {
        let blame = Blame::on(&self.grouping.operator);
        let key = (self.closure)(&record);
        blame.lift();
        self.grouping.pass(key, record, turn)
    }
}

struct Pairs<P>(Grouping<P>);

impl<P: Downstream> Downstream for Pairs<P> {
    forward_downstream!(0);
}

impl<K, T, P> Push<(K, T)> for Pairs<P>
where
    K: Key,
    P: Push<KeyedRecord<K, T>>,
{
    #[inline(always)]
    fn push(&mut self, (key, record): (K, T), turn: &mut Turn) -> Room {
        self.0.pass(key, record, turn)
    }
}

/// Makes a keyed record, with the group of its key if it will cross an exchange.
struct Grouping<P> {
    key_groups: Option<KeyGroups>,
    operator: Origin,
    next: P,
}

impl<P: Downstream> Downstream for Grouping<P> {
    forward_downstream!(next);
}

impl<P> Grouping<P> {
    #[inline(always)]
    fn pass<K: Key, T>(&mut self, key: K, record: T, turn: &mut Turn) -> Room
    where
        P: Push<KeyedRecord<K, T>>,
    {
        let blame = Blame::on(&self.operator);
        let group = self.key_groups.map(|groups| groups.of(&key)).transpose();
        blame.lift();
        match group {
            Ok(group) => self.next.push(KeyedRecord { key, record, group }, turn),
            Err(error) => turn.fail(&self.operator, error),
        }
    }
}

//! The node of a join.

use std::marker::PhantomData;
use std::sync::Arc;

use levada_core::{Exchange, Key};
use levada_runtime::wiring::{AnyPush, AnyRead, Built, NodeFactory, Shared};
use levada_runtime::{Failure, KeyedRecord, Subtask, Two};
use levada_state::{KEY, StateFields};

use crate::join::operator::Join;
use crate::join::rule::Rule;

/// The node of a join by this rule, which makes an output of each pair.
pub struct JoinNode<K, A, B, R, F, O> {
    rule: R,
    closure: Arc<F>,
    records: PhantomData<fn(K, A, B) -> O>,
}

impl<K, A, B, R, F, O> JoinNode<K, A, B, R, F, O> {
    /// A node that calls the closure for each pair.
    pub fn new(rule: R, closure: F) -> Self {
        Self {
            rule,
            closure: Arc::new(closure),
            records: PhantomData,
        }
    }
}

impl<K, A, B, R, F, O> NodeFactory for JoinNode<K, A, B, R, F, O>
where
    K: Key,
    A: Exchange + Clone,
    B: Exchange + Clone,
    R: Rule,
    F: Fn(&A, &B) -> O + Send + Sync + 'static,
    O: Send + 'static,
{
    fn build(
        &self,
        subtask: &Subtask,
        _: &Shared,
        mut outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure> {
        let next = outputs.remove(0).typed::<O>(&subtask.operator);
        let closure = Arc::clone(&self.closure);
        let join = Join::<K, A, B, R, F, _>::new(self.rule.clone(), closure, subtask, next);
        Ok(Built::Read(AnyRead::new::<
            Two<KeyedRecord<K, A>, KeyedRecord<K, B>>,
        >(Box::new(join))))
    }

    fn state(&self) -> Option<StateFields> {
        let state = StateFields::new().with::<K>(KEY).with::<R::Stamp>("time");
        Some(state.with::<A>("first").with::<B>("second"))
    }
}

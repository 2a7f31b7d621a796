//! How a typed program becomes tasks: factories that know record types, behind traits that do not.
//!
//! A node's factory builds the operator of one subtask in front of its outputs; an edge's factory builds the channels of
//! an exchange and both of its ends. Types are erased at these borders only, and restored once, at wiring: inside a task
//! everything is typed.

mod edge;
mod head;
mod node;
mod results;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use levada_core::{Origin, Wake};
use levada_graph::{EdgeId, Exchange, NodeId};
use levada_network::{ChannelGauge, EdgeGauge, OutboxOptions};
use levada_state::{StateError, StateFields, TypeFields};

use crate::checkpoint::ChannelName;
use crate::error::Failure;
use crate::metrics::user::UserMetrics;
use crate::push::{Read, Visitor};
use crate::stage::{EdgeInput, Stage, Tee};
use crate::subtask::Subtask;

pub use edge::{HashEdge, LongerEdge, Partitioner, PlainEdge};
pub use head::{AnyPush, Head, ReadBy, Records};
pub use node::{Discard, Relay, SinkNode, SourceNode, StepsNode};
pub use results::SplitResultsNode;

/// The code of a graph's nodes and edges.
#[derive(Clone, Default)]
pub struct Program {
    /// By node.
    pub nodes: Vec<Arc<dyn NodeFactory>>,
    /// By node and output.
    pub outputs: HashMap<(NodeId, usize), Arc<dyn OutputFactory>>,
    /// By edge; forward edges have none.
    pub edges: HashMap<EdgeId, Arc<dyn EdgeFactory>>,
    /// The metrics that the program and its operators name.
    pub user: UserMetrics,
}

/// Builds the operators of a node.
pub trait NodeFactory: Send + Sync {
    /// Prepares what all subtasks share. Called once, before any is built.
    ///
    /// # Errors
    /// If the operator cannot work: the job does not start.
    fn start(&self, subtask: &Subtask) -> Result<Shared, Failure> {
        let _ = subtask;
        Ok(Arc::new(()))
    }

    /// Builds the operator of one subtask, in front of its outputs.
    ///
    /// # Errors
    /// If the operator cannot be opened.
    fn build(
        &self,
        subtask: &Subtask,
        shared: &Shared,
        outputs: Vec<AnyPush>,
    ) -> Result<Built, Failure>;

    /// Commits what its subtasks had prepared when a checkpoint was taken that the job goes on from. Called after
    /// [`start`](Self::start), with what each subtask had said.
    ///
    /// # Errors
    /// If it cannot be committed: the job does not start.
    fn recover(&self, subtask: &Subtask, prepared: &[&[u8]]) -> Result<(), Failure> {
        let _ = (subtask, prepared);
        Ok(())
    }

    /// What its state looks like; none if it has none of a type that the program gives it.
    fn state(&self) -> Option<StateFields> {
        None
    }

    /// Whether it keeps something once every sink has committed: see [`Source::commits`](crate::Source::commits).
    fn commits(&self) -> bool {
        false
    }

    /// Makes blocked subtasks come back soon; called from another thread when the job is cancelled.
    fn cancel(&self) {}
}

/// What all subtasks of a node share.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// The operator of one subtask.
pub enum Built {
    /// One that brings records in by itself.
    Head(Box<dyn Stage>),
    /// One that takes records by value.
    Push(AnyPush),
    /// One that reads records and leaves them to their maker.
    Read(AnyRead),
}

/// Joins the consumers of an output.
pub trait OutputFactory: Send + Sync {
    /// One push for all branches: each gets every record.
    fn join(&self, operator: &Origin, branches: Vec<AnyPush>) -> AnyPush;

    /// What takes records that nobody wants.
    fn discard(&self) -> AnyPush;

    /// How to clone a record, if the program uses the stream more than once.
    fn clone_record(&self) -> Option<AnyClone>;
}

/// Builds the channels and the two ends of an exchange.
pub trait EdgeFactory: Send + Sync {
    /// Puts the edge's steps in front of its target: the exchange is elided.
    fn chain(&self, subtask: &Subtask, input: Option<EdgeInput>, target: Built) -> AnyPush;

    /// Makes the channels: a gate for each consumer, and for each producer its ports in the order of the consumers.
    fn open(&self, exchange: &Exchange, consumers: &[Arc<dyn Wake>]) -> Opened;

    /// Builds the sending end of a producer.
    fn sender(&self, subtask: &Subtask, sender: SenderParts<'_>) -> AnyPush;

    /// Builds the stage of a consumer that reads these gates, of these edges.
    fn inbox(
        &self,
        subtask: &Subtask,
        inputs: Vec<EdgeInput>,
        gates: Vec<AnyGate>,
        target: Built,
        clone: Option<AnyClone>,
    ) -> Box<dyn Stage>;

    /// How to clone a record, if the exchange copies records.
    fn clone_record(&self) -> Option<AnyClone>;

    /// What is on the channels of the exchange, if it is one.
    fn record(&self) -> TypeFields;
}

/// The channels of an exchange.
pub struct Opened {
    /// By consumer.
    pub gates: Vec<AnyGate>,
    /// By producer, then consumer.
    pub ports: Vec<Vec<AnyPort>>,
}

/// What the sending end of an exchange is built from.
pub struct SenderParts<'a> {
    /// The exchange; if several edges share their batches, the first one.
    pub exchange: &'a Exchange,
    /// The ports, by route.
    pub routes: Vec<Vec<AnyPort>>,
    /// What the channels are called in a checkpoint, in the order of the ports.
    pub(crate) channels: Vec<ChannelName>,
    /// Gauges of the channels, in the order of the ports.
    pub gauges: Vec<Arc<ChannelGauge>>,
    /// Gauges of the edges that share the batches.
    pub edges: Vec<Arc<EdgeGauge>>,
    /// Sizes and times.
    pub options: OutboxOptions,
}

/// A `Box<dyn Read<T>>` of some `T`.
pub struct AnyRead {
    chain: Box<dyn Any + Send>,
    visit: fn(&mut (dyn Any + Send), &mut dyn Visitor) -> Result<(), StateError>,
}

impl AnyRead {
    /// Erases the type.
    #[must_use]
    pub fn new<T: 'static>(chain: Box<dyn Read<T>>) -> Self {
        Self {
            chain: Box::new(chain),
            visit: |chain, visitor| match chain.downcast_mut::<Box<dyn Read<T>>>() {
                Some(chain) => chain.visit(visitor),
                None => Ok(()),
            },
        }
    }

    /// Restores the type.
    ///
    /// # Panics
    /// If it is another one: the edge was wired to an operator it was not made for.
    #[must_use]
    pub fn typed<T: 'static>(self, operator: &Origin) -> Box<dyn Read<T>> {
        typed::<T, _>(self.chain, operator)
    }

    /// Shows the chain to a visitor.
    ///
    /// # Errors
    /// What the visitor says.
    pub fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        (self.visit)(&mut *self.chain, visitor)
    }
}

/// A function that clones a `T`, of some `T`.
pub struct AnyClone(Box<dyn Any + Send>);

impl AnyClone {
    /// Erases the type.
    pub fn new<T: 'static>(clone: fn(&T) -> T) -> Self {
        Self(Box::new(clone))
    }

    /// Restores the type.
    ///
    /// # Panics
    /// If it is another one: the edge was wired to an operator it was not made for.
    #[must_use]
    pub fn typed<T: 'static>(self, operator: &Origin) -> fn(&T) -> T {
        typed::<T, _>(self.0, operator)
    }
}

fn typed<T, C: 'static>(erased: Box<dyn Any + Send>, operator: &Origin) -> C {
    match erased.downcast::<C>() {
        Ok(typed) => *typed,
        Err(_) => panic!(
            "{operator} was wired to records of type `{}`, which it does not have",
            std::any::type_name::<T>()
        ),
    }
}

/// A `Gate<T>` of some `T`.
pub struct AnyGate(Box<dyn Any + Send>);

/// A `Port<T>` of some `T`.
pub struct AnyPort(Box<dyn Any + Send>);

/// Joins branches of type `T`.
pub struct Fork<T> {
    clone: OnceLock<fn(&T) -> T>,
}

impl<T> Fork<T> {
    /// The joint of an output that is used once, so far.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clone: OnceLock::new(),
        }
    }

    /// The program uses the stream once more.
    pub fn used_again(&self)
    where
        T: Clone,
    {
        self.clone.get_or_init(|| T::clone);
    }
}

impl<T> Default for Fork<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> OutputFactory for Fork<T> {
    fn join(&self, operator: &Origin, mut branches: Vec<AnyPush>) -> AnyPush {
        if branches.len() == 1 {
            return branches.remove(0);
        }
        let branches = branches
            .into_iter()
            .map(|branch| branch.typed::<T>(operator))
            .collect();
        let clone = *self
            .clone
            .get()
            .expect("a stream that is used twice has been cloned");
        AnyPush::new::<T>(Box::new(Tee::new(branches, clone, operator.clone())))
    }

    fn discard(&self) -> AnyPush {
        AnyPush::new::<T>(Box::new(node::Dropping))
    }

    fn clone_record(&self) -> Option<AnyClone> {
        self.clone.get().map(|clone| AnyClone::new::<T>(*clone))
    }
}

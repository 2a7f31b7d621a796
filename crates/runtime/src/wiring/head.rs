//! What stands before a run of fused steps, and how much of its type they know.

use std::any::{Any, type_name};
use std::marker::PhantomData;

use levada_core::Origin;
use levada_state::StateError;

use crate::push::{Push, Visitor};
use crate::source::Reader;
use crate::stage::Feed;

/// What stands before a run of fused steps.
///
/// Steps behind a source know the type of its reader ([`ReadBy`]), so that reader and steps are compiled into one loop.
/// Behind any other operator they know the type of its records only ([`Records`]).
pub trait Head: 'static {
    /// The records.
    type Out: Send + 'static;

    /// Erases the type of the chain that begins with the steps.
    fn erase(chain: impl Push<Self::Out> + 'static) -> AnyPush;
}

/// An operator that emits records of type `T`.
pub struct Records<T>(PhantomData<fn() -> T>);

impl<T: Send + 'static> Head for Records<T> {
    type Out = T;

    fn erase(chain: impl Push<T> + 'static) -> AnyPush {
        AnyPush::new::<T>(Box::new(chain))
    }
}

/// A source with readers of type `R`.
pub struct ReadBy<R>(PhantomData<fn() -> R>);

impl<R: Reader> Head for ReadBy<R> {
    type Out = R::Out;

    fn erase(chain: impl Push<R::Out> + 'static) -> AnyPush {
        AnyPush::fed::<R>(Box::new(chain))
    }
}

/// A chain of some type: a `Box<dyn Push<T>>`, or the `Box<dyn Feed<R>>` of a reader of `T`.
pub struct AnyPush {
    chain: Box<dyn Any + Send>,
    /// Makes a `Box<dyn Push<T>>` of it.
    into_push: fn(Box<dyn Any + Send>) -> Box<dyn Any + Send>,
    visit: fn(&mut (dyn Any + Send), &mut dyn Visitor) -> Result<(), StateError>,
}

impl AnyPush {
    /// Erases the type of a chain.
    #[must_use]
    pub fn new<T: 'static>(chain: Box<dyn Push<T>>) -> Self {
        Self {
            chain: Box::new(chain),
            into_push: std::convert::identity,
            visit: |chain, visitor| match chain.downcast_mut::<Box<dyn Push<T>>>() {
                Some(chain) => chain.visit(visitor),
                None => Ok(()),
            },
        }
    }

    /// Erases the type of a chain that knows who reads what it takes.
    #[must_use]
    pub fn fed<R: Reader>(chain: Box<dyn Feed<R>>) -> Self {
        Self {
            chain: Box::new(chain),
            into_push: |chain| {
                let chain = chain.downcast::<Box<dyn Feed<R>>>();
                let chain = *chain.expect("the function was made for this type");
                Box::new(chain as Box<dyn Push<R::Out>>)
            },
            visit: |chain, visitor| match chain.downcast_mut::<Box<dyn Feed<R>>>() {
                Some(chain) => chain.visit(visitor),
                None => Ok(()),
            },
        }
    }

    /// Shows the chain to a visitor.
    ///
    /// # Errors
    /// What the visitor says.
    pub fn visit(&mut self, visitor: &mut dyn Visitor) -> Result<(), StateError> {
        (self.visit)(&mut *self.chain, visitor)
    }

    /// Restores the type.
    ///
    /// # Panics
    /// If it is another one: the edge was wired to an operator it was not made for.
    #[must_use]
    pub fn typed<T: 'static>(self, operator: &Origin) -> Box<dyn Push<T>> {
        match (self.into_push)(self.chain).downcast::<Box<dyn Push<T>>>() {
            Ok(chain) => *chain,
            Err(_) => panic!(
                "{operator} was wired to records of type `{}`, which it does not have",
                type_name::<T>()
            ),
        }
    }

    /// Restores the type for a reader; a chain that does not know it takes record by record.
    ///
    /// # Panics
    /// As [`AnyPush::typed`].
    #[must_use]
    pub fn typed_for<R: Reader>(mut self, operator: &Origin) -> Box<dyn Feed<R>> {
        match self.chain.downcast::<Box<dyn Feed<R>>>() {
            Ok(chain) => *chain,
            Err(chain) => {
                self.chain = chain;
                Box::new(self.typed::<R::Out>(operator))
            }
        }
    }
}

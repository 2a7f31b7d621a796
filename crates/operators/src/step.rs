//! Stateless steps.
//!
//! A step of the graph is a value that knows the steps before it and its closure; [`Step::attach`] turns it into an
//! element of a chain. All closures are `Fn + Send + Sync` and shared by the subtasks, so a captured variable cannot be
//! changed: such state would escape every snapshot.
//!
//! [`Step::attach`]: levada_runtime::Step::attach

mod expand;
mod filter;
mod filter_map;
mod flat_map;
mod inspect;
mod key;
mod map;

pub use expand::{Emitter, ExpandStep};
pub use filter::FilterStep;
pub use filter_map::FilterMapStep;
pub use flat_map::FlatMapStep;
pub use inspect::InspectStep;
pub use key::{KeyStep, KeyedStep};
pub use map::MapStep;

/// Defines a step: a struct with the steps before it, a shared closure, and its place in the program.
macro_rules! step {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<S, F> {
            before: S,
            closure: std::sync::Arc<F>,
            operator: levada_core::Origin,
        }

        impl<S, F> $name<S, F> {
            /// The step that follows `before`.
            pub fn new(before: S, closure: F, operator: levada_core::Origin) -> Self {
                Self {
                    before,
                    closure: std::sync::Arc::new(closure),
                    operator,
                }
            }
        }

        impl<S: Clone, F> Clone for $name<S, F> {
            fn clone(&self) -> Self {
                Self {
                    before: self.before.clone(),
                    closure: std::sync::Arc::clone(&self.closure),
                    operator: self.operator.clone(),
                }
            }
        }
    };
}
use step;

//! Who lends a hand while a state is restored.

use crate::error::StateError;

/// Something that may be done on another thread.
pub type Piece<'a> = Box<dyn FnOnce() -> Result<(), StateError> + Send + 'a>;

/// Threads that have nothing else to do.
pub trait Hands {
    /// How many threads there are now, with this one. By the time something is to be done there may be fewer.
    fn count(&self) -> usize;

    /// Does all the pieces, side by side as far as there are threads, and waits for them.
    ///
    /// # Errors
    /// That of the first piece that has one.
    ///
    /// # Panics
    /// If a piece does.
    fn each(&self, pieces: Vec<Piece<'_>>) -> Result<(), StateError>;
}

/// Nobody besides this thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Hands for Alone {
    fn count(&self) -> usize {
        1
    }

    fn each(&self, pieces: Vec<Piece<'_>>) -> Result<(), StateError> {
        pieces.into_iter().try_for_each(|piece| piece())
    }
}

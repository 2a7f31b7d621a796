//! Where something in the job comes from: the operator's name and the line of the user's program that made it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// A line of the user's program.
pub type Place = &'static Location<'static>;

/// An operator as the user knows it: the name they gave it, or the method they called, and the line where they did.
#[derive(Clone, Debug)]
pub struct Origin {
    name: Arc<str>,
    place: Place,
}

impl Origin {
    /// An operator called `name`, made at `place`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, place: Place) -> Self {
        Self {
            name: name.into(),
            place,
        }
    }

    /// The operator's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line of the user's program.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ({}:{})",
            self.name,
            self.place.file(),
            self.place.line()
        )
    }
}

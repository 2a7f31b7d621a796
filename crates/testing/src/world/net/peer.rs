//! What the other side of a connection does.

/// The other side of a connection of the job, as a script: what it sends, what it reads, and how it ends.
///
/// How much it does at a time is drawn from the seed of the simulation.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What is still to be sent.
    pub(super) outgoing: Vec<u8>,
    pub(super) sent: usize,
    /// How much it still reads.
    pub(super) appetite: usize,
    pub(super) ending: Ending,
}

/// What a peer does when it has sent everything and read as much as it wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// It closes its side and goes on reading.
    Close,
    /// It breaks the connection; what is still on its way to the job is lost.
    Reset,
    /// Nothing.
    Stay,
}

impl Peer {
    /// Sends this, then closes its side. It reads whatever comes.
    #[must_use]
    pub fn sends(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            outgoing: bytes.into(),
            sent: 0,
            appetite: usize::MAX,
            ending: Ending::Close,
        }
    }

    /// Sends nothing and reads whatever comes.
    #[must_use]
    pub fn reads() -> Self {
        Self {
            ending: Ending::Stay,
            ..Self::sends("")
        }
    }

    /// Reads no more than so many bytes.
    #[must_use]
    pub fn at_most(self, appetite: usize) -> Self {
        Self { appetite, ..self }
    }

    /// Never closes its side.
    #[must_use]
    pub fn stays(self) -> Self {
        Self {
            ending: Ending::Stay,
            ..self
        }
    }

    /// Breaks the connection when it has sent everything, and read as much as it wants if there is a limit to that.
    #[must_use]
    pub fn resets(self) -> Self {
        Self {
            ending: Ending::Reset,
            ..self
        }
    }

    /// Whether it has done all it wants, its ending apart.
    pub(super) fn is_through(&self) -> bool {
        self.sent == self.outgoing.len() && (self.appetite == 0 || self.appetite == usize::MAX)
    }
}

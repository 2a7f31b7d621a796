//! What the other side of a connection does.

use std::sync::Arc;

/// The other side of a connection of the job, as a script: what it sends, what it reads, and how it ends.
///
/// How much it does at a time is drawn from the seed of the simulation.
#[derive(Clone)]
pub struct Peer {
    /// What is still to be sent.
    pub(super) outgoing: Vec<u8>,
    pub(super) sent: usize,
    /// How much it still reads.
    pub(super) appetite: usize,
    pub(super) ending: Ending,
    answer: Option<Arc<Answer>>,
    /// How much of what it has read it has answered.
    answered: usize,
}

/// What a peer says to what it has read since its last answer; none if it waits for more.
type Answer = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync;

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
            answer: None,
            answered: 0,
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

    /// Reads whatever comes and answers it. The closure is given what was read since the last answer, and says nothing if
    /// it waits for more.
    #[must_use]
    pub fn answers(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self {
            answer: Some(Arc::new(answer)),
            ..Self::reads()
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

    /// Has read something more.
    pub(super) fn hear(&mut self, received: &[u8]) {
        if let Some(answer) = &self.answer
            && let Some(answer) = answer(&received[self.answered..])
        {
            self.answered = received.len();
            self.outgoing.extend(answer);
        }
    }

    /// Whether it has done all it wants, its ending apart.
    pub(super) fn is_through(&self) -> bool {
        self.sent == self.outgoing.len() && (self.appetite == 0 || self.appetite == usize::MAX)
    }
}

//! Standard output as the engine sees it.

use std::io;

/// Where a job's standard output goes: the process's own when embedded, a buffer in a simulation.
pub trait Output: Send + Sync {
    /// Writes all of `bytes`, unmixed with what other threads write.
    ///
    /// # Errors
    /// What the operating system says; a broken pipe means that the reader has gone.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;
}

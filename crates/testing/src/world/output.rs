//! Standard output that is kept, or that nobody reads.

use std::io;
use std::sync::Arc;

use levada_core::output::Output;
use levada_core::sync::Mutex;

/// Keeps what is written. Clones are the same output.
#[derive(Clone, Debug, Default)]
pub struct MemoryOutput {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// The bytes that are taken before the reader goes away.
    closes_after: Option<usize>,
}

impl MemoryOutput {
    /// The reader goes away after so many bytes: later writes fail as on a broken pipe.
    pub fn close_after(&self, bytes: usize) {
        self.inner.lock().closes_after = Some(bytes);
    }

    /// What has been written, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.inner.lock().bytes).into_owned()
    }
}

impl Output for MemoryOutput {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if let Some(most) = inner.closes_after
            && inner.bytes.len() + bytes.len() > most
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        inner.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

//! The process's standard output.

use std::io::{self, Write};

use levada_core::output::Output;

pub(super) struct StandardOutput;

impl Output for StandardOutput {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // The lock keeps the bytes together; the flush gets them past the line buffer, so that an error is ours to see.
        let mut output = io::stdout().lock();
        output.write_all(bytes)?;
        output.flush()
    }
}

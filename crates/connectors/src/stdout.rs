//! Records to standard output.

use std::io::ErrorKind;
use std::sync::Arc;

use levada_core::BoxError;
use levada_core::output::Output;
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::error::Error;
use crate::format::{AsText, Custom, Format, Tsv};

/// Writes every record as a line to standard output: a string as it is, anything else as JSON.
///
/// Lines are written whole and at once, so they are repeated if the job is restored. When the reader of the output goes
/// away (`job | head`), the job fails: records would be lost.
#[must_use]
pub fn stdout() -> Stdout<AsText> {
    Stdout { format: AsText }
}

/// The sink made by [`stdout`].
#[derive(Clone, Debug)]
pub struct Stdout<F> {
    format: F,
}

impl<F> Stdout<F> {
    /// Joins the fields of each record by TAB; see [`Tsv`].
    #[must_use]
    pub fn tsv(self) -> Stdout<Tsv> {
        Stdout { format: Tsv }
    }

    /// Writes each record as the closure does; a line break is added.
    pub fn format<T, W>(self, write: W) -> Stdout<Custom<W>>
    where
        W: Fn(&T, &mut String) + Send + Sync + 'static,
    {
        Stdout {
            format: Custom::new(write),
        }
    }
}

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes to standard output.
pub struct StdoutWriter<F> {
    format: F,
    output: Arc<dyn Output>,
    buffer: Vec<u8>,
}

impl<T, F: Format<T>> Sink<T> for Stdout<F> {
    type Writer = StdoutWriter<F>;

    fn open(&self, context: &SinkContext) -> Result<Self::Writer, BoxError> {
        Ok(StdoutWriter {
            format: self.format.clone(),
            output: Arc::clone(&context.environment.output),
            buffer: Vec::new(),
        })
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

impl<F> StdoutWriter<F> {
    fn write_out(&mut self) -> Result<(), Error> {
        let written = self.output.write(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Error::BrokenPipe,
            _ => Error::Output(error),
        })
    }
}

impl<T, F: Format<T>> Writer<T> for StdoutWriter<F> {
    type Pending = ();

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        for record in records {
            self.format.write(&record, &mut self.buffer)?;
            self.buffer.push(b'\n');
            if self.buffer.len() >= BUFFER_BYTES {
                self.write_out()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        if !self.buffer.is_empty() {
            self.write_out()?;
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), BoxError> {
        Writer::<T>::flush(self)
    }

    fn commit(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

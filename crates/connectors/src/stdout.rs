//! Records to standard output.

use std::io::ErrorKind;
use std::sync::Arc;

use levada_core::output::Output;
use levada_core::{BoxError, OnError};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::error::Error;
use crate::format::{AsText, Custom, Format, Formatting, JsonLine, Tsv};
use crate::on_error::Skipped;

/// Writes every record as a line to standard output: a string as it is, anything else as JSON.
///
/// Lines are written whole and at once, so they are repeated if the job is restored. When the reader of the output goes
/// away (`job | head`), the job fails: records would be lost.
#[must_use]
pub fn stdout() -> Stdout<AsText> {
    Stdout {
        format: AsText,
        on_error: OnError::Fail,
    }
}

/// The sink made by [`stdout`].
#[derive(Clone, Debug)]
pub struct Stdout<F> {
    format: F,
    on_error: OnError,
}

impl<F> Stdout<F> {
    /// What becomes of a record that cannot be formatted: it fails the job, or is skipped.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// Writes JSON lines: strings too are JSON, in quotes.
    #[must_use]
    pub fn jsonl(self) -> Stdout<JsonLine> {
        self.formatted(JsonLine)
    }

    /// Joins the fields of each record by TAB; see [`Tsv`].
    #[must_use]
    pub fn tsv(self) -> Stdout<Tsv> {
        self.formatted(Tsv)
    }

    /// Writes each record as the closure does; a line break is added.
    pub fn format<T, W>(self, write: W) -> Stdout<Custom<W>>
    where
        W: Fn(&T, &mut String) + Send + Sync + 'static,
    {
        self.formatted(Custom::new(write))
    }

    fn formatted<G>(self, format: G) -> Stdout<G> {
        Stdout {
            format,
            on_error: self.on_error,
        }
    }
}

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes to standard output.
pub struct StdoutWriter<F> {
    formatting: Formatting<F>,
    output: Arc<dyn Output>,
    buffer: Vec<u8>,
}

impl<T, F: Format<T>> Sink<T> for Stdout<F> {
    type Writer = StdoutWriter<F>;

    fn open(&self, context: &SinkContext) -> Result<Self::Writer, BoxError> {
        Ok(StdoutWriter {
            formatting: Formatting::new(
                self.format.clone(),
                self.on_error,
                Skipped::by_writer(context),
            ),
            output: Arc::clone(&context.environment.output),
            buffer: Vec::new(),
        })
    }

    /// There is nothing to commit: what was prepared had been written.
    fn recover(&self, _: Vec<()>, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
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
            self.formatting.write(&record, &mut self.buffer)?;
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

//! The formatting of one file, with what becomes of records that have no format.

use levada_core::{BoxError, OnError};

use crate::format::Format;
use crate::on_error::Skipped;

/// Formats the records of one file or stream.
pub(crate) struct Formatting<F> {
    format: F,
    on_error: OnError,
    skipped: Skipped,
    begun: bool,
}

impl<F> Formatting<F> {
    pub(crate) fn new(format: F, on_error: OnError, skipped: Skipped) -> Self {
        Self {
            format,
            on_error,
            skipped,
            begun: false,
        }
    }

    /// Begins another file.
    pub(crate) fn begin_again(&mut self) {
        self.begun = false;
    }

    /// Appends a record with its line break. What cannot be formatted leaves nothing behind.
    #[inline]
    pub(crate) fn write<T>(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError>
    where
        F: Format<T>,
    {
        let begin = out.len();
        match self.append(record, out) {
            Ok(()) => {
                self.begun = true;
                Ok(())
            }
            Err(error) => {
                out.truncate(begin);
                match self.on_error {
                    OnError::Fail => Err(error),
                    OnError::Skip => self.skipped.skip(|| Ok(error)),
                }
            }
        }
    }

    fn append<T>(&self, record: &T, out: &mut Vec<u8>) -> Result<(), BoxError>
    where
        F: Format<T>,
    {
        if !self.begun {
            let begin = out.len();
            self.format.header(record, out)?;
            if out.len() > begin {
                out.push(b'\n');
            }
        }
        self.format.write(record, out)?;
        out.push(b'\n');
        Ok(())
    }
}

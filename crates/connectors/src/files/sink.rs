//! Parts of a directory.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use levada_core::disk::Append;
use levada_core::sync::Mutex;
use levada_core::{BoxError, OnError, fault};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::error::Error;
#[cfg(feature = "compression")]
use crate::files::compression::{Compression, Compressor};
use crate::files::parts::{self, Parts};
use crate::format::{AsText, Csv, Custom, Format, Formatting, JsonLine, Tsv};
use crate::on_error::Skipped;

/// Writes every record as a line into files of a directory: a string as it is, anything else as JSON.
///
/// **Promise**: exactly once. Each subtask writes a part for each checkpoint, `part-RUN-SUBTASK-EPOCH` (`.gz`, `.zst` behind
/// it if it is compressed), and the parts of a run sort by subtask and epoch. Without checkpoints there is one epoch, 0,
/// and so one part for each subtask. While a part is written, and until its checkpoint is complete, its name begins with a
/// dot: a name without a dot is complete, stays as it is, and is never written again. What has no records has no part. A
/// job that fails leaves what its complete checkpoints have committed; one that goes on from a checkpoint first commits what
/// that one had prepared, and removes what came after. Without checkpoints a job that fails leaves nothing, unless it fails
/// in the midst of the last renames, or the machine does: then some parts may have their names.
///
/// **The directory** is made if it does not exist. A job that starts afresh wants one without any visible name; one that goes
/// on from a checkpoint finds what it has written before. While a job runs it holds the lock of `.levada-lock` in there, so
/// that no other one writes beside it; hidden parts that a dead job has left are removed then, and nothing else ever is.
///
/// The sink can be simulated.
#[must_use]
pub fn files(dir: impl Into<PathBuf>) -> Files<AsText> {
    Files {
        dir: dir.into(),
        format: AsText,
        on_error: OnError::Fail,
        #[cfg(feature = "compression")]
        compression: None,
        held: Mutex::new(None),
    }
}

/// The sink made by [`files`].
pub struct Files<F> {
    dir: PathBuf,
    format: F,
    on_error: OnError,
    #[cfg(feature = "compression")]
    compression: Option<Compression>,
    held: Mutex<Option<Held>>,
}

/// The directory, from the start of the job until every writer has been opened: it is free when the last of them is gone.
struct Held {
    parts: Arc<Parts>,
    unopened: usize,
}

/// A copy has the same settings and its own place in a job.
impl<F: Clone> Clone for Files<F> {
    fn clone(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            format: self.format.clone(),
            on_error: self.on_error,
            #[cfg(feature = "compression")]
            compression: self.compression,
            held: Mutex::new(None),
        }
    }
}

impl<F> fmt::Debug for Files<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.dir.display())
    }
}

impl<F> Files<F> {
    /// What becomes of a record that cannot be formatted: it fails the job, or is skipped. What goes wrong with the files
    /// themselves always fails the job.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// Writes JSON lines: strings too are JSON, in quotes.
    #[must_use]
    pub fn jsonl(self) -> Files<JsonLine> {
        self.formatted(JsonLine)
    }

    /// Joins the fields of each record by TAB; see [`Tsv`].
    #[must_use]
    pub fn tsv(self) -> Files<Tsv> {
        self.formatted(Tsv)
    }

    /// Writes CSV, with a header in each part; see [`Csv`].
    #[must_use]
    pub fn csv(self) -> Files<Csv> {
        self.formatted(Csv)
    }

    /// Compresses the parts by gzip; their names end in `.gz`.
    #[cfg(feature = "compression")]
    #[must_use]
    pub fn gzip(self) -> Self {
        Self {
            compression: Some(Compression::Gzip),
            ..self
        }
    }

    /// Compresses the parts by zstd, with checksums; their names end in `.zst`.
    #[cfg(feature = "compression")]
    #[must_use]
    pub fn zstd(self) -> Self {
        Self {
            compression: Some(Compression::Zstd),
            ..self
        }
    }

    /// Writes each record as the closure does; a line break is added.
    pub fn format<T, W>(self, write: W) -> Files<Custom<W>>
    where
        W: Fn(&T, &mut String) + Send + Sync + 'static,
    {
        self.formatted(Custom::new(write))
    }

    fn formatted<G>(self, format: G) -> Files<G> {
        Files {
            dir: self.dir,
            format,
            on_error: self.on_error,
            #[cfg(feature = "compression")]
            compression: self.compression,
            held: Mutex::new(None),
        }
    }
}

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes the parts of a subtask, one after the other.
pub struct FilesWriter<F> {
    parts: Arc<Parts>,
    run: Arc<str>,
    subtask: usize,
    /// The number of the part that is being written.
    epoch: u64,
    formatting: Formatting<F>,
    /// The part that is being written, once it has records.
    file: Option<Box<dyn Append>>,
    buffer: Vec<u8>,
    #[cfg(feature = "compression")]
    compression: Option<Compression>,
    /// There from the first bytes of a part on, if it is compressed.
    #[cfg(feature = "compression")]
    compressor: Option<Compressor>,
}

impl<T, F: Format<T>> Sink<T> for Files<F> {
    type Writer = FilesWriter<F>;

    fn start(&self, context: &SinkContext) -> Result<(), BoxError> {
        let mut held = self.held.lock();
        // Of an attempt that came no further.
        *held = None;
        let parts = Parts::take(&self.dir, &context.environment.disk)?;
        if !context.is_restored {
            parts.refuse_complete()?;
            parts.remove_leftovers(&[].into())?;
        }
        *held = Some(Held {
            parts: Arc::new(parts),
            unopened: context.parallelism,
        });
        Ok(())
    }

    fn recover(&self, pending: Vec<Option<String>>, _: &SinkContext) -> Result<(), BoxError> {
        let held = self.held.lock();
        let Held { parts, .. } = held.as_ref().expect("a sink is started before it recovers");
        let pending: Vec<_> = pending.iter().flatten().map(String::as_str).collect();
        for part in &pending {
            parts.publish(part)?;
        }
        if !pending.is_empty() {
            parts.sync()?;
        }
        parts.remove_leftovers(&pending.into_iter().collect())?;
        Ok(())
    }

    fn open(&self, context: &SinkContext) -> Result<Self::Writer, BoxError> {
        let mut held = self.held.lock();
        let Held { parts, unopened } = held
            .as_mut()
            .expect("a sink is started before it is opened");
        let parts = Arc::clone(parts);
        *unopened = unopened.saturating_sub(1);
        if *unopened == 0 {
            *held = None;
        }
        Ok(FilesWriter {
            parts,
            run: Arc::clone(&context.run),
            subtask: context.subtask,
            epoch: 0,
            formatting: Formatting::new(
                self.format.clone(),
                self.on_error,
                Skipped::by_writer(context),
            ),
            file: None,
            buffer: Vec::new(),
            #[cfg(feature = "compression")]
            compression: self.compression,
            #[cfg(feature = "compression")]
            compressor: None,
        })
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

impl<F> FilesWriter<F> {
    /// The name of the part that is being written, once it is committed.
    fn name(&self) -> String {
        #[cfg(feature = "compression")]
        let extension = self.compression.map(Compression::extension);
        #[cfg(not(feature = "compression"))]
        let extension = None;
        parts::name(&self.run, self.subtask, self.epoch, extension)
    }

    fn unfinished(&self) -> PathBuf {
        self.parts.hidden(&self.name())
    }

    /// Writes what has been gathered. The file is made with the first record, so that an empty part leaves none.
    fn write_out(&mut self) -> Result<(), Error> {
        let path = self.unfinished();
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = self.parts.disk().create_new(&path);
                self.file
                    .insert(file.map_err(Error::file("create", &path))?)
            }
        };
        #[cfg(feature = "compression")]
        if let Some(compression) = self.compression {
            let compress = Error::file("compress", &path);
            self.buffer = match &mut self.compressor {
                Some(compressor) => compressor.compress(&self.buffer),
                none => Compressor::new(compression)
                    .and_then(|compressor| none.insert(compressor).compress(&self.buffer)),
            }
            .map_err(compress)?;
        }
        file.append(&self.buffer)
            .map_err(Error::file("write", &path))?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what ends a compressed part.
    #[cfg(feature = "compression")]
    fn finish(&mut self) -> Result<(), Error> {
        let path = self.unfinished();
        if let (Some(compressor), Some(file)) = (self.compressor.take(), &mut self.file) {
            let rest = compressor
                .finish()
                .map_err(Error::file("compress", &path))?;
            file.append(&rest).map_err(Error::file("write", &path))?;
        }
        Ok(())
    }
}

impl<T, F: Format<T>> Writer<T> for FilesWriter<F> {
    /// The name of the part, if the epoch has one.
    type Pending = Option<String>;

    fn write(&mut self, records: &mut impl Drain<T>) -> Result<(), BoxError> {
        for record in records {
            self.formatting.write(&record, &mut self.buffer)?;
            if self.buffer.len() >= BUFFER_BYTES {
                self.write_out()?;
            }
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<Option<String>, BoxError> {
        if !self.buffer.is_empty() {
            self.write_out()?;
        }
        #[cfg(feature = "compression")]
        self.finish()?;
        let name = self.name();
        let mut prepared = None;
        if let Some(file) = &mut self.file {
            if !fault!("part-unsynced") {
                file.sync()
                    .map_err(Error::file("sync", &self.parts.hidden(&name)))?;
            }
            self.parts.sync()?;
            prepared = Some(name);
        }
        // What is prepared may belong to a checkpoint that is complete: from here on it is not ours to remove.
        self.file = None;
        self.formatting.begin_again();
        self.epoch += 1;
        Ok(prepared)
    }

    fn commit(&mut self, pending: Option<String>) -> Result<(), BoxError> {
        if let Some(part) = pending {
            self.parts.publish(&part)?;
            self.parts.sync()?;
        }
        Ok(())
    }

    /// Removes the part that is being written. What was prepared stays, for whoever goes on from its checkpoint.
    fn abort(&mut self) -> Result<(), BoxError> {
        if self.file.take().is_some() {
            let path = self.unfinished();
            match self.parts.disk().remove(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::file("remove", &path)(error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

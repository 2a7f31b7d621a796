//! Parts of a directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use levada_core::disk::{Append, Disk};
use levada_core::{BoxError, OnError};
use levada_runtime::{Drain, Sink, SinkContext, Writer};

use crate::directory;
use crate::error::Error;
#[cfg(feature = "compression")]
use crate::files::compression::{Compression, Compressor};
use crate::format::{AsText, Csv, Custom, Format, Formatting, JsonLine, Tsv};
use crate::on_error::Skipped;

/// Writes every record as a line into files of a directory: a string as it is, anything else as JSON.
///
/// Each subtask writes one part, `part-RUN-SUBTASK`. While the job runs the part has a name that begins with a dot; when
/// the whole job has come to its end all parts are renamed, so a name without a dot is complete. A job that fails leaves
/// none, unless it fails in the midst of these renames, or the machine does: then some parts may have their names. The directory is made if it does not exist, and must be empty if it does.
#[must_use]
pub fn files(dir: impl Into<PathBuf>) -> Files<AsText> {
    Files {
        dir: dir.into(),
        format: AsText,
        on_error: OnError::Fail,
        #[cfg(feature = "compression")]
        compression: None,
    }
}

/// The sink made by [`files`].
#[derive(Clone, Debug)]
pub struct Files<F> {
    dir: PathBuf,
    format: F,
    on_error: OnError,
    #[cfg(feature = "compression")]
    compression: Option<Compression>,
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
        }
    }
}

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes one part.
pub struct FilesWriter<F> {
    dir: PathBuf,
    /// The name of the part once it is committed.
    name: String,
    formatting: Formatting<F>,
    disk: Arc<dyn Disk>,
    file: Option<Box<dyn Append>>,
    buffer: Vec<u8>,
    #[cfg(feature = "compression")]
    compressor: Option<Compressor>,
}

impl<T, F: Format<T>> Sink<T> for Files<F> {
    type Writer = FilesWriter<F>;

    fn start(&self, context: &SinkContext) -> Result<(), BoxError> {
        let disk = &context.environment.disk;
        directory::create(&**disk, &self.dir).map_err(Error::file("create", &self.dir))?;
        let found = disk
            .list(&self.dir)
            .map_err(Error::file("list", &self.dir))?;
        match found.into_iter().find(|path| !in_progress(path)) {
            Some(found) => Err(Error::NotEmpty {
                path: self.dir.clone(),
                found,
            }
            .into()),
            None => Ok(()),
        }
    }

    fn open(&self, context: &SinkContext) -> Result<Self::Writer, BoxError> {
        let name = format!("part-{}-{:05}", context.run, context.subtask);
        #[cfg(feature = "compression")]
        let (name, compressor) = match self.compression {
            None => (name, None),
            Some(compression) => (
                format!("{name}.{}", compression.extension()),
                Some(Compressor::new(compression).map_err(Error::file("compress", &self.dir))?),
            ),
        };
        Ok(FilesWriter {
            dir: self.dir.clone(),
            name,
            formatting: Formatting::new(
                self.format.clone(),
                self.on_error,
                Skipped::by_writer(context),
            ),
            disk: Arc::clone(&context.environment.disk),
            file: None,
            buffer: Vec::new(),
            #[cfg(feature = "compression")]
            compressor,
        })
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

fn in_progress(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

impl<F> FilesWriter<F> {
    fn unfinished(&self) -> PathBuf {
        self.dir.join(format!(".{}", self.name))
    }

    /// Writes what has been gathered. The file is made with the first record, so that an empty part leaves none.
    fn write_out(&mut self) -> Result<(), Error> {
        let path = self.unfinished();
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = self.disk.create_new(&path);
                self.file
                    .insert(file.map_err(Error::file("create", &path))?)
            }
        };
        #[cfg(feature = "compression")]
        if let Some(compressor) = &mut self.compressor {
            self.buffer = compressor
                .compress(&self.buffer)
                .map_err(Error::file("compress", &path))?;
        }
        file.append(&self.buffer)
            .map_err(Error::file("write", &path))?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what ends a compressed part.
    #[cfg(feature = "compression")]
    fn finish(&mut self) -> Result<(), Error> {
        if let (Some(compressor), Some(file)) = (self.compressor.take(), &mut self.file) {
            let path = self.dir.join(format!(".{}", self.name));
            let rest = compressor
                .finish()
                .map_err(Error::file("compress", &path))?;
            file.append(&rest).map_err(Error::file("write", &path))?;
        }
        Ok(())
    }
}

impl<T, F: Format<T>> Writer<T> for FilesWriter<F> {
    /// The name of the part, if it has one.
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
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        file.sync()
            .map_err(Error::file("sync", &self.unfinished()))?;
        Ok(Some(self.name.clone()))
    }

    fn commit(&mut self, pending: Option<String>) -> Result<(), BoxError> {
        let Some(name) = pending else {
            return Ok(());
        };
        let unfinished = self.dir.join(format!(".{name}"));
        let part = self.dir.join(name);
        match self.disk.rename(&unfinished, &part) {
            Ok(()) => {}
            // An earlier commit has renamed it.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.disk.metadata(&part).is_ok() => {
            }
            Err(error) => return Err(Error::file("rename", &unfinished)(error).into()),
        }
        self.disk
            .sync_dir(&self.dir)
            .map_err(Error::file("sync", &self.dir))?;
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BoxError> {
        if self.file.take().is_some() {
            let path = self.unfinished();
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", &path)(error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

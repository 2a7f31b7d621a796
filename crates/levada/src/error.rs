//! The error of a job program.

use std::fmt;

use levada_core::BoxError;

use crate::stream::SinkHandle;

/// The result of a job program.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a job did not start or did not come to its end.
///
/// `Debug` prints what `Display` prints, with the causes, so that `fn main() -> levada::Result` reads well.
#[non_exhaustive]
pub enum Error {
    /// The command line is wrong, or asks for help.
    Usage(Box<clap::Error>),
    /// The job cannot be run as it is written.
    Graph(levada_graph::Errors),
    /// The job failed, or was cancelled.
    Run(levada_runtime::Error),
    /// The program's own error, while it built the job.
    Program(BoxError),
    /// A report could not be written.
    Report {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// The program's own error.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self::Program(error.into())
    }

    /// The exit code of a process that ends with this error: 0 for a request for help, 2 for a wrong command line, 130 for
    /// a cancel, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) if error.use_stderr() => 2,
            Self::Usage(_) => 0,
            Self::Run(levada_runtime::Error::Cancelled) => 130,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::Graph(errors) => errors.fmt(f),
            Self::Run(error) => error.fmt(f),
            Self::Program(error) => error.fmt(f),
            Self::Report { path, .. } => write!(f, "cannot write the report {}", path.display()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(error) => error.source(),
            Self::Graph(_) => None,
            Self::Run(error) => error.source(),
            Self::Program(error) => error.source(),
            Self::Report { source, .. } => Some(source),
        }
    }
}

impl From<levada_graph::Errors> for Error {
    fn from(errors: levada_graph::Errors) -> Self {
        Self::Graph(errors)
    }
}

impl From<levada_runtime::Error> for Error {
    fn from(error: levada_runtime::Error) -> Self {
        Self::Run(error)
    }
}

impl From<levada_runtime::embedded::NotTaken> for Error {
    fn from(error: levada_runtime::embedded::NotTaken) -> Self {
        Self::Program(error.into())
    }
}

impl From<clap::Error> for Error {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Program(error.into())
    }
}

impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        Self::Program(error)
    }
}

/// What the function that builds a job may return: nothing, or a result.
pub trait JobResult {
    /// The result.
    ///
    /// # Errors
    /// The program's own.
    fn into_result(self) -> Result;
}

/// A job whose last expression is its sink needs no semicolon.
impl JobResult for SinkHandle {
    fn into_result(self) -> Result {
        Ok(())
    }
}

impl JobResult for () {
    fn into_result(self) -> Result {
        Ok(())
    }
}

impl<E: Into<Error>> JobResult for std::result::Result<(), E> {
    fn into_result(self) -> Result {
        self.map_err(Into::into)
    }
}

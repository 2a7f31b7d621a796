//! Compressed files.

use std::path::Path;

use levada_core::disk::ReadAt;

use crate::error::Error;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Compression {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

impl Compression {
    /// By the extension.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        [Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|compression| extension.eq_ignore_ascii_case(compression.extension()))
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
        }
    }
}

#[cfg(feature = "compression")]
pub(super) use with::{Compressor, Decompressed};
#[cfg(not(feature = "compression"))]
pub(super) use without::Decompressed;

#[cfg(not(feature = "compression"))]
mod without {
    use super::{Compression, Error, Path, ReadAt};

    /// What a compressed file decompresses to: nobody can know.
    pub(in crate::files) enum Decompressed {}

    impl Decompressed {
        pub(in crate::files) fn open(
            _: Compression,
            _: Box<dyn ReadAt>,
            path: &Path,
            _: u64,
        ) -> Result<Self, Error> {
            Err(Error::NoCompression {
                path: path.to_owned(),
            })
        }

        pub(in crate::files) fn read(
            &mut self,
            _: &mut [u8],
            _: &Path,
            _: u64,
        ) -> Result<usize, Error> {
            match *self {}
        }
    }
}

#[cfg(feature = "compression")]
mod with {
    use std::io::{self, ErrorKind, Read, Write};
    use std::path::PathBuf;

    use flate2::read::MultiGzDecoder;
    use flate2::write::GzEncoder;

    use super::{Compression, Error, Path, ReadAt};

    /// What a compressed file decompresses to.
    pub(in crate::files) struct Decompressed(Box<dyn Read + Send>);

    impl Decompressed {
        pub(in crate::files) fn open(
            compression: Compression,
            file: Box<dyn ReadAt>,
            path: &Path,
            len: u64,
        ) -> Result<Self, Error> {
            let bytes = Sequential {
                file,
                path: path.to_owned(),
                at: 0,
                len,
            };
            Ok(Self(match compression {
                Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)),
                Compression::Zstd => Box::new(
                    zstd::stream::read::Decoder::new(bytes).map_err(Error::file("read", path))?,
                ),
            }))
        }

        /// Reads on; zero at the end. `at` bytes have been read so far.
        pub(in crate::files) fn read(
            &mut self,
            buffer: &mut [u8],
            path: &Path,
            at: u64,
        ) -> Result<usize, Error> {
            loop {
                match self.0.read(buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    read => return read.map_err(|error| damage(error, path, at)),
                }
            }
        }
    }

    /// An error of the file below is passed on as it is; everything else is the decoder's.
    fn damage(error: io::Error, path: &Path, at: u64) -> Error {
        let kind = error.kind();
        let source = match error.downcast::<Error>() {
            Ok(below) => return below,
            Err(error) => error,
        };
        let path = path.to_owned();
        if kind == ErrorKind::UnexpectedEof {
            Error::Truncated { path, at }
        } else {
            Error::Damaged { path, at, source }
        }
    }

    /// The bytes of a file, one after the other.
    struct Sequential {
        file: Box<dyn ReadAt>,
        path: PathBuf,
        at: u64,
        len: u64,
    }

    impl Read for Sequential {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
            let wanted = buffer.len().min(left);
            if wanted == 0 {
                return Ok(0);
            }
            let below = match self.file.read_at(self.at, &mut buffer[..wanted]) {
                Ok(0) => Error::Shortened {
                    path: self.path.clone(),
                    expected: self.len,
                    found: self.at,
                },
                Ok(got) => {
                    self.at += got as u64;
                    return Ok(got);
                }
                Err(error) => Error::file("read", &self.path)(error),
            };
            Err(io::Error::other(below))
        }
    }

    /// Compresses what is written into it.
    pub(in crate::files) enum Compressor {
        Gzip(GzEncoder<Vec<u8>>),
        Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    }

    impl Compressor {
        pub(in crate::files) fn new(compression: Compression) -> io::Result<Self> {
            Ok(match compression {
                Compression::Gzip => {
                    Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default()))
                }
                Compression::Zstd => {
                    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 0)?;
                    encoder.include_checksum(true)?;
                    Self::Zstd(encoder)
                }
            })
        }

        /// Compresses bytes; returns what is ready to be written.
        pub(in crate::files) fn compress(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
            Ok(std::mem::take(match self {
                Self::Gzip(encoder) => {
                    encoder.write_all(bytes)?;
                    encoder.get_mut()
                }
                Self::Zstd(encoder) => {
                    encoder.write_all(bytes)?;
                    encoder.get_mut()
                }
            }))
        }

        /// What is left to be written.
        pub(in crate::files) fn finish(self) -> io::Result<Vec<u8>> {
            match self {
                Self::Gzip(encoder) => encoder.finish(),
                Self::Zstd(encoder) => encoder.finish(),
            }
        }
    }
}

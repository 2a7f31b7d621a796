//! The bytes of a file in their order, some of them in memory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use levada_core::disk::{Disk, ReadAt};

use crate::error::Error;
use crate::files::compression::{Compression, Decompressed};
use crate::files::line_index::LineIndex;

/// How much is read at once, at least.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// A line without a near end that is passed over, a chunk with each call of its reader: so that it can be cancelled in between.
pub(super) struct Passing<O, B> {
    /// What is yielded in its place, when it has been passed.
    pub(super) out: Option<O>,
    /// The position of the reader until then.
    pub(super) begin: B,
}

/// Reads a file, decompressed if it is compressed. What has been read stays in memory until the next [`Window::fill`].
pub(super) struct Window {
    content: Content,
    path: PathBuf,
    /// Bytes of the file from `offset` on.
    buffer: Vec<u8>,
    /// What of the buffer has been read.
    read: usize,
    /// The offset of the buffer's first byte in the file, or in what it decompresses to.
    offset: u64,
}

enum Content {
    Plain {
        file: Box<dyn ReadAt>,
        /// The length of the file when it was found; it is read no further.
        len: u64,
        /// An offset, and how many line breaks lie before it.
        counted: Option<(u64, u64)>,
    },
    Compressed {
        stream: Decompressed,
        /// How many line breaks lie before a place in the buffer, at or before what is read next. Each is counted once.
        lines: u64,
        counted: usize,
    },
}

impl Window {
    /// Opens a file that has `len` bytes at the offset `at`.
    pub(super) fn open(disk: &dyn Disk, path: &Path, len: u64, at: u64) -> Result<Self, Error> {
        let file = disk.open(path).map_err(Error::file("read", path))?;
        let Some(compression) = Compression::of(path) else {
            return Ok(Self::plain(file, path, len, at));
        };
        let mut window = Self {
            content: Content::Compressed {
                stream: Decompressed::open(compression, file, path, len)?,
                lines: 0,
                counted: 0,
            },
            path: path.to_owned(),
            buffer: Vec::new(),
            read: 0,
            offset: 0,
        };
        window.skip_to(at)?;
        Ok(window)
    }

    /// A file that is not compressed.
    pub(super) fn plain(file: Box<dyn ReadAt>, path: &Path, len: u64, at: u64) -> Self {
        Self {
            content: Content::Plain {
                file,
                len,
                counted: None,
            },
            path: path.to_owned(),
            buffer: Vec::new(),
            read: 0,
            offset: at,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The offset of what is read next.
    #[inline]
    pub(super) fn at(&self) -> u64 {
        self.offset + self.read as u64
    }

    /// What is in memory and has not been read.
    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.read..]
    }

    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// Moves behind the next line break, whatever lies before it, or to the end of the file.
    pub(super) fn skip_line(&mut self) -> Result<(), Error> {
        while !self.skip_on()? {}
        Ok(())
    }

    /// Moves on towards the next line break by what is in memory: true behind it, or at the end of the file.
    pub(super) fn skip_on(&mut self) -> Result<bool, Error> {
        if let Some(end) = memchr::memchr(b'\n', self.rest()) {
            self.read += end + 1;
            return Ok(true);
        }
        self.read = self.buffer.len();
        Ok(!self.fill()?)
    }

    /// Reads on behind what is left; false at the end of the file. As much again as is left, so that whoever looks at all
    /// of it each time does so for a small multiple of its length.
    pub(super) fn fill(&mut self) -> Result<bool, Error> {
        if let Content::Compressed { lines, counted, .. } = &mut self.content {
            *lines += count_lines(&self.buffer[*counted..self.read]);
            *counted = 0;
        }
        self.buffer.drain(..self.read);
        self.offset += self.read as u64;
        self.read = 0;
        let filled = self.buffer.len();
        let at = self.offset + filled as u64;
        let wanted = CHUNK_BYTES.max(filled);
        let got = match &mut self.content {
            Content::Plain { file, len, .. } => {
                // No further than the file went when it was found: a line that was not complete then is not complete.
                let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
                if left == 0 {
                    return Ok(false);
                }
                self.buffer.resize(filled + wanted.min(left), 0);
                let got = file
                    .read_at(at, &mut self.buffer[filled..])
                    .map_err(Error::file("read", &self.path));
                match got {
                    Ok(0) => Err(Error::Shortened {
                        path: self.path.clone(),
                        expected: *len,
                        found: at,
                    }),
                    got => got,
                }
            }
            Content::Compressed { stream, .. } => {
                self.buffer.resize(filled + wanted, 0);
                stream.read(&mut self.buffer[filled..], &self.path, at)
            }
        };
        self.buffer.truncate(filled + *got.as_ref().unwrap_or(&0));
        Ok(got? > 0)
    }

    /// Moves to an offset; in a compressed file, to one further on.
    pub(super) fn seek(&mut self, at: u64) -> Result<(), Error> {
        if let Content::Compressed { .. } = self.content {
            return self.skip_to(at);
        }
        self.buffer.clear();
        self.read = 0;
        self.offset = at;
        Ok(())
    }

    /// Decompresses up to an offset.
    fn skip_to(&mut self, at: u64) -> Result<(), Error> {
        while self.at() < at {
            let left = usize::try_from(at - self.at()).unwrap_or(usize::MAX);
            self.read += left.min(self.rest().len());
            if self.at() < at && !self.fill()? {
                return Err(Error::Shortened {
                    path: self.path.clone(),
                    expected: at,
                    found: self.at(),
                });
            }
        }
        Ok(())
    }

    /// The number of the line that begins where the window is. Nobody counts lines until somebody asks; then they are
    /// counted on from the last place that is known.
    pub(super) fn line(&mut self, begin: u64, index: &LineIndex) -> Result<u64, Error> {
        let at = self.at();
        match &mut self.content {
            Content::Compressed { lines, counted, .. } => {
                *lines += count_lines(&self.buffer[*counted..self.read]);
                *counted = self.read;
                Ok(*lines + 1)
            }
            Content::Plain { file, counted, .. } => {
                let (from, before) = match *counted {
                    Some(known) => known,
                    None => index.lines_before(&self.path, begin, |from, to| {
                        count_between(&mut **file, &self.path, from, to)
                    })?,
                };
                let lines = before + count_between(&mut **file, &self.path, from, at)?;
                *counted = Some((at, lines));
                Ok(lines + 1)
            }
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// The line breaks in a range of a file.
fn count_between(file: &mut dyn ReadAt, path: &Path, from: u64, to: u64) -> Result<u64, Error> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = from;
    let mut lines = 0;
    while at < to {
        let left = usize::try_from(to - at).unwrap_or(usize::MAX);
        let wanted = left.min(chunk.len());
        match file.read_at(at, &mut chunk[..wanted]) {
            Ok(0) => break,
            Ok(got) => {
                lines += count_lines(&chunk[..got]);
                at += got as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::file("read", path)(error)),
        }
    }
    Ok(lines)
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use std::io::Write;

    use levada_testing::MemoryDisk;

    use super::*;

    /// Somebody asks for each line, so they must not be counted from the beginning of the buffer each time.
    #[test]
    fn every_line_of_a_compressed_file_has_its_number() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let lines = 300_000;
        encoder.write_all(&b"\n".repeat(lines)).unwrap();
        let file = encoder.finish().unwrap();
        let len = file.len() as u64;
        let disk = MemoryDisk::default();
        disk.put("in.gz", file);
        let mut window = Window::open(&disk, Path::new("in.gz"), len, 0).unwrap();
        let index = LineIndex::default();
        for line in 1..=lines as u64 {
            if window.rest().is_empty() {
                assert!(window.fill().unwrap());
            }
            assert_eq!(window.line(0, &index).unwrap(), line);
            window.advance(1);
        }
        assert!(window.rest().is_empty() && !window.fill().unwrap());
        assert_eq!(window.line(0, &index).unwrap(), lines as u64 + 1);
    }
}

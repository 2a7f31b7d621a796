//! One connection that lines come from.

use std::io;
use std::sync::Arc;

use levada_core::net::{Connection, Ready};
use levada_core::{BoxError, Wake};
use levada_runtime::Intake;

use crate::bad_record::BadRecord;
use crate::files::Decode;
use crate::on_error::{ErrorPolicy, Skipped};
use crate::tcp::line::{Line, LineBuffer};

/// How lines become records.
#[derive(Clone, Debug)]
pub(super) struct Decoding<D, P> {
    pub(super) decoder: D,
    pub(super) policy: P,
    pub(super) line_bytes_max: usize,
}

/// The other side, as a source of lines.
pub(super) struct Peer {
    connection: Box<dyn Connection>,
    /// What it is called in errors.
    name: String,
    lines: LineBuffer,
    /// Whether it sends no more.
    ended: bool,
}

/// How far reading from a peer has come.
#[derive(Debug)]
pub(super) enum Heard {
    /// There may be more at once.
    More,
    /// Nothing for now; the waker is woken when that changes.
    Nothing,
    /// The peer has closed its side, and all of its lines have been taken.
    End,
    /// The connection broke.
    Broken(io::Error),
}

impl Peer {
    pub(super) fn new(
        connection: Box<dyn Connection>,
        name: String,
        line_bytes_max: usize,
    ) -> Self {
        Self {
            connection,
            name,
            lines: LineBuffer::new(line_bytes_max),
            ended: false,
        }
    }

    /// Takes the lines that have come, then a chunk and its lines, while there is room.
    pub(super) fn hear<D, P>(
        &mut self,
        intake: &mut impl Intake<P::Out>,
        decoding: &Decoding<D, P>,
        skipped: &Skipped,
        waker: &Arc<dyn Wake>,
    ) -> Result<Heard, BoxError>
    where
        D: Decode,
        P: ErrorPolicy<D::Record>,
    {
        if !self.take_lines(intake, decoding, skipped)? {
            return Ok(Heard::More);
        }
        if self.ended {
            return Ok(Heard::End);
        }
        let connection = &mut self.connection;
        match self.lines.fill(|buffer| connection.read(buffer)) {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(match connection.wake_when(Ready::Read, waker) {
                    Ok(()) => Heard::Nothing,
                    Err(error) => Heard::Broken(error),
                });
            }
            Err(error) => return Ok(Heard::Broken(error)),
        }
        let all = self.take_lines(intake, decoding, skipped)?;
        Ok(if all && self.ended {
            Heard::End
        } else {
            Heard::More
        })
    }

    /// Takes the lines that have come; false if the intake is full before.
    fn take_lines<D, P>(
        &mut self,
        intake: &mut impl Intake<P::Out>,
        decoding: &Decoding<D, P>,
        skipped: &Skipped,
    ) -> Result<bool, BoxError>
    where
        D: Decode,
        P: ErrorPolicy<D::Record>,
    {
        while !intake.is_full() {
            let Some((number, line)) = self.lines.next(self.ended) else {
                return Ok(true);
            };
            let bad = |message: String, at: Option<usize>, text: &[u8]| {
                let bad = BadRecord::new(&self.name, message)
                    .at_line(number)
                    .with_text(text);
                Ok(match at.and_then(|at| text.get(..at)) {
                    Some(before) => {
                        let before = String::from_utf8_lossy(before);
                        bad.at_column(before.chars().count() as u64 + 1)
                    }
                    None => bad,
                })
            };
            let record = match line {
                Line::Whole(line) => match decoding.decoder.decode(line) {
                    Ok(record) => record.map(P::good),
                    Err(fault) => decoding
                        .policy
                        .bad(skipped, || bad(fault.message, fault.at, line))?,
                },
                Line::TooLong(beginning) => decoding.policy.bad(skipped, || {
                    let most = decoding.line_bytes_max;
                    let message = format!(
                        "the line is longer than {most} bytes: raise the limit with `.line_bytes_max(..)`"
                    );
                    bad(message, None, beginning)
                })?,
            };
            if let Some(record) = record {
                intake.push(record);
            }
        }
        Ok(false)
    }

    /// The line that the peer did not finish, as a bad record with this message.
    pub(super) fn unfinished(&self, message: String) -> BadRecord {
        let (number, text) = self.lines.unfinished();
        BadRecord::new(&self.name, message)
            .at_line(number)
            .with_text(text)
    }

    /// Whether a part of a line has come.
    pub(super) fn is_within_a_line(&self) -> bool {
        !self.lines.unfinished().1.is_empty()
    }

    /// The number of the line that comes next.
    pub(super) fn line(&self) -> u64 {
        self.lines.unfinished().0
    }
}

//! How keyed state becomes rows of a snapshot, a slice at a time.

use std::ops::Range;

use levada_core::KeyGroup;
use levada_core::codec::CodecError;
use serde::Serialize;

use crate::error::StateError;
use crate::hands::Hands;
use crate::memory::Measuring;

/// What a snapshot wants of a state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Saving {
    /// The number of the checkpoint. It grows from one that is begun to the next.
    pub checkpoint: u64,
    /// The checkpoint from which on changes are wanted; all of the state if none. It is one that is confirmed.
    pub base: Option<u64>,
    /// The last checkpoint that is confirmed: no later one will want changes from before it.
    pub confirmed: Option<u64>,
}

/// What a row says about its key group, in its part of an operator's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum RowKind {
    /// This is all there is: what was said before does not count.
    Whole = 0,
    /// This is there, in the place of what was said about it before.
    Put = 1,
    /// This is gone.
    Delete = 2,
}

impl RowKind {
    /// The kind of a number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        [Self::Whole, Self::Put, Self::Delete]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Slices that may be longer than this grow as they are written.
const ROOM_MAX: usize = 1 << 20;

/// What a row takes, about.
const ROW_BYTES: usize = 40;

/// Room for the row with which a slice ends.
const LAST_ROW_BYTES: usize = 1 << 10;

/// Rows of key groups in any order, up to the end of a slice.
///
/// A row is its group (u16), its part (u16), its kind (u8), its length (u32) and its bytes.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    count: u64,
    part: u16,
    /// The bytes at which the slice ends.
    full_at: usize,
}

impl Rows {
    /// Bytes before those of a row.
    pub const HEADER_BYTES: usize = 9;

    /// No rows, and room for a slice of so many bytes.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            count: 0,
            part: 0,
            full_at: bytes,
        }
    }

    /// Makes room for about so many rows at once, if there are none yet, but for no more than the slice takes.
    pub(crate) fn expect(&mut self, rows: u64) {
        if self.bytes.is_empty() && self.full_at <= ROOM_MAX {
            let room = usize::try_from(rows).map_or(self.full_at, |rows| {
                rows.saturating_mul(ROW_BYTES).min(self.full_at)
            });
            self.bytes.reserve(room + LAST_ROW_BYTES);
        }
    }

    /// No rows, for rows of one part that are appended to others later.
    pub(crate) fn for_part(part: u16) -> Self {
        Self {
            part,
            ..Self::with_room(usize::MAX)
        }
    }

    /// Of which part the next rows are.
    pub(crate) fn part(&self) -> u16 {
        self.part
    }

    /// Says of which part of an operator's state the next rows are.
    pub fn set_part(&mut self, part: u16) {
        self.part = part;
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If it cannot be encoded; nothing is added then.
    pub fn add(
        &mut self,
        group: KeyGroup,
        kind: RowKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<(), StateError> {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&group.0.to_le_bytes());
        self.bytes.extend_from_slice(&self.part.to_le_bytes());
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(&[0; 4]);
        let written = write(&mut self.bytes).and_then(|()| {
            let length = self.bytes.len() - begin - Self::HEADER_BYTES;
            u32::try_from(length).map_err(|_| CodecError::too_large(length as u64))
        });
        match written {
            Ok(length) => {
                self.bytes[begin + 5..begin + Self::HEADER_BYTES]
                    .copy_from_slice(&length.to_le_bytes());
                self.count += 1;
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(begin);
                Err(StateError::new(group, error))
            }
        }
    }

    /// Adds rows that were written elsewhere, by [`Rows::add`] for the same part.
    pub fn append(&mut self, rows: &mut Self) {
        self.count += std::mem::take(&mut rows.count);
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, &mut rows.bytes);
        } else {
            self.bytes.append(&mut rows.bytes);
        }
    }

    /// Whether the slice is over.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= self.full_at
    }

    /// The rows so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that they take in memory.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.bytes.capacity() as u64
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the rows out.
    pub fn take(&mut self) -> Vec<u8> {
        self.count = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// A row that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row<'a> {
    /// The key group.
    pub group: KeyGroup,
    /// The part of the operator's state.
    pub part: u16,
    /// What it says.
    pub kind: RowKind,
    /// About what.
    pub bytes: &'a [u8],
}

/// The rows in the bytes that [`Rows`] made.
///
/// # Errors
/// If the bytes are no such rows.
pub fn rows_in(mut bytes: &[u8]) -> impl Iterator<Item = Result<Row<'_>, StateError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let row = next_row(&mut bytes);
        if row.is_none() {
            bytes = &[];
        }
        Some(row.ok_or_else(|| StateError::of_operator(CodecError::damaged("a row is damaged"))))
    })
}

fn next_row<'a>(bytes: &mut &'a [u8]) -> Option<Row<'a>> {
    let (header, rest) = bytes.split_at_checked(Rows::HEADER_BYTES)?;
    let length = u32::from_le_bytes(header[5..9].try_into().ok()?) as usize;
    let (row, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(Row {
        group: KeyGroup(u16::from_le_bytes([header[0], header[1]])),
        part: u16::from_le_bytes([header[2], header[3]]),
        kind: RowKind::of(header[4])?,
        bytes: row,
    })
}

/// State that is kept per key group, and is saved a slice at a time.
///
/// A snapshot is of the moment at which it is begun. What the state does not write at once it writes with later calls of
/// [`save`](KeyedState::save), between which it may change: what is about to change and has not been written is written
/// before.
pub trait KeyedState {
    /// The key groups that are kept here.
    fn owned(&self) -> Range<u16>;

    /// Begins to save. The snapshot before it is complete, or given up.
    ///
    /// # Errors
    /// If a key or value cannot be encoded.
    fn begin(&mut self, saving: &Saving, rows: &mut Rows) -> Result<(), StateError>;

    /// Writes more, about as much as there is room for; true when all is written.
    ///
    /// # Errors
    /// If a key or value cannot be encoded.
    fn save(&mut self, rows: &mut Rows) -> Result<bool, StateError>;

    /// Says how much a part will hold, about, when all of its rows have been read, so that room can be made at once.
    fn reserve(&mut self, part: u16, rows: usize) {
        let _ = (part, rows);
    }

    /// The part whose rows are read before all others, since they say which of these count.
    fn first_part(&self) -> Option<u16> {
        None
    }

    /// Takes a row. But for the first part, parts and groups come in any order, the rows of a part and group in the order in which they were written,
    /// and none before the last [`RowKind::Whole`].
    ///
    /// # Errors
    /// If the bytes are no row of this state.
    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError>;

    /// Takes rows one after the other, as [`read`](KeyedState::read) does; many at once take less time, and less still with the
    /// help of others.
    ///
    /// # Errors
    /// As there; it is not known then which of the others have been taken.
    fn read_all(&mut self, rows: &[Row<'_>], hands: &dyn Hands) -> Result<(), StateError> {
        let _ = hands;
        rows.iter().try_for_each(|row| self.read(row))
    }

    /// The bytes that it takes in memory: exactly what tables have allocated, about what their entries own on the heap. Some
    /// of these are measured anew, as many as `measuring` allows.
    fn memory(&mut self, measuring: &mut Measuring) -> u64;

    /// A row that says what is there, for people: its key and value as JSON. None for a row that is not kept by key.
    fn show(&self, row: &Row<'_>) -> Option<String> {
        let _ = row;
        None
    }
}

/// A key and its value as JSON, or why there is none.
#[must_use]
pub fn show_entry<K: Serialize, V: Serialize>(entry: Result<(K, V), CodecError>) -> Option<String> {
    let (key, value) = match entry {
        Ok(entry) => entry,
        Err(error) => return Some(format!("{{\"error\":{:?}}}", error.to_string())),
    };
    let text = |json: Result<String, serde_json::Error>| {
        json.unwrap_or_else(|error| format!("{:?}", format!("no JSON: {error}")))
    };
    Some(format!(
        "{{\"key\":{},\"value\":{}}}",
        text(serde_json::to_string(&key)),
        text(serde_json::to_string(&value))
    ))
}

/// State that is so small that it is saved at once.
pub trait WholeState {
    /// The key groups that are kept here.
    fn owned(&self) -> Range<u16>;

    /// Appends the state of each owned group to its bytes, which come in the order of the groups.
    ///
    /// # Errors
    /// If a key or value cannot be encoded.
    fn write(&self, groups: &mut [Vec<u8>]) -> Result<(), StateError>;

    /// Adds the state of a group, as [`WholeState::write`] wrote it.
    ///
    /// # Errors
    /// If the bytes are not such a state.
    fn read_group(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<(), StateError>;

    /// The bytes that it takes in memory, if they are worth counting.
    fn memory(&self) -> u64 {
        0
    }
}

impl<S: WholeState> KeyedState for S {
    fn owned(&self) -> Range<u16> {
        WholeState::owned(self)
    }

    fn begin(&mut self, _: &Saving, rows: &mut Rows) -> Result<(), StateError> {
        let owned = WholeState::owned(self);
        let mut written = vec![Vec::new(); owned.len()];
        self.write(&mut written)?;
        for (group, bytes) in owned.zip(written) {
            rows.add(KeyGroup(group), RowKind::Whole, |row| {
                row.extend_from_slice(&bytes);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn save(&mut self, _: &mut Rows) -> Result<bool, StateError> {
        Ok(true)
    }

    fn read(&mut self, row: &Row<'_>) -> Result<(), StateError> {
        if row.kind != RowKind::Whole {
            let damaged = CodecError::damaged("a change of state that is saved as a whole");
            return Err(StateError::new(row.group, damaged));
        }
        self.read_group(row.group, row.bytes)
    }

    fn memory(&mut self, _: &mut Measuring) -> u64 {
        WholeState::memory(self)
    }
}

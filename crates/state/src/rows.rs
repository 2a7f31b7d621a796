//! Rows of several key groups, written in any order.

use std::ops::Range;

use levada_core::KeyGroup;
use levada_core::codec::CodecError;

use crate::error::StateError;

/// Writes a row of a group.
pub type Add<'a> = dyn FnMut(KeyGroup, &dyn Fn(&mut Vec<u8>) -> Result<(), CodecError>) -> Result<(), StateError>
    + 'a;

/// Appends rows to the bytes of their groups, with the number of each group's (u64) before them.
///
/// # Errors
/// If a row cannot be encoded.
pub fn write_rows(
    owned: &Range<u16>,
    groups: &mut [Vec<u8>],
    write: impl FnOnce(&mut Add<'_>) -> Result<(), StateError>,
) -> Result<(), StateError> {
    let begins: Vec<_> = groups.iter().map(Vec::len).collect();
    for bytes in &mut *groups {
        bytes.extend_from_slice(&[0; 8]);
    }
    let mut counts = vec![0u64; groups.len()];
    write(&mut |group, row| {
        let place = usize::from(group.0 - owned.start);
        counts[place] += 1;
        row(&mut groups[place]).map_err(|error| StateError::new(group, error))
    })?;
    for ((bytes, begin), count) in groups.iter_mut().zip(begins).zip(counts) {
        bytes[begin..begin + 8].copy_from_slice(&count.to_le_bytes());
    }
    Ok(())
}

//! What is in a checkpoint, counted without the program that wrote it.

use std::collections::BTreeMap;

use levada_state::rows_in;
use serde::Serialize;

use crate::archive::Archive;
use crate::block::BlockKind;
use crate::error::CheckpointError;
use crate::manifest::Manifest;

/// The blocks of one kind and one operator or edge.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Contents {
    /// The operator or edge.
    pub name: String,
    /// What they hold.
    pub kind: BlockKind,
    /// How many there are.
    pub blocks: u64,
    /// The bytes of their payloads.
    pub bytes: u64,
    /// The rows in them, if they hold keyed state: what was written, so a row that was changed later counts again.
    pub rows: Option<u64>,
}

impl Archive {
    /// Counts what is in a checkpoint, by name and kind. Looks at every byte of it.
    ///
    /// # Errors
    /// If anything is missing or damaged, or keyed state is not made of rows.
    pub fn contents(&self, manifest: &Manifest) -> Result<Vec<Contents>, CheckpointError> {
        let mut counted = BTreeMap::<(String, BlockKind), Contents>::new();
        self.load(manifest, |block| {
            let key = (block.name.to_owned(), block.kind);
            let contents = counted.entry(key).or_insert_with(|| Contents {
                name: block.name.to_owned(),
                kind: block.kind,
                blocks: 0,
                bytes: 0,
                rows: (block.kind == BlockKind::Keyed).then_some(0),
            });
            contents.blocks += 1;
            contents.bytes += block.payload.len() as u64;
            if let Some(rows) = &mut contents.rows {
                for row in rows_in(block.payload) {
                    row?;
                    *rows += 1;
                }
            }
            Ok(())
        })?;
        Ok(counted.into_values().collect())
    }
}

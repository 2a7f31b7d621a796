//! Checkpoints with a content that follows from their number, so that what is loaded can be told from what was written.

#![allow(
    dead_code,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "each test uses a part of this, and what is not there fails it"
)]

use std::path::Path;
use std::sync::Arc;

use levada_checkpoint::{
    Archive, Block, BlockKind, CheckpointError, CheckpointKind, Directory, EdgeEntry, FileEntry,
    JobEntry, Manifest, OperatorEntry, OperatorKind, StateEntry, TypeEntry,
};
use levada_core::KeyGroup;
use levada_core::disk::Disk;
use levada_state::{RowKind, Rows};
use levada_testing::MemoryDisk;

pub const DIR: &str = "/checkpoints";
pub const RUN: &str = "r5";

/// The rows of checkpoint `number`: all of them, or a change.
fn rows(number: u64, kind: RowKind) -> Vec<u8> {
    let mut rows = Rows::with_room(usize::MAX);
    for group in 0..3 {
        let value = number * 100 + u64::from(group);
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&value.to_le_bytes());
            Ok(())
        };
        rows.add(KeyGroup(group), kind, write).unwrap();
    }
    rows.take()
}

/// The blocks that belong to checkpoint `number`, by name and payload.
pub fn blocks(number: u64, kind: RowKind) -> Vec<(BlockKind, &'static str, u32, u32, Vec<u8>)> {
    let text = |what: &str| format!("{what} of checkpoint {number}").into_bytes();
    vec![
        (BlockKind::Source, "bids", 0, 2, text("offset 17")),
        (BlockKind::Source, "bids", 1, 2, text("offset 23")),
        (BlockKind::Splits, "bids", 0, 2, Vec::new()),
        (
            BlockKind::Channel,
            "bids -> revenue #1",
            0,
            1,
            text("three records"),
        ),
        (BlockKind::Keyed, "revenue", 0, 2, rows(number, kind)),
        (BlockKind::Operator, "revenue", 1, 2, text("a list")),
        (BlockKind::Input, "revenue", 1, 2, text("a watermark")),
        (BlockKind::Sink, "out", 0, 1, text("a part")),
        (BlockKind::Finished, "bids", 1, 2, Vec::new()),
    ]
}

pub fn write_data(
    directory: &Directory,
    number: u64,
    kind: RowKind,
) -> Result<FileEntry, CheckpointError> {
    let mut file = directory.create(number, RUN, 1)?;
    for (kind, name, from, to, payload) in &blocks(number, kind) {
        file.append(&Block {
            kind: *kind,
            name,
            from: *from,
            to: *to,
            payload,
        })?;
    }
    file.finish()
}

pub fn manifest(number: u64, files: Vec<FileEntry>) -> Manifest {
    let type_of = |name: &str, fields: &str| TypeEntry {
        name: name.to_owned(),
        fields: fields.to_owned(),
    };
    let types = [
        ("key".to_owned(), type_of("u64", "u64")),
        (
            "value".to_owned(),
            type_of("hot_items::Revenue", "{sum, count}"),
        ),
    ];
    let operator = |name: &str, kind, parallelism| OperatorEntry {
        name: name.to_owned(),
        kind,
        parallelism,
        state: None,
        finished: Vec::new(),
        watermark: None,
        keyed_rows: 0,
        keyed_bytes: 0,
    };
    Manifest {
        number,
        kind: CheckpointKind::Checkpoint,
        run: RUN.to_owned(),
        attempt: 1,
        created: 1_795_458_623_421,
        job: JobEntry {
            name: "hot_items".to_owned(),
            fingerprint: "8f1c30d5".to_owned(),
        },
        key_groups: 128,
        table_seed: None,
        operators: vec![
            OperatorEntry {
                finished: vec![1],
                ..operator("bids", OperatorKind::Source, 2)
            },
            OperatorEntry {
                state: Some(StateEntry {
                    version: 1,
                    types: types.into(),
                }),
                watermark: Some(1_795_458_620_000),
                keyed_rows: 3,
                keyed_bytes: 51,
                ..operator("revenue", OperatorKind::Operator, 2)
            },
            operator("out", OperatorKind::Sink, 1),
        ],
        edges: vec![EdgeEntry {
            name: "bids -> revenue #1".to_owned(),
            producers: 2,
            consumers: 2,
            records: 3,
            bytes: 64,
            record: None,
        }],
        files,
    }
}

/// Writes a checkpoint: a whole one, or one that is based on the files of another.
pub fn write(
    directory: &Directory,
    number: u64,
    base: Option<&Manifest>,
) -> Result<Manifest, CheckpointError> {
    let kind = match base {
        Some(_) => RowKind::Put,
        None => RowKind::Whole,
    };
    let mut files = base.map_or_else(Vec::new, |base| base.files.clone());
    files.push(write_data(directory, number, kind)?);
    let manifest = manifest(number, files);
    let published = directory.publish(&manifest)?;
    assert_eq!(published.syncs, 3);
    Ok(manifest)
}

/// Loads a checkpoint and compares every block with what was written.
pub fn load(archive: &Archive, manifest: &Manifest) -> Result<usize, CheckpointError> {
    let chain = manifest.chain();
    let expected: Vec<_> = chain
        .iter()
        .enumerate()
        .flat_map(|(place, number)| {
            let kind = match place {
                0 => RowKind::Whole,
                _ => RowKind::Put,
            };
            blocks(*number, kind)
        })
        .collect();
    let mut loaded = Vec::new();
    archive.load(manifest, |block| {
        let name = expected.iter().map(|block| block.1);
        let name = name.into_iter().find(|name| *name == block.name);
        let name = name.ok_or("a block of a name that was never written")?;
        loaded.push((
            block.kind,
            name,
            block.from,
            block.to,
            block.payload.to_vec(),
        ));
        Ok(())
    })?;
    assert_eq!(loaded, expected, "checkpoint {} is wrong", manifest.number);
    Ok(loaded.len())
}

pub fn open(disk: &MemoryDisk) -> Result<Directory, CheckpointError> {
    Directory::open(Arc::new(disk.clone()), DIR)
}

pub fn archive(disk: &MemoryDisk) -> Archive {
    Archive::new(Arc::new(disk.clone()), DIR)
}

/// The names of the files in the directory.
pub fn names(disk: &MemoryDisk) -> Vec<String> {
    let paths = disk.list(Path::new(DIR)).unwrap();
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.into_iter().map(name).collect()
}

//! The files of checkpoints and savepoints: blocks, manifests, publication, retention, verification.
//!
//! A [`Directory`] is open for the one job that writes there; an [`Archive`] reads and needs no lock. What is in a
//! [`Block`] only its writer knows. The formats are in `docs/formats.md`.
//!
//! What it does not do: it has no thread, reads no clock, and never decides when a checkpoint is made.
//!
//! ```
//! use std::sync::Arc;
//!
//! use levada_checkpoint::{
//!     Archive, Block, BlockKind, CheckpointKind, Directory, JobEntry, Manifest,
//! };
//! use levada_testing::MemoryDisk;
//!
//! let disk = Arc::new(MemoryDisk::default());
//! let directory = Directory::open(disk.clone(), "/checkpoints")?;
//! let mut file = directory.create(1, "run", 1)?;
//! file.append(&Block {
//!     kind: BlockKind::Source,
//!     name: "bids",
//!     from: 0,
//!     to: 1,
//!     payload: b"offset 17",
//! })?;
//! let manifest = Manifest {
//!     number: 1,
//!     kind: CheckpointKind::Checkpoint,
//!     run: "run".to_owned(),
//!     attempt: 1,
//!     created: 0,
//!     job: JobEntry {
//!         name: "hot items".to_owned(),
//!         fingerprint: "1f".to_owned(),
//!     },
//!     key_groups: 128,
//!     table_seed: None,
//!     operators: Vec::new(),
//!     edges: Vec::new(),
//!     files: vec![file.finish()?],
//! };
//! let published = directory.publish(&manifest)?;
//! assert_eq!(published.syncs, 3);
//!
//! let archive = Archive::new(disk, "/checkpoints");
//! let latest = archive.latest_complete()?.manifest.expect("there is one");
//! archive.load(&latest, |block| {
//!     assert_eq!(block.payload, b"offset 17");
//!     Ok(())
//! })?;
//! # Ok::<(), levada_checkpoint::CheckpointError>(())
//! ```

mod archive;
mod block;
mod block_reader;
mod contents;
mod data_file;
mod directory;
mod error;
mod manifest;
mod name;

pub use archive::{Archive, Found, Latest};
pub use block::{BLOCKS_VERSION, Block, BlockKind, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use block_reader::{BlockFile, Place};
pub use contents::Contents;
pub use data_file::DataFile;
pub use directory::{Directory, Published};
pub use error::CheckpointError;
pub use manifest::{
    CheckpointKind, EdgeEntry, FileEntry, JobEntry, MANIFEST_VERSION, Manifest, OperatorEntry,
    OperatorKind, StateEntry, TypeEntry,
};
pub use name::RUN_BYTES_MAX;

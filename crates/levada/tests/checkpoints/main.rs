//! Checkpoints and savepoints: what is saved, when, and what goes on from it.

#[path = "../common/dense.rs"]
mod dense;
mod edges;
mod export;
mod files;
mod held_up;
mod restarts;
mod savepoints;
mod schedule;
mod source_commit;
mod stories;
mod story;
mod versions;

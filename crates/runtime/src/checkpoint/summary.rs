//! What there is to say about checkpoints.

use std::path::PathBuf;

use serde::Serialize;

/// A checkpoint that is complete.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointSummary {
    /// Its number.
    pub number: u64,
    /// Where its manifest is.
    pub path: PathBuf,
    /// From the trigger to the last task that has saved its part, in nanoseconds: syncs apart.
    pub saved_nanos: u64,
    /// From the trigger until it was durable, in nanoseconds.
    pub durable_nanos: u64,
    /// How long the syncs took, one after the other, in nanoseconds.
    pub sync_nanos: u64,
    /// How many they were.
    pub syncs: u32,
    /// Bytes that were written for it.
    pub bytes: u64,
    /// Bytes of them that were in flight.
    pub in_flight_bytes: u64,
    /// Records that were in flight.
    pub in_flight_records: u64,
    /// Tasks in which the barrier overtook records.
    pub overtaken: usize,
    /// How many it needs, itself included.
    pub chain: usize,
}

/// What is counted of checkpoints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckpointMetrics {
    /// How many are complete.
    pub completed: u64,
    /// How many failed or were given up.
    pub failed: u64,
    /// The last one that is complete.
    pub last: Option<CheckpointSummary>,
    /// The longest time from a trigger to the last task, in nanoseconds.
    pub saved_nanos_max: u64,
    /// The longest time from a trigger until it was durable, in nanoseconds.
    pub durable_nanos_max: u64,
    /// The most bytes that ever waited for the disk.
    pub queue_bytes_max: u64,
    /// The checkpoint that the job went on from.
    pub restored: Option<u64>,
    /// Whether the job has stopped at the last one, as it was asked to.
    pub stopped: bool,
}

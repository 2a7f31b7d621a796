//! Faults planted on purpose, so that the tests can be seen to catch them.
//!
//! A fault exists only in a build with `--cfg fault`, where the environment variable `LEVADA_FAULT` names the one that
//! is on. In every other build [`fault!`](crate::fault!) is the constant `false` and leaves no code behind.

/// Whether the fault of that name is on: `fault!("lost-wakeup")`.
#[macro_export]
macro_rules! fault {
    ($name:literal) => {{
        const _: () = assert!(
            $crate::fault::is_listed($name),
            "list the fault in levada_core::fault::FAULTS"
        );
        cfg!(fault) && $crate::fault::is_on($name)
    }};
}

/// Every fault that can be planted, with what it breaks.
pub const FAULTS: &[(&str, &str)] = &[
    (
        "lost-wakeup",
        "a task that is woken while it runs goes to sleep all the same",
    ),
    (
        "surplus-unseen",
        "a worker with more than one runnable task does not wake a sleeping one",
    ),
    (
        "wake-forgotten",
        "a producer that waits for a credit is not woken when it comes",
    ),
    ("credit-leaked", "a recycled buffer grants nobody a credit"),
    (
        "credit-doubled",
        "a recycled buffer grants its channel two credits",
    ),
    (
        "batch-returned-twice",
        "the consumer gives the same batch back two times",
    ),
    (
        "room-ignored",
        "the input loop pushes on although the chain said that it is full",
    ),
    (
        "intake-overfilled",
        "a reader pushes on although the chain behind it said that it is full",
    ),
    (
        "position-lost",
        "a batch that was left half-way is read again from its beginning",
    ),
    (
        "end-overtakes",
        "the end of a channel is delivered before its last batches",
    ),
    (
        "queue-unsaved",
        "a barrier that overtakes forgets what its sender has not delivered",
    ),
    (
        "hand-batch-unsaved",
        "a barrier that overtakes forgets the batch in the hand of the receiver",
    ),
    (
        "barrier-early",
        "a task takes its snapshot with the first barrier, before the others have come",
    ),
    (
        "watermark-unsaved",
        "a snapshot leaves out how far an operator was in event time",
    ),
    (
        "cursor-unsaved",
        "a snapshot leaves out how many rows a record of a join has met",
    ),
    (
        "position-off-by-one",
        "a restored source goes on one record too far",
    ),
    (
        "commit-early",
        "sinks commit before the checkpoint is complete",
    ),
    (
        "call-unsaved",
        "a snapshot leaves out the records of calls that run",
    ),
    (
        "copy-unread",
        "a restored subtask begins without the broadcast state",
    ),
    (
        "copies-united",
        "of several copies of broadcast state one stays before what was in flight has been replayed",
    ),
    (
        "hand-unsaved",
        "a snapshot leaves out the record of a join that has not met all its rows",
    ),
    (
        "tombstone-dropped",
        "a snapshot of changes says nothing of keys that were removed",
    ),
    (
        "changed-unwritten",
        "an entry that changes while a snapshot is written is not written before",
    ),
    (
        "change-unmarked",
        "a snapshot of changes does not look at an entry that has changed",
    ),
    (
        "flush-forgotten",
        "a batch that is not full is not sealed at its timeout",
    ),
    (
        "data-unsynced",
        "a file of a checkpoint is finished without a sync",
    ),
    (
        "manifest-unsynced",
        "a manifest is renamed into place without a sync",
    ),
    (
        "names-unsynced",
        "a manifest is renamed into place before the names of its files are durable",
    ),
    (
        "directory-unsynced",
        "a checkpoint counts before its directory is synced",
    ),
    (
        "part-unsynced",
        "a part is prepared although it is not on the disk",
    ),
    (
        "commit-not-idempotent",
        "a part that has been committed cannot be committed again",
    ),
];

/// Whether a name is in [`FAULTS`]; evaluated at compile time by the macro.
#[must_use]
pub const fn is_listed(name: &str) -> bool {
    let mut i = 0;
    while i < FAULTS.len() {
        if equal(FAULTS[i].0.as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether the environment names this fault; asked only in builds with `--cfg fault`.
#[must_use]
pub fn is_on(name: &str) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    PLANTED
        .get_or_init(|| std::env::var("LEVADA_FAULT").ok())
        .as_deref()
        == Some(name)
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fault_is_off_unless_it_is_planted() {
        assert!(!fault!("lost-wakeup") || cfg!(fault));
        assert!(!super::is_listed("no such fault"));
    }
}

//! Disks on which checkpoints cannot be taken.

use crate::checks::checkpoints::Row;

/// Before the job begins.
pub(super) const BEFORE: &[Row] = &[
    Row {
        what: "no permission in the directory",
        harm: |disk| {
            disk.put("/checkpoints/of-others.txt", "");
            disk.forbid("/checkpoints");
        },
        expected: &["cannot lock /checkpoints", "permission denied"],
    },
    Row {
        what: "no permission where the directory is to be made",
        harm: |disk| {
            disk.put("/of-others.txt", "");
            disk.forbid("/");
        },
        expected: &["cannot create /checkpoints", "permission denied"],
    },
    Row {
        what: "a file where the directory should be",
        harm: |disk| disk.put("/checkpoints", "mine"),
        expected: &["/checkpoints"],
    },
];

/// While it runs.
pub(super) const WHILE: &[Row] = &[
    Row {
        what: "a disk that is full for a while",
        harm: |disk| disk.fill_after(0),
        expected: &["/checkpoints/", "no storage space"],
    },
    Row {
        what: "a disk that cannot sync",
        harm: |disk| disk.fail_syncs_after(0),
        expected: &["cannot sync /checkpoints/", ": the device has failed"],
    },
    Row {
        what: "the directory is removed while the job runs",
        harm: |disk| disk.remove_dir("/checkpoints"),
        expected: &["cannot create /checkpoints/data-", "entity not found"],
    },
];

//! What goes wrong with a log, and what its user is told.

use levada::{Job, Result};

use crate::log as rows;
use crate::world::World;

/// A job that goes wrong: its name, what is done to a good log before, the job, and what the message must hold.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) world: fn(&World),
    pub(crate) job: fn(&Job) -> Result,
    pub(crate) expected: &'static [&'static str],
}

#[test]
fn every_bad_input_fails_with_a_message_that_names_it() {
    for row in rows::ROWS {
        for seed in 0..8 {
            let world = World::new(seed);
            world.append(0..40, |sink| sink.segment_bytes_max(500));
            (row.world)(&world);
            let ends = world.disk.get("orders/ends.json");
            let consumers = world.disk.get("orders/consumers/billing.json");
            let what = format!("{}, seed {seed}", row.what);
            let message = world.simulation().failure(row.job).expect(&what);
            for part in row.expected {
                assert!(
                    message.contains(part),
                    "{what}: `{part}` is not in: {message}"
                );
            }
            assert!(
                message.contains("bad_input/log.rs:"),
                "{what}: no line in: {message}"
            );
            // Nothing was published, and nobody has gone on.
            assert_eq!(world.disk.get("orders/ends.json"), ends, "{what}");
            assert_eq!(
                world.disk.get("orders/consumers/billing.json"),
                consumers,
                "{what}"
            );
        }
    }
}

#[test]
fn there_are_enough_rows_and_the_documentation_has_them() {
    let listed = include_str!("../../../../../docs/bad-input/log.md");
    assert!(rows::ROWS.len() >= 20);
    for row in rows::ROWS {
        assert!(
            listed.contains(row.what),
            "docs/bad-input/log.md does not list: {}",
            row.what
        );
    }
}

//! Peers that do not do what they should, and what the user is told. What clients of an HTTP source are told is a table of
//! its own, in `http.rs`.

use levada::Runner;
use levada_testing::Simulation;

use crate::network::{Row, rows};

/// Runs a row under a few seeds: the job must fail, and the message must hold everything that is expected, the name of the
/// operator and its line in the program.
fn check(row: &Row) -> Result<(), String> {
    for seed in 0..6 {
        let simulation = Simulation::new(seed).runner(Runner::new().force_exchange());
        (row.world)(simulation.network());
        let Some(message) = simulation.failure(row.job) else {
            return Err(format!("seed {seed}: the job does not fail"));
        };
        for part in row.expected.iter().chain(&["bad_input/network.rs:"]) {
            if !message.contains(part) {
                return Err(format!("seed {seed}: `{part}` is not in: {message}"));
            }
        }
    }
    Ok(())
}

#[test]
fn every_row_of_the_table_fails_with_its_message() {
    let rows = rows();
    assert!(rows.len() >= 15, "{} rows", rows.len());
    let wrong: Vec<_> = rows
        .iter()
        .filter_map(|row| Some(format!("{}: {}", row.what, check(row).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! Programs and records that an operator cannot work with: each row of the table fails the job, names the operator and its
//! line, and gives back every buffer.

use levada::{Job, Result, Runner};
use levada_testing::Simulation;

use crate::operators;

/// A job that must fail.
pub(crate) struct Row {
    /// What is wrong, as in `docs/bad-input/operators.md`.
    pub(crate) what: &'static str,
    pub(crate) job: fn(&Job) -> Result,
    /// What the message says, all of it.
    pub(crate) expected: &'static [&'static str],
}

fn check(row: &Row, force_exchange: bool, seed: u64) -> std::result::Result<(), String> {
    let runner = if force_exchange {
        Runner::new().force_exchange()
    } else {
        Runner::new()
    };
    let mut simulation = Simulation::new(seed).runner(runner);
    if !force_exchange {
        simulation = simulation.parallelism(1);
    }
    let Some(message) = simulation.failure(row.job) else {
        return Err("the job does not fail".to_owned());
    };
    for part in row.expected.iter().chain(&["bad_input/operators.rs:"]) {
        if !message.contains(part) {
            return Err(format!("`{part}` is not in: {message}"));
        }
    }
    Ok(())
}

#[test]
fn every_row_fails_with_its_message_with_and_without_exchanges() {
    let mut wrong = Vec::new();
    for row in operators::ROWS {
        for seed in 0..6 {
            for force_exchange in [true, false] {
                if let Err(message) = check(row, force_exchange, seed) {
                    wrong.push(format!("{}, seed {seed}: {message}", row.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_in_the_documentation_is_this_one() {
    let page = include_str!("../../../../../docs/bad-input/operators.md");
    for row in operators::ROWS {
        assert!(
            page.contains(&format!("| {} |", row.what)),
            "`{}` is not in docs/bad-input/operators.md",
            row.what
        );
    }
}

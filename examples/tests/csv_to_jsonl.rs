//! The CSV example: every row comes out, as JSON or with what is wrong with it.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::env;
use std::fs;
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let test = env::current_exe().unwrap();
    let binary = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/csv_to_jsonl");
    assert!(binary.exists(), "build it with `cargo build --examples`");
    Command::new(binary).args(args).output().unwrap()
}

const ORDERS: [&str; 5] = [
    r#"{"id":1,"customer":"Ana","item":"lamp","total":39.8}"#,
    r#"{"id":2,"customer":"Sousa; Filhos","item":"vase","total":45.0}"#,
    r#"{"id":3,"customer":"Rui","item":"shelf,\noak","total":120.5}"#,
    r#"{"id":5,"customer":"Beatriz","item":"chair \"Lido\"","total":316.0}"#,
    r#"{"id":7,"customer":"Rui","item":"lamp","total":19.9}"#,
];

const REJECTED: [&str; 2] = [
    "data/orders.csv, line 7, column 11: the field `pieces` is `two`: invalid digit found in string",
    "data/orders.csv, line 9, column 14: the field `price` is missing: the row ends after 4 of 5 fields",
];

#[test]
fn good_rows_become_json_and_bad_ones_are_named() {
    let output = run(&[]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let (rejected, orders): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
    assert_eq!(orders, ORDERS);
    assert_eq!(rejected.len(), 2);
    for (line, expected) in rejected.iter().zip(REJECTED) {
        assert!(line.ends_with(expected), "{line}");
    }
}

#[test]
fn the_orders_can_go_into_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let output = run(&["--output", out.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    let parts: Vec<_> = fs::read_dir(out)
        .unwrap()
        .map(|part| part.unwrap().path())
        .collect();
    let text: String = parts
        .iter()
        .map(|part| fs::read_to_string(part).unwrap())
        .collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), ORDERS);
}

//! A short campaign of kills. A long one is `cargo run --release -p levada-testing --bin kill_campaign`.

use std::process::Command;

#[test]
fn twenty_kills_lose_and_repeat_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_kill_campaign"))
        .args(["--kills", "20", "--seed", "2"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    let count = |what: &str| -> u64 {
        let line = told.lines().find(|line| line.ends_with(what)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert!(count(" kills") >= 20, "{told}");
    assert!(count(" restores") > 0, "{told}");
    assert!(count(" of them with records in flight") > 0, "{told}");
}

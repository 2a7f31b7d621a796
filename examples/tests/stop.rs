//! A job program that gets SIGTERM stops at a last checkpoint, and goes on from it.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `cargo test` builds the examples beside the tests.
fn binary() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let binary = profile.join("examples/word_count");
    assert!(binary.exists(), "build it with `cargo build --examples`");
    binary
}

fn rows_in(dir: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for part in fs::read_dir(dir).unwrap() {
        let text = fs::read_to_string(part.unwrap().path()).unwrap();
        rows.extend(text.lines().map(str::to_owned));
    }
    rows.sort_unstable();
    rows
}

fn word_count(out: &Path, parallelism: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(["-p", parallelism, "--output"]).arg(out);
    command
}

#[test]
fn sigterm_takes_a_last_checkpoint_and_the_job_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, out) = (dir.path().join("plain"), dir.path().join("out"));
    let checkpoints = dir.path().join("checkpoints");
    let output = word_count(&plain, "2").output().unwrap();
    assert!(output.status.success());

    // So slow that it would take minutes; no checkpoint by itself but one in the beginning.
    let mut child = word_count(&out, "2")
        .arg("--checkpoint-dir")
        .arg(&checkpoints)
        .args(["--checkpoint-every", "200ms", "--throttle", "200"])
        .args(["--log", "debug"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("checkpoint 1 is complete") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it has ended");
    }
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("stopped at a checkpoint after "), "{rest}");

    let output = word_count(&out, "3")
        .arg("--checkpoint-dir")
        .arg(&checkpoints)
        .args(["--from", "latest"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("goes on from checkpoint "), "{stderr}");
    let (found, expected) = (rows_in(&out), rows_in(&plain));
    assert!(expected.len() > 10_000);
    assert!(
        found == expected,
        "{} rows instead of {}",
        found.len(),
        expected.len()
    );
}

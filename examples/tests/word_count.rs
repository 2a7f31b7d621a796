//! The word count example against the pipeline of Unix tools that its users would write.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/kjv.txt");

/// `cargo test` builds the examples beside the tests.
fn binary() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let binary = profile.join("examples/word_count");
    assert!(binary.exists(), "build it with `cargo build --examples`");
    binary
}

fn word_count(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

/// `word<TAB>count`, sorted.
fn by_tools() -> Vec<String> {
    let pipeline = "tr -cs 'A-Za-z' '\\n' <\"$0\" | tr A-Z a-z | grep . | LC_ALL=C sort | uniq -c";
    let output = Command::new("sh")
        .args(["-c", pipeline, TEXT])
        .output()
        .unwrap();
    assert!(output.status.success());
    let counted = String::from_utf8(output.stdout).unwrap();
    let mut rows: Vec<_> = counted
        .lines()
        .map(|line| {
            let (count, word) = line.trim().split_once(' ').unwrap();
            format!("{word}\t{count}")
        })
        .collect();
    rows.sort_unstable();
    rows
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

#[test]
fn counts_equal_those_of_the_tools_at_every_parallelism() {
    let expected = by_tools();
    assert!(expected.len() > 10_000);
    for parallelism in ["1", "2", "5"] {
        for more in [&[][..], &["--force-exchange", "--threads", "1"]] {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            let mut args = vec!["-p", parallelism, "--output", out.to_str().unwrap()];
            args.extend(more);
            let output = word_count(&args);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(rows_in(&out) == expected, "-p {parallelism} {more:?}");
            let table = String::from_utf8(output.stdout).unwrap();
            let first: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
            assert!(expected.contains(&first.join("\t")), "{table}");
            assert_eq!(table.lines().count(), 10, "{table}");
        }
    }
}

#[test]
fn exit_codes_and_messages() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("foreign"), "x").unwrap();
    let dir = dir.path().to_str().unwrap();
    for (args, code, message) in [
        (&["--no-such-flag"][..], 2, "--no-such-flag"),
        (&["--plan", "--report", "json"], 2, "cannot be used with"),
        (
            &["--input", "/no/such/file"],
            1,
            "there is no file /no/such/file",
        ),
        (&["--output", dir], 1, "foreign"),
        (&["--output", "/proc/no"], 1, "`all-words`"),
    ] {
        let output = word_count(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    let plan = word_count(&["--plan=json"]);
    assert!(plan.status.success());
    assert!(plan.stdout.starts_with(b"{"));
}

/// `job 2>&1 | head -1`: the report finds nobody, and the job has come to its end all the same.
#[test]
fn a_report_that_nobody_reads_does_no_harm() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(binary())
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_reader_that_has_gone_away_ends_the_job_with_a_message() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(binary())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("`table`"), "{stderr}");
}

/// The flags of a job that is killed and started again.
fn resumable<'a>(out: &'a str, checkpoints: &'a str, parallelism: &'a str) -> Vec<&'a str> {
    let flags = ["--output", out, "--checkpoint-dir", checkpoints];
    let every = ["--checkpoint-every", "20ms", "--alignment-timeout", "0"];
    let rest = ["--from", "latest", "-p", parallelism];
    [&flags[..], &every, &rest].concat()
}

/// Kill it with -9 as often as you like, and start it again with any parallelism.
#[test]
fn a_job_that_is_killed_goes_on_and_commits_what_an_undisturbed_one_does() {
    let expected = by_tools();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (out, checkpoints) = (at("out"), at("checkpoints"));
    let last = |dir: &str| {
        let names = fs::read_dir(dir).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("checkpoint-")).max()
    };
    for parallelism in ["2", "1", "3", "2"] {
        let before = last(&checkpoints);
        let mut job = Command::new(binary())
            .args(resumable(&out, &checkpoints, parallelism))
            .args(["--throttle", "20000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while last(&checkpoints) == before {
            assert_eq!(job.try_wait().unwrap(), None, "it was to be killed");
            std::thread::yield_now();
        }
        job.kill().unwrap();
        job.wait().unwrap();
        assert_eq!(rows_in(Path::new(&out)), [] as [String; 0]);
    }
    for parallelism in ["4", "1"] {
        // The second one finds a job that is at its end, and changes nothing.
        let output = word_count(&resumable(&out, &checkpoints, parallelism));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("goes on from checkpoint"), "{stderr}");
        assert!(rows_in(Path::new(&out)) == expected, "-p {parallelism}");
    }
}

#[test]
fn a_job_without_a_checkpoint_to_go_on_from_says_that_it_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let output = word_count(&resumable(&at("out"), &at("checkpoints"), "2"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("the job starts afresh"), "{stderr}");
    assert!(rows_in(&dir.path().join("out")) == by_tools());
}

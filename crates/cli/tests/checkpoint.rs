//! The binary, on the golden checkpoints.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../checkpoint/tests/data/checkpoints-v1"
);

fn levada(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_levada"))
        .arg("checkpoint")
        .args(args)
        .output()
        .expect("the binary was built for this test")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it is text")
}

#[track_caller]
fn expect_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        stdout(output),
        stderr(output)
    );
}

/// A copy of the golden checkpoints.
fn copy() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("there is room for temporary files");
    let dir = home.path().join("checkpoints");
    fs::create_dir(&dir).expect("it is not there yet");
    for entry in fs::read_dir(GOLDEN).expect("the golden files are there") {
        let path = entry.expect("the directory can be read").path();
        let name = path.file_name().expect("files have names");
        fs::copy(&path, dir.join(name)).expect("files can be copied");
    }
    (home, dir)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("the file is there");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("the file can be written");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

#[test]
fn a_list_is_newest_first() {
    let output = levada(&["list", GOLDEN]);
    expect_code(&output, 0);
    assert_eq!(
        stdout(&output),
        "\
NUMBER  KIND        CREATED                    SIZE    OWN  CHAIN  JOB
     2  checkpoint  2026-11-23T18:30:23.421Z  966 B  483 B  1 + 2  hot_items
     1  checkpoint  2026-11-23T18:30:23.421Z  483 B  483 B  1      hot_items
"
    );
    assert_eq!(stderr(&output), "");
    // What looks leaves nothing behind.
    assert_eq!(fs::read_dir(GOLDEN).unwrap().count(), 4);
}

#[test]
fn a_list_as_json_says_what_is_damaged() {
    let (_home, dir) = copy();
    flip(&dir.join("checkpoint-00000002.json"), 40);
    let output = levada(&["list", "--json", text(&dir)]);
    expect_code(&output, 0);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[0]["number"], 2);
    let error = list[0]["error"].as_str().unwrap();
    assert!(
        error.contains("checkpoint-00000002.json is no manifest that can be used"),
        "{error}"
    );
    assert_eq!(list[1]["number"], 1);
    assert_eq!(list[1]["kind"], "checkpoint");
    assert_eq!(list[1]["bytes"], 483);
    assert_eq!(list[1]["chain"], serde_json::json!([1]));
    assert!(list[1].get("error").is_none());

    let output = levada(&["list", text(&dir)]);
    expect_code(&output, 0);
    assert!(
        stdout(&output).contains("     2  DAMAGED\n"),
        "{}",
        stdout(&output)
    );
    assert_eq!(stderr(&output).trim_end(), error);
}

#[test]
fn an_empty_directory_and_none_are_two_things() {
    let dir = tempfile::tempdir().unwrap();
    let output = levada(&["list", text(dir.path())]);
    expect_code(&output, 0);
    assert!(stderr(&output).starts_with("there is no checkpoint in "));
    let output = levada(&["list", "--json", text(dir.path())]);
    expect_code(&output, 0);
    assert_eq!(stdout(&output), "[]\n");
    for act in ["verify", "inspect"] {
        let output = levada(&[act, text(dir.path())]);
        expect_code(&output, 1);
        assert!(stderr(&output).starts_with("error: there is no checkpoint in "));
    }
    for act in ["list", "verify", "inspect"] {
        let output = levada(&[act, text(&dir.path().join("none"))]);
        expect_code(&output, 1);
        assert!(
            stderr(&output).starts_with("error: cannot read "),
            "{}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains("No such file"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn the_newest_is_inspected_or_the_one_that_is_named() {
    let output = levada(&["inspect", GOLDEN]);
    expect_code(&output, 0);
    assert_eq!(
        stdout(&output),
        "\
checkpoint 2 of hot_items (fingerprint 8f1c30d5)
made 2026-11-23T18:30:23.421Z by run r5, attempt 1
966 B in 2 files, 483 B of it written for this one; 128 key groups; chain 1 + 2

OPERATOR  KIND      PARALLELISM  FINISHED  ROWS  SIZE  WATERMARK
bids      source              2         1     0   0 B
revenue   operator            2         0     3  51 B  2026-11-23T18:30:20.000Z
out       sink                1         0     0   0 B

TYPES OF  VERSION  ROLE   FIELDS        TYPE
revenue         1  key    u64           u64
revenue         1  value  {sum, count}  hot_items::Revenue

EDGE                PRODUCERS  CONSUMERS  IN FLIGHT  SIZE
bids -> revenue #1          2          2          3  64 B

FILE                       BLOCKS   SIZE  CHECKSUM
data-00000001-r5-1.blocks       9  483 B  63cee2e6
data-00000002-r5-1.blocks       9  483 B  8d390d9e

BLOCKS OF           KIND               BLOCKS   SIZE  ROWS WRITTEN
bids                source                  4  100 B
bids                splits                  2    0 B
bids                finished                2    0 B
bids -> revenue #1  in-flight records       2   58 B
out                 sink                    2   44 B
revenue             keyed state             2  102 B             6
revenue             operator state          2   44 B
revenue             input                   2   54 B
"
    );
    let first = format!("{GOLDEN}/checkpoint-00000001.json");
    let output = levada(&["inspect", &first, "--json"]);
    expect_code(&output, 0);
    let first: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(first["number"], 1);
    assert_eq!(first["operators"][1]["name"], "revenue");
    assert_eq!(first["operators"][1]["parallelism"], 2);
    assert_eq!(first["edges"][0]["records"], 3);
    assert_eq!(first["files"][0]["blocks"], 9);
    let contents = first["contents"].as_array().unwrap();
    let keyed = contents.iter().find(|contents| contents["kind"] == "keyed");
    assert_eq!(keyed.unwrap()["rows"], 3);
}

#[test]
fn a_checkpoint_that_is_damaged_is_not_inspected_in_silence() {
    let (_home, dir) = copy();
    fs::remove_file(dir.join("data-00000002-r5-1.blocks")).unwrap();
    let output = levada(&["inspect", text(&dir)]);
    expect_code(&output, 0);
    assert!(stdout(&output).starts_with("checkpoint 1 of hot_items"));
    assert!(
        stderr(&output).starts_with("skipped: "),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("data-00000002-r5-1.blocks is not there"));
    let second = dir.join("checkpoint-00000002.json");
    expect_code(&levada(&["inspect", text(&second)]), 1);
}

#[test]
fn every_checkpoint_is_verified() {
    let output = levada(&["verify", GOLDEN]);
    expect_code(&output, 0);
    assert_eq!(
        stdout(&output),
        "\
checkpoint 2: 966 B in 2 files, undamaged
checkpoint 1: 483 B in 1 file, undamaged
"
    );

    let (_home, dir) = copy();
    flip(&dir.join("data-00000002-r5-1.blocks"), 300);
    let output = levada(&["verify", text(&dir)]);
    expect_code(&output, 1);
    let said = stdout(&output);
    assert!(
        said.contains("data-00000002-r5-1.blocks is damaged at byte "),
        "{said}"
    );
    assert!(
        said.contains("checkpoint 1: 483 B in 1 file, undamaged"),
        "{said}"
    );
    assert_eq!(
        stderr(&output),
        "error: 1 of 2 checkpoints cannot be used\n"
    );

    let first = dir.join("checkpoint-00000001.json");
    expect_code(&levada(&["verify", text(&first)]), 0);
    let second = dir.join("checkpoint-00000002.json");
    expect_code(&levada(&["verify", text(&second)]), 1);
    let data = dir.join("data-00000001-r5-1.blocks");
    let output = levada(&["verify", text(&data)]);
    expect_code(&output, 1);
    assert!(stderr(&output).contains("neither a directory nor a manifest"));

    // The base of the second is that of the first.
    flip(&data, 300);
    let output = levada(&["verify", text(&dir)]);
    assert_eq!(
        stderr(&output),
        "error: 2 of 2 checkpoints cannot be used\n"
    );
}

#[test]
fn what_needs_the_job_is_done_by_its_program() {
    let home = tempfile::tempdir().unwrap();
    let job = home.path().join("job");
    fs::write(&job, "#!/bin/sh\nprintf '[%s]' \"$@\"\nexit 7\n").unwrap();
    fs::set_permissions(&job, fs::Permissions::from_mode(0o755)).unwrap();
    let output = levada(&[
        "export",
        "--job",
        text(&job),
        "DIR",
        "--operator",
        "a b",
        "--json",
    ]);
    expect_code(&output, 7);
    assert_eq!(
        stdout(&output),
        "[checkpoint][export][DIR][--operator][a b][--json]"
    );
    let output = levada(&["diff", "--job", text(&job), "--by", "key", "A", "B"]);
    expect_code(&output, 7);
    assert_eq!(stdout(&output), "[checkpoint][diff][--by][key][A][B]");

    let none = home.path().join("none");
    let output = levada(&["export", "--job", text(&none), "DIR"]);
    expect_code(&output, 1);
    assert!(
        stderr(&output).starts_with("error: cannot run "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_wrong_command_line_is_2() {
    for args in [
        &["list"][..],
        &["list", "a", "b"],
        &["export", "DIR"],
        &["verify", "--jsn", "DIR"],
        &["mend", "DIR"],
    ] {
        expect_code(&levada(args), 2);
    }
    expect_code(&levada(&["--help"]), 0);
}

/// As in `levada checkpoint list DIR | head -1`.
#[test]
fn a_reader_that_goes_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_levada"))
        .args(["checkpoint", "inspect", GOLDEN])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    expect_code(&output, 0);
    assert_eq!(stderr(&output), "");
}

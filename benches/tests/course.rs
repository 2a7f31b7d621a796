//! The program `course`, as it is used on the command line.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn course(dir: &TempDir, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_course"))
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Standard output of a run that ends well.
fn lines(dir: &TempDir, line: &str) -> Vec<String> {
    let output = course(dir, line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(str::to_owned).collect()
}

/// The code and standard error of a run that does not.
fn failure(dir: &TempDir, line: &str) -> (Option<i32>, String) {
    let output = course(dir, line);
    assert!(output.stdout.is_empty(), "{line}");
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), errors)
}

/// A field of a line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    line.split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{name} in {line}"))
}

fn with_events() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lines(&dir, "generate events 3000"), [] as [&str; 0]);
    dir
}

#[test]
fn files_are_made_from_each_other() {
    let dir = with_events();
    lines(&dir, "generate longer 4000");
    lines(&dir, "generate later 3000 --base-time 5");
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let events = read("events");
    assert!(read("longer").starts_with(&events));
    assert_eq!(read("later").len(), events.len());
    assert_ne!(read("later"), events);
    lines(&dir, "shuffle events shuffled --seed 1 --max-delay 50");
    lines(&dir, "shuffle events again --seed 1 --max-delay 50");
    assert_eq!(read("shuffled"), read("again"));
    assert_eq!(read("shuffled").len(), events.len());
    assert_ne!(read("shuffled"), events);
}

#[test]
fn each_run_prints_the_line_of_the_course() {
    let dir = with_events();
    let by_hand = lines(&dir, "keyed --events events --engine hand --digest");
    let by_job = lines(&dir, "keyed --events events -p 2 --digest --repeat 3");
    assert_eq!((by_hand.len(), by_job.len()), (1, 3));
    for line in &by_job {
        let names: Vec<_> = line
            .split(' ')
            .map(|field| field.split('=').next())
            .collect();
        let expected = [
            "engine", "query", "p", "events", "secs", "eps", "cpu", "rows", "sum", "digest",
        ];
        assert_eq!(names, expected.map(Some), "{line}");
        assert!(
            line.starts_with("engine=levada query=keyed p=2 events=3000 secs="),
            "{line}"
        );
        for name in ["rows", "sum", "digest"] {
            assert_eq!(field(line, name), field(&by_hand[0], name), "{name}");
        }
    }
}

#[test]
fn a_run_that_is_stopped_goes_on_from_its_savepoint() {
    let dir = with_events();
    let checkpoints = "--checkpoint-dir checkpoints --checkpoint-every 20ms";
    for query in ["keyed", "q11"] {
        let whole = lines(&dir, &format!("{query} --events events -p 1 --digest"));
        let stop = "-p 2 --digest --stop-after 1000 --savepoint half";
        let half = lines(
            &dir,
            &format!("{query} --events events {checkpoints} {stop}"),
        );
        assert!(half[0].contains("p=2 events=1000 secs="), "{}", half[0]);
        assert!(
            half[0].ends_with(" ckpt=20 ckpts=1 savepoint=half"),
            "{}",
            half[0]
        );
        assert_ne!(field(&half[0], "digest"), field(&whole[0], "digest"));
        let go_on = "-p 3 --digest --from half";
        let rest = lines(
            &dir,
            &format!("{query} --events events {checkpoints} {go_on}"),
        );
        assert!(rest[0].contains("p=3 events=2000 secs="), "{}", rest[0]);
        assert!(field(&rest[0], "ckpts").parse::<u64>().unwrap() >= 1);
        for name in ["rows", "sum", "digest"] {
            assert_eq!(field(&rest[0], name), field(&whole[0], name), "{name}");
        }
        let (code, errors) = failure(&dir, &format!("{query} --events events -p 3 --from half"));
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("go on with --digest"), "{errors}");
        fs::remove_dir_all(dir.path().join("half")).unwrap();
        fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    }
}

#[test]
fn a_savepoint_goes_beside_the_checkpoints_unless_it_is_said_where() {
    let dir = with_events();
    let line = "q0 --events events -p 2 --checkpoint-dir checkpoints --stop-after 10";
    let stopped = lines(&dir, line);
    assert!(
        stopped[0].ends_with(" ckpt=10000 ckpts=1 savepoint=checkpoints/savepoint"),
        "{}",
        stopped[0]
    );
    assert_eq!(field(&stopped[0], "rows"), "10");
    let line = "q0 --events events -p 2 --checkpoint-dir checkpoints --from checkpoints/savepoint";
    assert_eq!(field(&lines(&dir, line)[0], "rows"), "3000");
}

#[test]
fn a_plan_is_printed_instead_of_a_line() {
    let dir = with_events();
    let plan = lines(&dir, "keyed --events events -p 2 --plan").join("\n");
    assert!(plan.contains("sums") && !plan.contains("engine="), "{plan}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let dir = with_events();
    for line in [
        "q6 --events events",
        "q0 --events events -p 0",
        "q5 --events events --engine hand --out-of-orderness 5",
        "q0 --events events --stop-after 5",
        "q0",
    ] {
        let (code, errors) = failure(&dir, line);
        assert_eq!(code, Some(2), "{line}: {errors}");
        assert!(errors.contains("error:"), "{line}: {errors}");
    }
}

#[test]
fn a_wrong_file_ends_with_1() {
    let dir = with_events();
    let bytes = fs::read(dir.path().join("events")).unwrap();
    fs::write(dir.path().join("short"), &bytes[..bytes.len() - 3]).unwrap();
    fs::write(dir.path().join("strange"), b"\x09strange").unwrap();
    lines(&dir, "shuffle events shuffled --seed 1 --max-delay 50");
    for (line, message) in [
        ("q0 --events short", "events file short: it is cut off"),
        ("q0 --events strange", "at byte 0, found 9"),
        ("q0 --events none", "events file none: "),
        (
            "shuffle none out --seed 1 --max-delay 1",
            "events file none: ",
        ),
        ("generate none/events 1", "events file none/events: "),
        (
            "q5 --events shuffled --engine hand",
            "in the order of their time",
        ),
    ] {
        let (code, errors) = failure(&dir, line);
        assert_eq!(code, Some(1), "{line}: {errors}");
        assert!(errors.contains(message), "{line}: {errors}");
    }
    assert!(!Path::new("none").exists());
}

//! The example of sockets: what it leaves in its directory, at several parallelisms.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The lines of all parts, sorted.
fn lines_in(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for part in fs::read_dir(dir).unwrap() {
        let text = fs::read_to_string(part.unwrap().path()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort_unstable();
    lines
}

#[test]
fn the_warmest_measurement_of_each_place_and_what_is_none() {
    let test = env::current_exe().unwrap();
    let binary = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/socket_to_files");
    for parallelism in ["1", "3"] {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new(&binary)
            .args(["-p", parallelism, "--output"])
            .arg(dir.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "-p {parallelism}: {stderr}");
        assert_eq!(
            lines_in(&dir.path().join("warmest")),
            ["Funchal\t24", "Monte\t17", "Santana\t18"]
        );
        assert_eq!(
            lines_in(&dir.path().join("bad")),
            [
                "3\texpected ident\tthe sensor is wet",
                "3\tmissing field `celsius`\t{\"place\": \"Santana\"}",
            ]
        );
    }
}

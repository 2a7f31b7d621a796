//! Compressed files against the tools that everybody has: what they wrote is read, and what is written they read.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use levada::Runner;
use levada::prelude::*;
use levada_counterparts::tool;

/// Lines that compress well, and some that do not.
fn lines() -> Vec<String> {
    let line = |n: u64| match n % 3 {
        0 => format!("{n} {}", "water ".repeat(20)),
        1 => String::new(),
        _ => format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    };
    (0..30_000).map(line).collect()
}

/// Runs a tool of a Debian package on the bytes, and returns what it writes.
fn pipe(name: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("input");
    fs::write(&input, bytes).unwrap();
    let output = Command::new(tool(name, name))
        .args(args)
        .stdin(fs::File::open(input).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name} {args:?}");
    output.stdout
}

/// What a job reads from a file.
fn read(path: &Path) -> levada::Result<Vec<String>> {
    let (sink, receiver) = sink_channel(100_000);
    let path = path.to_owned();
    Runner::new().run(move |job: &Job| {
        job.source("lines", text_files(path.clone()))
            .sink("out", sink.clone());
    })?;
    Ok(receiver.iter().collect())
}

#[track_caller]
fn reads_what_it_writes(name: &str, extension: &str, args: &[&[&str]]) {
    let lines = lines();
    let text = lines.join("\n") + "\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("lines.{extension}"));
    for args in args {
        let packed = pipe(name, args, text.as_bytes());
        assert!(packed.len() < text.len() / 2);
        fs::write(&path, packed).unwrap();
        assert!(read(&path).unwrap() == lines, "{name} {args:?}");
    }
    // Several files in one, as `cat a.gz b.gz` makes it; the border lies within a line.
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    let mut packed = pipe(name, args[0], first);
    packed.extend(pipe(name, args[0], second));
    fs::write(&path, &packed).unwrap();
    assert!(read(&path).unwrap() == lines, "{name}, two in one");

    packed.truncate(packed.len() - 5);
    fs::write(&path, &packed).unwrap();
    let error = format!("{:?}", read(&path).unwrap_err());
    assert!(
        error.contains("`lines`") && error.contains(extension),
        "{error}"
    );
}

#[test]
fn files_of_gzip() {
    reads_what_it_writes("gzip", "gz", &[&["-c"], &["-c", "-1"], &["-c", "-9"]]);
}

#[test]
fn files_of_zstd() {
    reads_what_it_writes(
        "zstd",
        "zst",
        &[
            &["-q", "-c"],
            &["-q", "-c", "-1"],
            &["-q", "-c", "-19"],
            &["-q", "-c", "--no-check"],
        ],
    );
}

/// What the tool makes of the parts that a job has written, in the order of their names.
fn unpacked(name: &str, args: &[&str], job: impl Fn(&Job, &Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    Runner::new()
        .parallelism(1)
        .run(|j: &Job| job(j, &out))
        .unwrap();
    let mut parts: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|part| part.unwrap().path())
        .filter(|part| !part.ends_with(".levada-lock"))
        .collect();
    parts.sort();
    assert!(!parts.is_empty());
    let text = parts.iter().map(|part| {
        let packed = fs::read(part).unwrap();
        String::from_utf8(pipe(name, args, &packed)).unwrap()
    });
    text.collect()
}

#[test]
fn parts_that_gzip_and_zstd_read() {
    let text = lines().join("\n") + "\n";
    let gzip = unpacked("gzip", &["-dc"], |job, out| {
        job.source("lines", iterator(lines()))
            .sink("out", files(out).gzip());
    });
    assert!(gzip == text);
    let zstd = unpacked("zstd", &["-q", "-dc"], |job, out| {
        job.source("lines", iterator(lines()))
            .sink("out", files(out).zstd());
    });
    assert!(zstd == text);
}

//! Files that are not what they should be, and what the user is told.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use levada::prelude::*;
use levada::{Environment, Error, Runner};
use levada_core::disk::{Append, Disk, Kind, Lock, Metadata, ReadAt};
use levada_testing::{Simulation, collect};

use crate::files::{Row, rows};

/// Runs a row under a few seeds: the job must fail, and the message must hold everything that is expected, the name of the
/// source and its line in the program.
fn check(row: &Row) -> Result<(), String> {
    for seed in 0..6 {
        let simulation = Simulation::new(seed).runner(Runner::new().force_exchange());
        simulation.disk().put(row.path, row.content.as_slice());
        let Some(message) = simulation.failure(row.job) else {
            return Err(format!("seed {seed}: the job does not fail"));
        };
        for part in row.expected.iter().chain(&["bad_input/files.rs:"]) {
            if !message.contains(part) {
                return Err(format!("seed {seed}: `{part}` is not in: {message}"));
            }
        }
        let mut left = simulation.disk().paths();
        left.retain(|path| !path.ends_with(".levada-lock"));
        if left != [PathBuf::from(row.path)] {
            return Err(format!("seed {seed}: the job leaves {left:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_row_of_the_table_fails_with_its_message() {
    let rows = rows();
    assert!(rows.len() >= 45, "{} rows", rows.len());
    let wrong: Vec<_> = rows
        .iter()
        .filter_map(|row| Some(format!("{}: {}", row.what, check(row).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_empty_is_no_error() {
    for (path, content) in [
        ("in.jsonl", ""),
        ("in.jsonl", "\n\r\n \n\t\n"),
        ("in.jsonl", "\u{feff}"),
        ("in.csv", ""),
        ("in.csv", "\u{feff}"),
        ("in.csv", "a,b"),
        ("in.csv", "a,b\r\n\r\n"),
    ] {
        let simulation = Simulation::new(3);
        simulation.disk().put(path, content);
        let (sink, collected) = collect();
        let run = simulation.run(move |job: &Job| match path {
            "in.csv" => drop(
                job.source("in", csv::<(u8, u8)>(path))
                    .sink("out", sink.clone()),
            ),
            _ => drop(
                job.source("in", jsonl::<(u8, u8)>(path))
                    .sink("out", sink.clone()),
            ),
        });
        run.unwrap().expect_finished();
        assert!(collected.take().is_empty(), "{content:?}");
    }
}

/// A disk with one file of a gigabyte, most of which is one letter and never in memory.
#[derive(Clone)]
struct Large {
    head: &'static [u8],
    tail: &'static [u8],
    read: Arc<AtomicU64>,
}

const LARGE_BYTES: u64 = 1 << 30;

impl Disk for Large {
    fn open(&self, _: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.clone()))
    }

    fn metadata(&self, _: &Path) -> io::Result<Metadata> {
        Ok(Metadata {
            len: LARGE_BYTES,
            is_dir: false,
        })
    }

    fn kind(&self, _: &Path) -> io::Result<Kind> {
        Ok(Kind::File)
    }

    fn create_new(&self, _: &Path) -> io::Result<Box<dyn Append>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reopen(&self, _: &Path, _: u64) -> io::Result<Box<dyn Append>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl ReadAt for Large {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (head, tail) = (self.head.len() as u64, LARGE_BYTES - self.tail.len() as u64);
        let (from, end) = if offset < head {
            (Some(&self.head[offset as usize..]), head)
        } else if offset >= tail {
            (Some(&self.tail[(offset - tail) as usize..]), LARGE_BYTES)
        } else {
            (None, tail)
        };
        let length = buffer.len().min((end - offset) as usize);
        match from {
            Some(bytes) => buffer[..length].copy_from_slice(&bytes[..length]),
            None => buffer[..length].fill(b'x'),
        }
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Runs a job on one large file; how it ended, and how much of the file was read.
fn on_large(
    head: &'static [u8],
    tail: &'static [u8],
    job: impl Fn(&Job),
) -> (levada::Result<levada::Report>, u64) {
    let read = Arc::new(AtomicU64::new(0));
    let disk = Large {
        head,
        tail,
        read: Arc::clone(&read),
    };
    let environment = Environment {
        disk: Arc::new(disk),
        ..Environment::system()
    };
    let outcome = Runner::new()
        .parallelism(1)
        .environment(environment)
        .run(job);
    (outcome, read.load(Ordering::Relaxed))
}

#[test]
fn a_gigabyte_in_one_line_fails_when_the_limit_is_reached() {
    let (outcome, read) = on_large(b"1\n", b"\n2\n", |job| {
        job.source("in", jsonl::<u64>("large"))
            .sink("out", for_each(|_| {}));
    });
    let message = format!("{:?}", outcome.unwrap_err());
    assert!(
        message.contains("large, line 2: the line is longer than 67108864 bytes"),
        "{message}"
    );
    assert!(read < 200 << 20, "{read} bytes were read");

    let (outcome, read) = on_large(b"a,b\n1,2\n3,\"", b"\n", |job| {
        job.source("in", csv::<(u64, String)>("large"))
            .sink("out", for_each(|_| {}));
    });
    let message = format!("{:?}", outcome.unwrap_err());
    assert!(
        message.contains("large, line 3, column 3: this quote is not closed within 16777216 bytes"),
        "{message}"
    );
    assert!(read < 50 << 20, "{read} bytes were read");
}

#[test]
fn a_gigabyte_in_one_line_can_be_skipped() {
    let (sink, collected) = collect();
    let (outcome, _) = on_large(b"1\n", b"\n2\n", |job| {
        let numbers = jsonl::<u64>("large")
            .line_bytes_max(1 << 20)
            .on_error(OnError::Skip);
        job.source("in", numbers).sink("out", sink.clone());
    });
    assert_eq!(outcome.unwrap().metrics.operators[0].sum_skipped(), 1);
    assert_eq!(collected.take(), [1, 2]);
}

#[test]
fn a_watched_directory_that_disappears_fails_the_job() {
    for seed in 0..12 {
        let simulation = Simulation::new(seed);
        simulation.disk().put("in/a.jsonl", "1\n");
        let mut simulated = simulation
            .start(|job: &Job| {
                let numbers = jsonl::<u64>("in/*.jsonl").watch(Duration::from_secs(1));
                job.source("numbers", numbers).sink("out", for_each(|_| {}));
            })
            .unwrap();
        assert!(simulated.run_until(|simulated| simulated.metrics().records_written() == 1));
        simulation.disk().remove_dir("in");
        simulated.settle();
        let error = simulated.finish().outcome.unwrap_err();
        let message = format!("{:?}", Error::Run(error));
        for part in [
            "`numbers`",
            "checks/files.rs:",
            "in cannot be watched: there is no such directory",
        ] {
            assert!(message.contains(part), "seed {seed}: {message}");
        }
    }
}

#[test]
fn a_file_that_disappears_before_it_is_read_fails_the_job() {
    for seed in 0..12 {
        let simulation = Simulation::new(seed).parallelism(1);
        let long: String = (0..5_000).map(|n| format!("{n}\n")).collect();
        simulation.disk().put("in/a.jsonl", long);
        simulation.disk().put("in/b.jsonl", "1\n");
        let mut simulated = simulation
            .start(|job: &Job| {
                let numbers = jsonl::<u64>("in/*.jsonl").watch(Duration::from_secs(1));
                job.source("numbers", numbers).sink("out", for_each(|_| {}));
            })
            .unwrap();
        assert!(simulated.run_until(|simulated| simulated.metrics().records_read() > 0));
        assert!(
            simulated.metrics().records_read() < 5_000,
            "seed {seed}: the first file is being read"
        );
        Disk::remove(simulation.disk(), Path::new("in/b.jsonl")).unwrap();
        simulated.settle();
        let error = simulated.finish().outcome.unwrap_err();
        let message = format!("{:?}", Error::Run(error));
        for part in ["`numbers`", "cannot read in/b.jsonl", "not found"] {
            assert!(message.contains(part), "seed {seed}: {message}");
        }
    }
}

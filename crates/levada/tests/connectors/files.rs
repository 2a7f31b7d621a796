//! Files in and out: JSON lines, CSV, compression, watched directories.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use levada::connectors::{Fault, LineFiles};
use levada::metrics::OperatorMetrics;
use levada::prelude::*;
use levada::{Environment, SinkHandle, Source};
use levada_testing::{MemoryDisk, Simulation, campaign, collect, replay};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Order {
    id: u64,
    item: String,
    note: Option<String>,
}

/// Orders whose texts need quotes and escapes.
fn order(id: u64) -> Order {
    let item = [
        "lamp",
        "vase, tall",
        "the \"best\"",
        "two\nlines\r\n",
        "ä € 😀",
        " ",
    ];
    Order {
        id,
        item: item[id as usize % item.len()].to_owned(),
        note: id.is_multiple_of(3).then(|| format!("note {id}")),
    }
}

fn orders(count: u64) -> Vec<Order> {
    (0..count).map(order).collect()
}

/// What a source reads from a disk; each reader is given up after `at_once` records.
fn read<S: Source>(
    source: &S,
    disk: &MemoryDisk,
    parallelism: usize,
    at_once: usize,
) -> Vec<S::Out> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::system()
    };
    replay(source, &environment, parallelism, at_once).unwrap()
}

/// Writes orders by a job, and gives back the disk and the names of the parts.
fn written(seed: u64, orders: &[Order], write: impl Fn(Stream<Order>) -> SinkHandle) -> MemoryDisk {
    let simulation = Simulation::new(seed);
    simulation
        .run(|job: &Job| write(job.source("orders", iterator(orders.to_vec())).rebalance()))
        .unwrap()
        .expect_finished();
    simulation.disk().clone()
}

/// All files but the locks of directories.
fn parts_of(disk: &MemoryDisk) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| !path.ends_with(".levada-lock"));
    paths
}

#[test]
fn orders_come_back_from_every_format_and_from_every_position() {
    for seed in 0..8 {
        let expected = orders(200);
        let json = written(seed, &expected, |orders| orders.sink("out", files("d")));
        let table = written(seed, &expected, |orders| {
            orders.sink("out", files("d").csv())
        });
        for at_once in [1, 7, 1_000] {
            let mut from_json = read(&jsonl::<Order>("d/part-*"), &json, 2, at_once);
            from_json.sort_unstable();
            assert_eq!(from_json, expected, "seed {seed}");
            let mut from_csv = read(&csv::<Order>("d/part-*"), &table, 2, at_once);
            from_csv.sort_unstable();
            assert_eq!(from_csv, expected, "seed {seed}");
        }
        let parts = parts_of(&table);
        for path in &parts {
            let text = String::from_utf8(table.get(path).unwrap()).unwrap();
            assert!(text.starts_with("id,item,note\n"), "each part has a header");
        }
    }
}

/// Large enough to be divided, with something wrong in every part.
#[test]
fn bad_lines_of_a_divided_file_have_the_lines_of_a_plain_count() {
    let mut text = String::new();
    let mut expected = Vec::new();
    for line in 1..=40_000u64 {
        if line % 997 == 0 {
            expected.push((line, format!("no json {line}")));
            text.push_str(&format!("no json {line}\n"));
        } else {
            text.push_str(&format!(
                "{{\"id\":{line},\"item\":\"some item in the middle\"}}\n"
            ));
        }
    }
    for seed in 0..12 {
        let simulation = Simulation::new(seed).parallelism(1 + seed as usize % 4);
        simulation.disk().put("in.jsonl", text.as_str());
        let (good, goods) = collect();
        let (bad, bads) = collect();
        simulation
            .run(move |job: &Job| {
                let (orders, errors) = job
                    .source("orders", jsonl::<Order>("in.jsonl").results())
                    .map(|result| result.map(|order| order.id))
                    .split_results();
                orders.sink("good", good.clone());
                errors.sink("bad", bad.clone());
            })
            .unwrap()
            .expect_finished();
        let mut found: Vec<_> = bads
            .take()
            .into_iter()
            .map(|bad: BadRecord| (bad.line.unwrap(), bad.text))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected, "seed {seed}");
        let ids: Vec<u64> = goods.sorted();
        assert!(
            ids == (1..=40_000).filter(|n| n % 997 != 0).collect::<Vec<_>>(),
            "seed {seed}"
        );
    }
}

#[test]
fn skipped_records_are_counted_and_nothing_else_is_lost() {
    let campaign = campaign(0..60, |seed| {
        let simulation = Simulation::new(seed);
        let mut table = String::from("id,item,note\n");
        for id in 0..300 {
            match id % 10 {
                3 => table.push_str("x,lamp,\n"),
                5 => table.push_str("1,lamp\n"),
                7 => table.push_str("1,\"la\"mp,\n"),
                _ => table.push_str(&format!("{id},\"two\nlines\",\n")),
            }
        }
        simulation.disk().put("in.csv", table);
        let (sink, collected) = collect();
        let run = simulation
            .run(move |job: &Job| {
                job.source("orders", csv::<Order>("in.csv").on_error(OnError::Skip))
                    .map(|order| order.id)
                    .rebalance()
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        let expected: Vec<u64> = (0..300)
            .filter(|id| ![3, 5, 7].contains(&(id % 10)))
            .collect();
        assert_eq!(collected.sorted(), expected, "seed {seed}");
        let skipped: u64 = run
            .metrics
            .operators
            .iter()
            .map(OperatorMetrics::sum_skipped)
            .sum();
        assert_eq!(skipped, 90, "seed {seed}");
        run
    });
    println!("{campaign}");
}

/// What cannot be formatted leaves no trace in its part.
#[test]
fn a_sink_can_skip_what_it_cannot_format() {
    let simulation = Simulation::new(1).parallelism(1);
    let run = simulation
        .run(|job: &Job| {
            let maps = job.source(
                "maps",
                iterator((0..10u8).map(|n| (n, BTreeMap::from([((n % 2, n), n)])))),
            );
            // JSON has only strings as keys.
            maps.sink("out", files("out").jsonl().on_error(OnError::Skip));
            job.source("rows", iterator(0..4u8))
                .map(|n| {
                    if n % 2 == 0 {
                        Value::from(n)
                    } else {
                        serde_json::json!({"n": n})
                    }
                })
                .sink("table", files("table").csv().on_error(OnError::Skip));
        })
        .unwrap();
    run.expect_finished();
    let paths = parts_of(simulation.disk());
    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(simulation.disk().get(&paths[0]).unwrap(), b"0\n2\n");
}

#[test]
fn dialects_of_csv() {
    let disk = MemoryDisk::default();
    let rows = |source: levada::connectors::CsvFiles<Vec<String>>, text: &[u8]| {
        disk.put("in.csv", text);
        read(&source, &disk, 1, 2)
    };
    let csv = || csv::<Vec<String>>("in.csv");
    assert_eq!(
        rows(csv(), b"\xef\xbb\xbfa;b\r\n1;2\r\n\r\n3;4"),
        [["1;2"], ["3;4"]]
    );
    assert_eq!(
        rows(
            csv().headers(false).delimiter(b';'),
            b"\xef\xbb\xbf1;2\n3;4\n"
        ),
        [["1", "2"], ["3", "4"]]
    );
    assert_eq!(
        rows(csv().flexible(true), b"a,b\n1\n1,2,3\n"),
        [vec!["1"], vec!["1", "2", "3"]]
    );
    assert_eq!(
        rows(csv().comment(b'#'), b"#x\na,b\n#y\n1,2\n#z"),
        [["1", "2"]]
    );
    assert_eq!(
        rows(csv().trim(), b"a , b\n 1 , \" 2 \" \n"),
        [["1", " 2 "]]
    );
    assert_eq!(rows(csv().quote(b'\''), b"a,b\n'1,',2\n"), [["1,", "2"]]);
    assert_eq!(rows(csv().quote(None), b"a,b\n5\",\"6\n"), [["5\"", "\"6"]]);
    assert!(rows(csv(), b"").is_empty());
    assert!(rows(csv(), b"only,a,header\n").is_empty());
    // Fields go to a struct by their names.
    disk.put("in.csv", "note,id,more,item\n,7,x,lamp\n");
    let source = levada::connectors::csv::<Order>("in.csv");
    let expected = Order {
        id: 7,
        item: "lamp".to_owned(),
        note: None,
    };
    assert_eq!(read(&source, &disk, 1, 1), [expected]);
}

/// A format of lines that the library does not have.
#[test]
fn lines_can_be_decoded_by_anybody() {
    #[derive(Clone)]
    struct Hex;

    impl levada::connectors::Decode for Hex {
        type Record = u64;

        const SKIPS_BYTE_ORDER_MARK: bool = true;

        fn decode(&self, line: &[u8]) -> Result<Option<u64>, Fault> {
            let text = String::from_utf8_lossy(line);
            let number = u64::from_str_radix(&text, 16);
            number.map(Some).map_err(|error| Fault {
                at: None,
                message: error.to_string(),
            })
        }
    }

    let disk = MemoryDisk::default();
    disk.put("in.hex", "ff\n\n10\n");
    let found = read(&LineFiles::new("in.hex", Hex).results(), &disk, 1, 1);
    assert_eq!(
        found.iter().flatten().copied().collect::<Vec<_>>(),
        [255, 16]
    );
    assert_eq!(
        found[1].as_ref().unwrap_err().to_string(),
        "in.hex, line 2: cannot parse integer from empty string"
    );
}

#[test]
fn files_are_found_as_they_come() {
    for seed in 0..60 {
        let simulation = Simulation::new(seed);
        let disk = simulation.disk().clone();
        disk.put("in/first.jsonl", "1\n2\n");
        let (sink, valve) = levada_testing::valve();
        valve.open();
        let mut simulated = simulation
            .start(move |job: &Job| {
                let numbers = jsonl::<u64>("in/*.jsonl").watch(Duration::from_secs(1));
                job.source("numbers", numbers)
                    .rebalance()
                    .sink("out", sink.clone());
            })
            .unwrap();
        let mut expected = vec![1, 2];
        let mut found: Vec<u64> = Vec::new();
        for round in 0..5u64 {
            // What is not complete has a hidden name, and what was found does not come again.
            disk.put(format!("in/.{round}.jsonl"), "no json");
            disk.put(format!("in/{round}-b.jsonl"), "");
            let text: String = (0..round * 40)
                .map(|n| format!("{}\n", 1_000 * round + n))
                .collect();
            disk.put(format!("in/{round}-a.jsonl"), text);
            expected.extend((0..round * 40).map(|n| 1_000 * round + n));
            let until = simulated.elapsed() + Duration::from_secs(3);
            assert!(
                simulated.run_until(|simulated| simulated.elapsed() > until),
                "seed {seed}"
            );
            found.extend(valve.take());
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}, round {round}");
        }
        assert!(!simulated.is_done(), "a watch has no end");
        simulated.cancel();
        simulated.settle();
        let run = simulated.finish();
        assert_eq!(
            run.outcome.as_ref().unwrap_err().to_string(),
            "the job was cancelled",
            "seed {seed}"
        );
        run.expect_empty();
    }
}

/// A clone of a source is another source.
#[test]
fn two_sources_may_watch_one_directory() {
    for seed in 0..12 {
        let simulation = Simulation::new(seed);
        let disk = simulation.disk().clone();
        disk.put("in/a.txt", "1\n2\n");
        let (sink, valve) = levada_testing::valve();
        valve.open();
        let lines = text_files("in/*.txt").watch(Duration::from_millis(100));
        let mut simulated = simulation
            .start(move |job: &Job| {
                job.source("one", lines.clone())
                    .map(|line| (1, line))
                    .sink("one-out", sink.clone());
                job.source("two", lines.clone())
                    .map(|line| (2, line))
                    .sink("two-out", sink.clone());
            })
            .unwrap();
        assert!(simulated.run_until(|simulated| simulated.elapsed() > Duration::from_secs(1)));
        disk.put("in/b.txt", "3\n");
        assert!(simulated.run_until(|simulated| simulated.elapsed() > Duration::from_secs(2)));
        let mut found = valve.take();
        found.sort_unstable();
        let expected: Vec<_> = [1, 2]
            .into_iter()
            .flat_map(|source| ["1", "2", "3"].map(|line| (source, line.to_owned())))
            .collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn a_watched_pattern_may_match_nothing_at_first_and_csv_can_be_watched_too() {
    let simulation = Simulation::new(7).parallelism(3);
    let disk = simulation.disk().clone();
    disk.put("in/.keep", "");
    let (sink, valve) = levada_testing::valve();
    valve.open();
    let mut simulated = simulation
        .start(move |job: &Job| {
            job.source(
                "pairs",
                csv::<(u64, u64)>("in/*.csv").watch(Duration::from_millis(100)),
            )
            .sink("out", sink.clone());
        })
        .unwrap();
    assert!(simulated.run_until(|simulated| simulated.elapsed() > Duration::from_secs(1)));
    disk.put("in/a.csv", "a,b\n1,2\n");
    assert!(simulated.run_until(|simulated| simulated.elapsed() > Duration::from_secs(2)));
    assert_eq!(valve.take(), [(1, 2)]);
}

#[test]
fn a_disk_that_runs_full_leaves_no_part_behind() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        simulation.disk().fill_after(5_000);
        let run = simulation
            .run(|job: &Job| {
                job.source("numbers", iterator(0..10_000u64))
                    .sink("out", files("out"));
            })
            .unwrap();
        assert!(run.outcome.is_err());
        let mut left = simulation.disk().paths();
        left.retain(|path| !path.ends_with(".levada-lock"));
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}

#[cfg(feature = "compression")]
mod compression {
    use super::*;

    #[test]
    fn compressed_parts_come_back_from_every_position() {
        for seed in 0..6 {
            let expected = orders(300);
            let disks = [
                written(seed, &expected, |orders| {
                    orders.sink("out", files("d").gzip())
                }),
                written(seed, &expected, |orders| {
                    orders.sink("out", files("d").zstd())
                }),
            ];
            for (disk, extension) in disks.iter().zip(["gz", "zst"]) {
                let paths = parts_of(disk);
                assert!(
                    paths
                        .iter()
                        .all(|path| path.extension().is_some_and(|e| e == extension)),
                    "{paths:?}"
                );
                for at_once in [1, 50] {
                    let mut found = read(
                        &jsonl::<Order>(format!("d/*.{extension}")),
                        disk,
                        4,
                        at_once,
                    );
                    found.sort_unstable();
                    assert_eq!(found, expected, "seed {seed}");
                    assert_eq!(
                        read(&text_files(format!("d/*.{extension}")), disk, 1, at_once).len(),
                        300
                    );
                }
            }
            let table = written(seed, &expected, |orders| {
                orders.sink("out", files("d").zstd().csv())
            });
            let mut found = read(&csv::<Order>("d/*"), &table, 2, 3);
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}");
        }
    }

    /// `printf '1\n2\n' | gzip -n`, then `printf '3\n' | gzip -n`.
    const MEMBERS: &[u8] = &[
        0x1f, 0x8b, 0x8, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x3, 0x33, 0xe4, 0x32, 0xe2, 0x2, 0x0, 0x61,
        0x78, 0xe1, 0x69, 0x4, 0x0, 0x0, 0x0, 0x1f, 0x8b, 0x8, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x3,
        0x33, 0xe6, 0x2, 0x0, 0xd1, 0x9e, 0x67, 0x55, 0x2, 0x0, 0x0, 0x0,
    ];

    #[test]
    fn gzip_of_several_members_is_one_file() {
        let disk = MemoryDisk::default();
        disk.put("in.jsonl.gz", MEMBERS);
        assert_eq!(read(&jsonl::<u64>("in.jsonl.gz"), &disk, 2, 1), [1, 2, 3]);
    }

    #[test]
    fn bad_lines_of_a_compressed_file_have_their_line() {
        let text: String = (1..=90_000u64)
            .map(|n| {
                if n % 30_001 == 0 {
                    "x y\n".to_owned()
                } else {
                    format!("{n}\n")
                }
            })
            .collect();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        for compress in [
            |f: levada::connectors::Files<_>| f.gzip(),
            |f: levada::connectors::Files<_>| f.zstd(),
        ] {
            let simulation = Simulation::new(0).parallelism(1);
            simulation
                .run(|job: &Job| {
                    job.source("lines", iterator(lines.clone()))
                        .sink("out", compress(files("d")))
                })
                .unwrap()
                .expect_finished();
            let disk = simulation.disk();
            for at_once in [40_000, 1_000_000] {
                let found = read(&jsonl::<u64>("d/*").results(), disk, 1, at_once);
                assert_eq!(found.len(), 90_000);
                let bad: Vec<_> = found.into_iter().filter_map(Result::err).collect();
                let lines: Vec<_> = bad.iter().map(|bad| (bad.line, bad.column)).collect();
                assert_eq!(
                    lines,
                    [(Some(30_001), Some(1)), (Some(60_002), Some(1))],
                    "{bad:?}"
                );
            }
        }
    }
}

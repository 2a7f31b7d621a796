//! Bad input of logs.

use std::collections::HashMap;

use levada::connectors::OnGap;
use levada::prelude::*;
use serde::{Deserialize, Serialize};

use crate::checks::log::Row;
use crate::world::{Bid, World, bids};

const LOG: &str = "orders/log.json";
const ENDS: &str = "orders/ends.json";
const FIRST: &str = "orders/0001/00000000000000000000.log";

fn good(_: &World) {}

/// Replaces text in a file.
fn edit(world: &World, path: &str, from: &str, to: &str) {
    let text = String::from_utf8(world.disk.get(path).unwrap()).unwrap();
    assert!(text.contains(from), "{path} has no {from}: {text}");
    world.disk.put(path, text.replace(from, to));
}

/// Flips a bit in the first frame of a partition.
fn damage(world: &World) {
    let mut bytes = world.disk.get(FIRST).unwrap();
    bytes[60] ^= 1;
    world.disk.put(FIRST, bytes);
}

fn read(job: &Job) -> levada::Result {
    job.source("bids", log_source::<Bid>("orders"))
        .sink("out", for_each(|_| {}));
    Ok(())
}

fn consume(job: &Job) -> levada::Result {
    let source = log_source::<Bid>("orders").consumer("billing");
    job.source("bids", source).sink("out", for_each(|_| {}));
    Ok(())
}

fn write(job: &Job) -> levada::Result {
    job.source("numbers", iterator(0..2_000u64))
        .map(bids)
        .sink("log", log_sink("orders"));
    Ok(())
}

/// A bid with the same fields, one of another type.
#[derive(Clone, Deserialize, Serialize)]
struct Priced {
    auction: u64,
    price: (u64, u64, u64, u64),
    note: String,
}

#[derive(Clone, Deserialize, Serialize)]
struct Renamed {
    auction: u64,
    cost: u64,
    note: String,
}

#[derive(Clone, Deserialize, Serialize)]
struct Flat {
    #[serde(flatten)]
    rest: HashMap<String, u64>,
}

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "a directory without a log",
        world: good,
        job: |job| {
            job.source("bids", log_source::<Bid>("nowhere")).discard();
            Ok(())
        },
        expected: &["`bids`", "there is no log in nowhere", "Log::create"],
    },
    Row {
        what: "a manifest that is cut",
        world: |world| world.disk.put(LOG, "{\"magic\": \"levada"),
        job: read,
        expected: &["`bids`", "orders/log.json cannot be understood", "line 1"],
    },
    Row {
        what: "a manifest of something else",
        world: |world| edit(world, LOG, "levada log", "other log"),
        job: read,
        expected: &["orders/log.json", "its magic is `other log`"],
    },
    Row {
        what: "a log of a later version",
        world: |world| edit(world, LOG, "\"version\": 1", "\"version\": 2"),
        job: read,
        expected: &["orders/log.json has version 2", "reads version 1"],
    },
    Row {
        what: "a log of another codec",
        world: |world| edit(world, LOG, "\"codec\": 1", "\"codec\": 9"),
        job: write,
        expected: &["`log`", "orders/log.json has codec 9", "reads codec 1"],
    },
    Row {
        what: "a log without the file of its ends",
        world: |world| {
            let disk: &dyn levada_core::disk::Disk = &world.disk;
            disk.remove(std::path::Path::new(ENDS)).unwrap();
        },
        job: read,
        expected: &["orders/ends.json", "it is not there"],
    },
    Row {
        what: "ends whose checksum is wrong",
        world: |world| edit(world, ENDS, "\"offsets\":[", "\"offsets\":[1"),
        job: read,
        expected: &["orders/ends.json", "its checksum is wrong"],
    },
    Row {
        what: "records with other fields",
        world: good,
        job: |job| {
            job.source("bids", log_source::<Renamed>("orders"))
                .discard();
            Ok(())
        },
        expected: &[
            "{auction, price, note}",
            "Bid`",
            "{auction, cost, note}",
            "Renamed`",
        ],
    },
    Row {
        what: "records with a field of another type",
        world: good,
        job: |job| {
            job.source("bids", log_source::<Priced>("orders")).discard();
            Ok(())
        },
        expected: &[
            "the record at offset 0 of partition",
            "00000000000000000000.log, ",
            "is no `",
            "Priced`",
            "was made for",
            "Bid`",
        ],
    },
    Row {
        what: "records of another type are written",
        world: good,
        job: |job| {
            job.source("numbers", iterator(0..9u64))
                .sink("log", log_sink("orders"));
            Ok(())
        },
        expected: &[
            "`log`",
            "orders holds {auction, price, note}",
            "and not u64",
        ],
    },
    Row {
        what: "a frame that is damaged, for a reader",
        world: damage,
        job: read,
        expected: &[
            "orders/0001/00000000000000000000.log is damaged at byte 36 (offset 0)",
            "checksum",
        ],
    },
    Row {
        what: "a header that is damaged",
        world: |world| {
            let mut bytes = world.disk.get(FIRST).unwrap();
            bytes[20] ^= 1;
            world.disk.put(FIRST, bytes);
        },
        job: read,
        expected: &[
            "orders/0001/00000000000000000000.log is damaged at byte 0",
            "header",
        ],
    },
    Row {
        what: "a segment that has been removed by hand",
        world: |world| {
            world.append(40..200, |sink| sink.segment_bytes_max(500));
            let paths = world.disk.paths();
            let segments = paths.iter().filter(|path| path.starts_with("orders/0001"));
            let second = segments.clone().nth(1).unwrap();
            let disk: &dyn levada_core::disk::Disk = &world.disk;
            disk.remove(second).unwrap();
        },
        job: read,
        expected: &[
            "orders/0001/00000000000000000000.log is damaged",
            "ends before what has been committed",
        ],
    },
    Row {
        what: "a frame that is damaged, for a writer",
        world: |world| {
            world.append(40..41, |sink| sink.segment_bytes_max(1 << 20));
            for partition in 0..3 {
                let dir = format!("orders/{partition:04}");
                let paths = world.disk.paths();
                let last = paths.iter().rfind(|path| path.starts_with(&dir)).unwrap();
                let mut bytes = world.disk.get(last).unwrap();
                bytes[60] ^= 1;
                world.disk.put(last, bytes);
            }
        },
        job: write,
        expected: &["`log`", "orders/0000/", "is damaged at byte 36", "checksum"],
    },
    Row {
        what: "the name of a consumer that is no name of a file",
        world: good,
        job: |job| {
            let source = log_source::<Bid>("orders").consumer("../billing");
            job.source("bids", source).discard();
            Ok(())
        },
        expected: &["`../billing` cannot be the name of a consumer"],
    },
    Row {
        what: "a consumer of a log with another number of partitions",
        world: |world| {
            // The checksum is the CRC-32 of eight zeros.
            let text = r#"{"magic":"levada log consumer","version":1,"offsets":[0],"checksum":1696784233}"#;
            world.disk.put("orders/consumers/billing.json", text);
        },
        job: consume,
        expected: &["orders/consumers/billing.json has 1 partitions and not 3"],
    },
    Row {
        what: "a consumer that is beyond the end",
        world: |world| {
            world.append(40..80, |sink| sink);
            world.consume(|source| source.consumer("billing")).unwrap();
            let other = World::new(1);
            other.append(0..3, |sink| sink);
            for path in world.disk.paths() {
                if path.starts_with("orders/0000") || path.ends_with("ends.json") {
                    match other.disk.get(&path) {
                        Some(bytes) => world.disk.put(path, bytes),
                        None => levada_core::disk::Disk::remove(&world.disk, &path).unwrap(),
                    }
                }
            }
        },
        job: consume,
        expected: &["of partition 0 lies behind the end of orders", "made anew"],
    },
    Row {
        what: "a consumer whose records have been removed",
        world: |world| {
            world.consume(|source| source.consumer("billing")).unwrap();
            for round in 1..6 {
                let range = round * 40..round * 40 + 40;
                world.append(range, |sink| sink.segment_bytes_max(300).retain_bytes(300));
            }
        },
        job: consume,
        expected: &[
            "of partition 0 of orders has been removed",
            "the earliest one left is",
            "OnGap::Earliest",
        ],
    },
    Row {
        what: "offsets for another number of partitions",
        world: good,
        job: |job| {
            let source = log_source::<Bid>("orders")
                .from_offsets([0, 0])
                .on_gap(OnGap::Earliest);
            job.source("bids", source).discard();
            Ok(())
        },
        expected: &["orders has 3 partitions and not 2"],
    },
    Row {
        what: "a sink that asks for another number of partitions",
        world: good,
        job: |job| {
            let sink = log_sink("orders").partitions(4);
            job.source("numbers", iterator(0..9u64))
                .map(bids)
                .sink("log", sink);
            Ok(())
        },
        expected: &[
            "`log`",
            "orders has 3 partitions and not 4",
            "fixed when a log is made",
        ],
    },
    Row {
        what: "a log without partitions",
        world: good,
        job: |job| {
            let sink = log_sink("new").partitions(0);
            job.source("numbers", iterator(0..9u64)).sink("log", sink);
            Ok(())
        },
        expected: &["`log`", "1 to 10000 partitions, not 0"],
    },
    Row {
        what: "a directory that holds something else",
        world: |world| world.disk.put("mine/letter.txt", "dear"),
        job: |job| {
            job.source("numbers", iterator(0..9u64))
                .sink("log", log_sink("mine"));
            Ok(())
        },
        expected: &["`log`", "mine holds letter.txt and is no log"],
    },
    Row {
        what: "a record that is too large",
        world: good,
        job: |job| {
            let large = |n: u64| Bid {
                note: "x".repeat(n as usize * 10),
                ..bids(n)
            };
            let sink = log_sink("orders").record_bytes_max(1_000);
            job.source("numbers", iterator(0..200u64))
                .map(large)
                .sink("log", sink);
            Ok(())
        },
        expected: &["`log`", "is larger than 1000", ".record_bytes_max(..)"],
    },
    Row {
        what: "a record that serde cannot rebuild",
        world: good,
        job: |job| {
            let flat = |n: u64| Flat {
                rest: HashMap::from([(n.to_string(), n)]),
            };
            job.source("numbers", iterator(0..9u64))
                .map(flat)
                .sink("log", log_sink("flat"));
            Ok(())
        },
        expected: &["`log`", "Flat` cannot be kept in a log", "flatten"],
    },
    Row {
        what: "a disk that runs full",
        world: |world| world.disk.fill_after(5_000),
        job: write,
        expected: &["`log`", "cannot write orders/", "no storage space"],
    },
    Row {
        what: "a disk that cannot sync",
        world: |world| world.disk.fail_syncs_after(0),
        job: write,
        expected: &["`log`", "cannot sync orders/", "the device has failed"],
    },
];

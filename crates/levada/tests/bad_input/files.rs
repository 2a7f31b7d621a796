//! Rows of bad input: files.

use std::collections::BTreeMap;
use std::time::Duration;

use levada::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One case: a file, a job that reads it, and what its user is told.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    pub(crate) content: Vec<u8>,
    pub(crate) job: fn(&Job),
    pub(crate) expected: &'static [&'static str],
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    id: u32,
    item: String,
    price: f64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    id: u32,
}

fn row(
    what: &'static str,
    path: &'static str,
    content: impl AsRef<[u8]>,
    job: fn(&Job),
    expected: &'static [&'static str],
) -> Row {
    Row {
        what,
        path,
        content: content.as_ref().to_vec(),
        job,
        expected,
    }
}

const GOOD: &str = r#"{"id":1,"item":"lamp","price":2.5}"#;

/// The second line is wrong.
fn json(what: &'static str, line: impl AsRef<[u8]>, expected: &'static [&'static str]) -> Row {
    let mut content = format!("{GOOD}\r\n").into_bytes();
    content.extend(line.as_ref());
    content.extend(format!("\n{GOOD}\n").bytes());
    row(
        what,
        "in.jsonl",
        content,
        |job| job.source("in", jsonl::<Order>("in.jsonl")).discard(),
        expected,
    )
}

/// A CSV file as it is.
fn table(what: &'static str, content: impl AsRef<[u8]>, expected: &'static [&'static str]) -> Row {
    row(
        what,
        "in.csv",
        content,
        |job| job.source("in", csv::<Order>("in.csv")).discard(),
        expected,
    )
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = json_lines();
    rows.extend(tables());
    rows.extend(others());
    #[cfg(feature = "compression")]
    rows.extend(compressed::rows());
    rows
}

fn json_lines() -> Vec<Row> {
    let nested = "[".repeat(200) + &"]".repeat(200);
    vec![
        json(
            "JSON without a colon",
            r#"{"id" 1}"#,
            &["`in`", "in.jsonl, line 2, column 7: expected `:`"],
        ),
        json(
            "JSON that breaks off",
            r#"{"id":1,"#,
            &["in.jsonl, line 2, column 8: EOF while parsing"],
        ),
        json(
            "JSON over several lines",
            "{",
            &["in.jsonl, line 2, column 1: EOF while parsing an object"],
        ),
        json(
            "an integer that is too large",
            r#"{"id":4294967296,"item":"","price":0}"#,
            &["in.jsonl, line 2, column 16: invalid value: integer `4294967296`, expected u32"],
        ),
        json(
            "an integer of thirty digits",
            r#"{"id":999999999999999999999999999999,"item":"","price":0}"#,
            &["in.jsonl, line 2, column 36", "expected u32"],
        ),
        json(
            "a number beyond floating point",
            r#"{"id":1,"item":"","price":1e999}"#,
            &["in.jsonl, line 2, column 3", "number out of range"],
        ),
        json(
            "NaN in JSON",
            r#"{"id":1,"item":"","price":NaN}"#,
            &["in.jsonl, line 2, column 27: expected value"],
        ),
        json(
            "garbage behind a value",
            format!("{GOOD} x"),
            &["in.jsonl, line 2, column 36: trailing characters"],
        ),
        json(
            "two values on a line",
            format!("{GOOD}{GOOD}"),
            &["in.jsonl, line 2, column 35: trailing characters"],
        ),
        json(
            "text that is no JSON",
            "lamp;2.5",
            &["in.jsonl, line 2, column 1: expected value"],
        ),
        json(
            "a missing field",
            r#"{"id":1,"price":2}"#,
            &["in.jsonl, line 2, column 18: missing field `item`"],
        ),
        json(
            "a field twice",
            r#"{"id":1,"id":2}"#,
            &["in.jsonl, line 2, column 12: duplicate field `id`"],
        ),
        json(
            "a string for a number",
            r#"{"id":"1","item":"","price":0}"#,
            &["in.jsonl, line 2, column 9: invalid type: string \"1\", expected u32"],
        ),
        json(
            "null for a string",
            r#"{"id":1,"item":null}"#,
            &["in.jsonl, line 2", "invalid type: null, expected a string"],
        ),
        json(
            "half a surrogate pair",
            r#"{"id":1,"item":"\ud800"}"#,
            &["in.jsonl, line 2, column 23: unexpected end of hex escape"],
        ),
        json(
            "a control character in a string",
            "{\"id\":1,\"item\":\"a\tb\"}",
            &["in.jsonl, line 2, column 18", "control character"],
        ),
        json(
            "JSON that is not UTF-8",
            b"{\"item\":\"\xc3\xa4\xff\"}",
            &["in.jsonl, line 2, column 11: not UTF-8"],
        ),
        json(
            "JSON that is not UTF-8 in a field nobody reads",
            b"{\"id\":1,\"x\":\"\xff\",\"item\":\"\",\"price\":0}",
            &["in.jsonl, line 2, column 14: not UTF-8"],
        ),
        json("a zero byte", b"{\"id\":1}\0", &["in.jsonl, line 2"]),
        row(
            "a field that is not known",
            "in.jsonl",
            "{\"id\":1}\n\n{\"id\":1,\"more\":2}",
            |job| job.source("in", jsonl::<Strict>("in.jsonl")).discard(),
            &["in.jsonl, line 3, column 14: unknown field `more`, expected `id`"],
        ),
        row(
            "JSON nested two hundred deep",
            "in.jsonl",
            nested,
            |job| job.source("in", jsonl::<Value>("in.jsonl")).discard(),
            &["in.jsonl, line 1, column 128: recursion limit exceeded"],
        ),
        row(
            "a JSON line beyond the limit",
            "in.jsonl",
            format!("1\n\"{}\"\n", "x".repeat(2_000)),
            |job| {
                job.source("in", jsonl::<Value>("in.jsonl").line_bytes_max(1_000))
                    .discard();
            },
            &[
                "in.jsonl, line 2: the line is longer than 1000 bytes",
                ".line_bytes_max(..)",
            ],
        ),
    ]
}

fn tables() -> Vec<Row> {
    vec![
        table(
            "CSV without a column",
            "id,item\n1,lamp\n",
            &[
                "`in`",
                "in.csv, line 2: missing field `price`; the header has id, item",
            ],
        ),
        table(
            "CSV with another delimiter",
            "id;item;price\n1;lamp;2.5\n",
            &["in.csv, line 2: missing field `id`; the header has id;item;price"],
        ),
        table(
            "a column twice",
            "id,id,item,price\n1,1,lamp,2\n",
            &["in.csv, line 2", "duplicate field `id`"],
        ),
        table(
            "a row with too few fields",
            "id,item,price\n1,\"la\nmp\",2\n\n2,vase\n",
            &[
                "in.csv, line 5, column 7: the field `price` is missing: the row ends after 2 of 3 fields",
            ],
        ),
        table(
            "a row with too many fields",
            "id,item,price\n1,lamp,2.5,x\n",
            &["in.csv, line 2, column 12: the row has 4 fields, the header 3"],
        ),
        table(
            "text in a column of numbers",
            "item,id,price\r\n\"lä\",1x,2\r\n",
            &["in.csv, line 2, column 6: the field `id` is `1x`: invalid digit found in string"],
        ),
        table(
            "nothing in a column of numbers",
            "id,item,price\n,lamp,2\n",
            &[
                "in.csv, line 2, column 1: the field `id` is ``: cannot parse integer from empty string",
            ],
        ),
        table(
            "a number in CSV that is too large",
            "id,item,price\n99999999999,lamp,2\n",
            &["in.csv, line 2, column 1: the field `id` is `99999999999`: number too large"],
        ),
        table(
            "a decimal comma",
            "id,item,price\n1,lamp,\"2,5\"\n",
            &["in.csv, line 2, column 8: the field `price` is `2,5`: invalid float literal"],
        ),
        table(
            "a quote that is never closed",
            "id,item,price\n1,lamp,2\n2,\"vase,3\n3,jug,4\n",
            &["in.csv, line 3, column 3: this quote is never closed"],
        ),
        table(
            "something behind a closing quote",
            "id,item,price\n1,\"two\nlines\"x,2\n",
            &["in.csv, line 3, column 7: expected the end of the field behind its closing quote"],
        ),
        table(
            "a quote within a field",
            "id,item,price\n1,5\" disk,2\n",
            &["in.csv, line 2, column 4: a quote stands within a field"],
        ),
        table(
            "CSV that is not UTF-8",
            b"id,item,price\n1,l\xe4mp,2\n",
            &["in.csv, line 2, column 3: the field `item` is not UTF-8"],
        ),
        table(
            "a header that is not UTF-8",
            b"id,it\xe4m,price\n",
            &["in.csv, line 1, column 4: field 2 is not UTF-8"],
        ),
        table(
            "a header whose quote is never closed",
            "\nid,\"item\n",
            &["in.csv, line 2, column 4: this quote is never closed"],
        ),
        row(
            "a CSV row beyond the limit",
            "in.csv",
            format!("1,2\n3,\"{}\"\n", "x\n".repeat(2_000)),
            |job| {
                let rows = csv::<(u8, String)>("in.csv")
                    .headers(false)
                    .record_bytes_max(1_000);
                job.source("in", rows).discard();
            },
            &[
                "in.csv, line 2: the record is longer than 1000 bytes",
                ".record_bytes_max(..)",
            ],
        ),
        row(
            "rows of different lengths without a header",
            "in.csv",
            "1,2\n3\n",
            |job| {
                job.source("in", csv::<Vec<u8>>("in.csv").headers(false))
                    .discard();
            },
            &["in.csv, line 2, column 2: field 2 is missing: the row ends after 1 of 2 fields"],
        ),
        row(
            "neither true nor false",
            "in.csv",
            "yes\n1\n",
            |job| job.source("in", csv::<(bool,)>("in.csv")).discard(),
            &["in.csv, line 2, column 1: the field `yes` is `1`"],
        ),
    ]
}

fn others() -> Vec<Row> {
    vec![
        row(
            "text that is not UTF-8",
            "in.txt",
            b"one\r\n\xc3\xa4\xff\n",
            |job| job.source("in", text_files("in.txt")).discard(),
            &["`in`", "in.txt, line 2, column 2: not UTF-8", ".lossy()"],
        ),
        row(
            "a line beyond the limit",
            "in.txt",
            format!("short\n{}", "x".repeat(2_000)),
            |job| {
                job.source("in", text_files("in.txt").line_bytes_max(1_000))
                    .discard();
            },
            &["in.txt, line 2: the line is longer than 1000 bytes"],
        ),
        row(
            "a pattern that matches nothing",
            "in/other.txt",
            "",
            |job| job.source("in", jsonl::<Value>("in/*.jsonl")).discard(),
            &["`in`", "there is no file in/*.jsonl"],
        ),
        row(
            "a pattern that is none",
            "in/a.csv",
            "",
            |job| job.source("in", csv::<Order>("in/[a.csv")).discard(),
            &["`in`", "[a.csv is no pattern of files"],
        ),
        row(
            "a directory for a file",
            "in/a.csv",
            "",
            |job| job.source("in", csv::<Order>("in")).discard(),
            &["`in`", "in is a directory", "in/*"],
        ),
        row(
            "a watched directory that does not exist",
            "elsewhere/a.csv",
            "",
            |job| {
                job.source("in", csv::<Order>("in/*.csv").watch(Duration::from_secs(1)))
                    .discard();
            },
            &["`in`", "in cannot be watched: there is no such directory"],
        ),
        row(
            "a record that JSON does not have",
            "in.txt",
            "1\n",
            |job| {
                job.source("in", text_files("in.txt"))
                    .map(|line| BTreeMap::from([((1, 2), line)]))
                    .sink("out", files("out").jsonl());
            },
            &[
                "`out`",
                "a record cannot be written as JSON",
                "key must be a string",
            ],
        ),
        row(
            "a record that CSV does not have",
            "in.txt",
            "1\n",
            |job| {
                job.source("in", text_files("in.txt"))
                    .map(|line| BTreeMap::from([(line, 1)]))
                    .sink("out", files("out").csv());
            },
            &[
                "`out`",
                "a record with a map cannot be written as a row of fields",
            ],
        ),
        #[cfg(not(feature = "compression"))]
        row(
            "a compressed file without the feature",
            "in.csv.gz",
            "",
            |job| job.source("in", csv::<Order>("in.csv.gz")).discard(),
            &[
                "`in`",
                "in.csv.gz is compressed",
                "the feature `compression`",
            ],
        ),
    ]
}

#[cfg(feature = "compression")]
mod compressed {
    use levada::connectors::{AsText, Files};
    use levada_testing::Simulation;

    use super::*;

    /// A text as a sink compresses it.
    fn compress(lines: &[String], how: fn(Files<AsText>) -> Files<AsText>) -> Vec<u8> {
        let simulation = Simulation::new(0).parallelism(1);
        let run = simulation.run(|job: &Job| {
            let lines = job.source("lines", iterator(lines.to_vec()));
            lines.sink("out", how(files("d")));
        });
        run.expect("the job is right").expect_finished();
        let paths = simulation.disk().paths();
        let part = paths.iter().find(|path| !path.ends_with(".levada-lock"));
        let part = part.expect("there are lines");
        simulation.disk().get(part).expect("it was listed")
    }

    fn gz(what: &'static str, content: &[u8], expected: &'static [&'static str]) -> Row {
        row(
            what,
            "in.gz",
            content,
            |job| job.source("in", text_files("in.gz")).discard(),
            expected,
        )
    }

    fn zst(what: &'static str, content: &[u8], expected: &'static [&'static str]) -> Row {
        row(
            what,
            "in.zst",
            content,
            |job| job.source("in", text_files("in.zst")).discard(),
            expected,
        )
    }

    fn with_flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
        let at = bytes.len() - from_end;
        bytes[at] ^= 0x55;
        bytes
    }

    pub(crate) fn rows() -> Vec<Row> {
        let lines: Vec<_> = (0..1_000).map(|n| format!("line {n}")).collect();
        let gzip = compress(&lines, Files::gzip);
        let zstd = compress(&lines, Files::zstd);
        let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
        let garbage = |bytes: &[u8]| [bytes, b"and then some garbage"].concat();
        let bomb = compress(&["x".repeat(20 << 20)], Files::gzip);
        assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
        vec![
            gz(
                "gzip that breaks off",
                &half(&gzip),
                &["`in`", "in.gz is truncated: it ends in the middle"],
            ),
            gz(
                "gzip without its last byte",
                &gzip[..gzip.len() - 1],
                &["in.gz is truncated"],
            ),
            gz(
                "gzip of no bytes",
                b"",
                &["in.gz is truncated", "after 0 decompressed bytes"],
            ),
            gz(
                "gzip with a wrong checksum",
                &with_flipped(gzip.clone(), 6),
                &["in.gz is damaged"],
            ),
            gz(
                "gzip with a wrong length",
                &with_flipped(gzip.clone(), 2),
                &["in.gz is damaged"],
            ),
            gz(
                "gzip with garbage behind it",
                &garbage(&gzip),
                &["in.gz is damaged or has something else behind its end"],
            ),
            gz(
                "no gzip at all",
                b"plain text",
                &["in.gz is damaged", "after 0 decompressed bytes"],
            ),
            zst(
                "zstd that breaks off",
                &half(&zstd),
                &["`in`", "in.zst is truncated"],
            ),
            zst(
                "zstd with a wrong checksum",
                &with_flipped(zstd.clone(), 2),
                &["in.zst is damaged"],
            ),
            zst(
                "zstd with garbage behind it",
                &garbage(&zstd),
                &["in.zst is damaged or has something else behind its end"],
            ),
            zst(
                "no zstd at all",
                b"plain text",
                &["in.zst is damaged", "after 0 decompressed bytes"],
            ),
            row(
                "a few kilobytes that decompress to one line of megabytes",
                "in.gz",
                bomb,
                |job| {
                    job.source("in", text_files("in.gz").line_bytes_max(1 << 20))
                        .discard();
                },
                &["in.gz, line 1: the line is longer than 1048576 bytes"],
            ),
        ]
    }
}

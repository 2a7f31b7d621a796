//! The word count example against a hand-written loop.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use levada::Runner;
use levada::prelude::*;

use crate::measure::{Plan, compare};

/// One owned string per word, as the job makes them.
fn by_hand(files: &[PathBuf]) -> Vec<(String, u64)> {
    let mut counts: HashMap<String, u64, foldhash::fast::RandomState> = HashMap::default();
    for file in files {
        let mut lines =
            BufReader::with_capacity(64 << 10, File::open(file).expect("the text is there"));
        let mut line = String::new();
        while lines.read_line(&mut line).expect("the text is UTF-8") > 0 {
            let words = line.split(|c: char| !c.is_ascii_alphabetic());
            for word in words.filter(|word| !word.is_empty()) {
                *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
            }
            line.clear();
        }
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_unstable_by_key(|(word, count)| (Reverse(*count), word.clone()));
    rows.truncate(10);
    rows
}

fn by_job(files: &[PathBuf]) {
    let files: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    Runner::new()
        .parallelism(1)
        .run(move |job: &Job| {
            job.source("lines", text_files(files.clone()))
                .expand(|line, out| {
                    let words = line.split(|c: char| !c.is_ascii_alphabetic());
                    for word in words.filter(|word| !word.is_empty()) {
                        out.emit((word.to_ascii_lowercase(), ()));
                    }
                })
                .keyed()
                .count("counts")
                .at_end()
                .top("most-frequent", 10, |(word, count)| {
                    (*count, Reverse(word.clone()))
                })
                .sink(
                    "table",
                    for_each(|row| {
                        black_box(row);
                    }),
                )
        })
        .expect("the job ends");
}

pub(crate) fn run(plan: &Plan) {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/kjv.txt");
    let dir = tempfile::tempdir().expect("there is room for some copies of the text");
    let copies = if plan.share == 1 { 10 } else { 1 };
    let files: Vec<_> = (0..copies)
        .map(|copy| {
            let file = dir.path().join(format!("{copy}.txt"));
            fs::copy(&text, &file).expect("there is room for some copies of the text");
            file
        })
        .collect();
    let text = fs::read_to_string(&text).expect("the text is UTF-8");
    let words = text.split(|c: char| !c.is_ascii_alphabetic());
    let words = words.filter(|word| !word.is_empty()).count() as u64 * copies;
    compare(
        plan,
        "words (word_count -p 1)",
        words,
        ("loop", || {
            black_box(by_hand(&files));
        }),
        ("job", || by_job(&files)),
    );
}

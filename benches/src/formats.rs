//! JSON lines and CSV, typed by serde, against loops over the same libraries.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;

use levada::Runner;
use levada::prelude::*;
use serde::{Deserialize, Serialize};

use crate::measure::{Plan, compare};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Order {
    id: u64,
    item: String,
    customer: String,
    price: f64,
    paid: bool,
}

fn order(id: u64) -> Order {
    Order {
        id,
        item: format!("item {}", id % 1_000),
        customer: format!("customer \"{}\"", id % 77),
        price: id as f64 / 8.0,
        paid: id.is_multiple_of(3),
    }
}

fn jsonl_by_hand(file: &Path) -> f64 {
    let mut lines =
        BufReader::with_capacity(64 << 10, File::open(file).expect("the file was written"));
    let mut line = String::new();
    let mut sum = 0.0;
    while lines.read_line(&mut line).expect("it is UTF-8") > 0 {
        let order: Order = serde_json::from_str(&line).expect("a line is an order");
        sum += black_box(order).price;
        line.clear();
    }
    sum
}

fn csv_by_hand(file: &Path) -> f64 {
    let mut rows = csv::Reader::from_path(file).expect("the file was written");
    let rows = rows.deserialize();
    rows.map(|order: Result<Order, _>| black_box(order.expect("a row is an order")).price)
        .sum()
}

fn by_job<S>(source: impl Fn() -> S)
where
    S: levada::Source<Out = Order>,
{
    Runner::new()
        .parallelism(1)
        .run(|job: &Job| {
            job.source("orders", source()).sink(
                "out",
                for_each(|order: Order| {
                    black_box(order);
                }),
            )
        })
        .expect("the job ends");
}

pub(crate) fn run(plan: &Plan) {
    let dir = tempfile::tempdir().expect("there is room for two files");
    let count = 2_000_000 / plan.share;
    let lines: String = (0..count)
        .map(|id| serde_json::to_string(&order(id)).expect("an order is JSON") + "\n")
        .collect();
    let jsonl_file = dir.path().join("orders.jsonl");
    fs::write(&jsonl_file, lines).expect("there is room for the file");
    let csv_file = dir.path().join("orders.csv");
    let mut rows = csv::Writer::from_path(&csv_file).expect("there is room for the file");
    for id in 0..count {
        rows.serialize(order(id)).expect("an order is a row");
    }
    rows.flush().expect("there is room for the file");

    compare(
        plan,
        "formats: JSON lines",
        count,
        ("serde_json loop", || {
            black_box(jsonl_by_hand(&jsonl_file));
        }),
        ("job", || by_job(|| jsonl::<Order>(&*jsonl_file))),
    );
    compare(
        plan,
        "formats: CSV",
        count,
        ("csv loop", || {
            black_box(csv_by_hand(&csv_file));
        }),
        ("job", || by_job(|| csv::<Order>(&*csv_file))),
    );
}

//! Two jobs with a log between them: one takes orders in, the other bills what is new since it ran last.
//!
//! Both run on a directory that is thrown away, each twice: as on two days.

use std::path::PathBuf;

use levada::prelude::*;
use levada::{Runner, connectors::Log};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Order {
    number: u64,
    customer: String,
    cents: u64,
}

/// Appends a day's orders. They become visible together, when the job has come to its end.
fn take_orders(job: &Job, log: &PathBuf, day: u64) {
    let sink = log_sink(log)
        .partitions(2)
        .partition_by(|order: &Order| order.customer.clone());
    job.source("orders", iterator(day * 1_000..day * 1_000 + 600))
        .map(|number| Order {
            number,
            customer: ["ana", "rui", "eva"][number as usize % 3].to_owned(),
            cents: 100 + number % 50,
        })
        .sink("log", sink);
}

/// Bills what no earlier run of the consumer `billing` has billed.
fn bill(job: &Job, log: &PathBuf) {
    job.source("new-orders", log_source::<Order>(log).consumer("billing"))
        .map(|order| (order.customer, order.cents))
        .keyed()
        .aggregate("bills", |orders| {
            (orders.count(), orders.sum(|cents| *cents))
        })
        .at_end()
        .top("by-name", 10, |(customer, _)| customer.clone())
        .sink(
            "out",
            stdout().format(|(customer, (orders, cents)): &(String, (u64, u64)), row| {
                *row += &format!(
                    "{customer}: {orders} orders, {}.{:02}",
                    cents / 100,
                    cents % 100
                );
            }),
        );
}

#[expect(clippy::print_stdout, reason = "none of the jobs runs then")]
fn main() -> levada::Result {
    let dir = std::env::temp_dir().join(format!("levada-orders-{}", std::process::id()));
    let log = dir.join("log");
    for day in 1..=2 {
        Runner::new().run(|job: &Job| take_orders(job, &log, day))?;
        println!("day {day}: {} orders to bill", lag(&log)?);
        Runner::new().run(|job: &Job| bill(job, &log))?;
        println!("day {day}: {} left", lag(&log)?);
    }
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// How many orders have not been billed.
fn lag(log: &PathBuf) -> levada::Result<u64> {
    let log = Log::open(log).map_err(levada::Error::new)?;
    Ok(log.lag("billing").map_err(levada::Error::new)?.records())
}

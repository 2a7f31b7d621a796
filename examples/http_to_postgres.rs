//! Takes orders over HTTP and keeps them in a PostgreSQL table, a row for each id: HTTP in, PostgreSQL out.
//!
//! ```text
//! cargo run --example http_to_postgres --features http,postgres -- --postgres "host=/var/run/postgresql dbname=shop"
//! curl -H 'Content-Type: application/json' -d '{"id": 1, "item": "lamp", "price": 20}' http://127.0.0.1:8080/orders
//! ```
//!
//! While the database is slow or away, requests are answered with 503 and `Retry-After`, and none is forgotten that was
//! answered with 202 as long as the job lives. The table: `CREATE TABLE orders (id bigint PRIMARY KEY, item text, price bigint)`.

use levada::connectors::{http_source, postgres};
use levada::prelude::*;

#[derive(clap::Args)]
struct Flags {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,

    /// How to reach the database
    #[arg(long, value_name = "CONNECTION")]
    postgres: String,

    /// Ends after so many orders
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct Order {
    id: i64,
    item: String,
    price: i64,
}

pub(crate) fn http_to_postgres(job: &Job) -> levada::Result {
    let flags: Flags = job.args()?;
    let mut orders = http_source::<Order>(&*flags.listen).path("/orders");
    if let Some(count) = flags.count {
        orders = orders.records(count);
    }
    job.source("orders", orders)
        .filter(|order| order.price > 0)
        // The rows of one id are written by one subtask, in order; the last one stays.
        .key_by(|order| order.id)
        .reduce("latest", |latest, order| *latest = order.clone())
        .map(|(_, order)| order)
        .sink("table", postgres(&*flags.postgres, "orders").key(["id"]));
    Ok(())
}

fn main() -> levada::Result {
    levada::main(http_to_postgres)
}

//! The example of HTTP in and PostgreSQL out, between curl and a server.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::process::Command;

use levada::Runner;
use levada_counterparts::{Postgres, await_until, free_port, tool};

#[path = "../../examples/http_to_postgres.rs"]
#[expect(dead_code, reason = "the program's main is not called")]
mod example;

/// Posts a body; returns the status and the answer.
fn post(url: &str, content_type: &str, body: &str) -> String {
    let output = Command::new(tool("curl", "curl"))
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(["--write-out", " %{http_code}", "--data-binary", body])
        .args(["--header", &format!("Content-Type: {content_type}"), url])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn orders_that_are_posted_become_rows() {
    let server = Postgres::start();
    server.sql("CREATE TABLE orders (id bigint PRIMARY KEY, item text, price bigint)");
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}/orders");
    let handle = Runner::new()
        .parallelism(2)
        .args([
            "--listen",
            &address,
            "--postgres",
            &server.address(),
            "--count",
            "1003",
        ])
        .start(example::http_to_postgres)
        .unwrap();

    await_until("the job listens", || {
        post(
            &url,
            "application/json",
            r#"{"id": 1, "item": "lamp", "price": 20}"#,
        )
        .ends_with("202")
    });
    // Half of a request that is wrong is not taken either.
    let wrong = "{\"id\": 2, \"item\": \"vase\", \"price\": 5}\n{\"id\": \"two\"}\n";
    let refused = post(&url, "application/x-ndjson", wrong);
    assert!(
        refused.ends_with("400") && refused.contains("\"line\":2"),
        "{refused}"
    );
    // A row that is there is replaced, and an order without a price is no order.
    let more = r#"[{"id": 1, "item": "lamp", "price": 25}, {"id": 3, "item": "rug", "price": 0}]"#;
    assert!(post(&url, "application/json", more).ends_with("202"));
    let many: Vec<_> = (10..1_010)
        .map(|id| format!("{{\"id\": {id}, \"item\": \"thing\", \"price\": {id}}}"))
        .collect();
    let taken = post(&url, "application/x-ndjson", &many.join("\n"));
    assert!(taken.ends_with("202") && taken.contains("1000"), "{taken}");

    handle.wait().unwrap();
    assert_eq!(
        server.sql("SELECT count(*), sum(price) FROM orders"),
        format!("1001|{}", 25 + (10..1_010).sum::<i64>())
    );
    assert_eq!(
        server.sql("SELECT item, price FROM orders WHERE id = 1"),
        "lamp|25"
    );
}

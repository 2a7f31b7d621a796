//! Rows of bad input: the network.

use std::time::Duration;

use levada::Retry;
#[cfg(feature = "http")]
use levada::connectors::{http_sink, http_source};
use levada::prelude::*;
use levada_testing::{MemoryNet, Peer};

/// One case: who is in the network, a job, and what its user is told.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) world: fn(&MemoryNet),
    pub(crate) job: fn(&Job),
    pub(crate) expected: &'static [&'static str],
}

const HERE: &str = "10.0.0.7:9000";

fn row(
    what: &'static str,
    world: fn(&MemoryNet),
    job: fn(&Job),
    expected: &'static [&'static str],
) -> Row {
    Row {
        what,
        world,
        job,
        expected,
    }
}

fn nobody(_: &MemoryNet) {}

fn read(job: &Job) {
    job.source("in", tcp_lines(HERE).line_bytes_max(100))
        .sink("printed", stdout());
}

fn listen(job: &Job) {
    job.source("in", tcp_listen(HERE)).sink("printed", stdout());
}

fn write(job: &Job) {
    job.source("numbers", iterator(0..1_000_000u64))
        .sink("out", tcp_sink(HERE));
}

pub(crate) fn rows() -> Vec<Row> {
    tcp().into_iter().chain(http()).collect()
}

fn tcp() -> Vec<Row> {
    vec![
        row(
            "nobody listens",
            nobody,
            read,
            &[
                "`in`",
                "cannot connect to 10.0.0.7:9000",
                "connection refused",
            ],
        ),
        row(
            "nobody listens, however often it is tried",
            nobody,
            |job| {
                let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(9));
                job.source("in", tcp_lines(HERE).retry(retry.attempts(4)))
                    .discard();
            },
            &[
                "`in`",
                "cannot connect to 10.0.0.7:9000",
                "connection refused",
            ],
        ),
        row(
            "a server that never answers",
            |network| network.never_answer(HERE),
            read,
            &["`in`", "cannot connect to 10.0.0.7:9000", "timed out"],
        ),
        row(
            "an unknown host",
            nobody,
            |job| {
                job.source("in", tcp_lines("nowhere.example:9000"))
                    .discard();
            },
            &[
                "`in`",
                "cannot find nowhere.example:9000",
                "the host has no address",
            ],
        ),
        row(
            "an address without a port",
            nobody,
            |job| job.source("in", tcp_listen("localhost")).discard(),
            &["`in`", "cannot find localhost", "invalid socket address"],
        ),
        row(
            "a port in use",
            |network| network.occupy(HERE),
            listen,
            &["`in`", "cannot listen at 10.0.0.7:9000", "address in use"],
        ),
        row(
            "a line beyond the limit",
            |network| network.serve(HERE, [Peer::sends(format!("a\n{}", "x".repeat(9_999)))]),
            read,
            &[
                "`in`",
                "10.0.0.7:9000, line 2: the line is longer than 100 bytes",
                ".line_bytes_max(..)",
            ],
        ),
        row(
            "a line that is not UTF-8",
            |network| network.serve(HERE, [Peer::sends(&b"one\ntw\xc3\xa4\xff\n"[..])]),
            read,
            &["`in`", "10.0.0.7:9000, line 2, column 4: not UTF-8"],
        ),
        row(
            "a peer's line that is not UTF-8",
            |network| network.call(HERE, Peer::sends(&b"\xff"[..])),
            listen,
            &["`in`", "10.0.1.1:40000, line 1, column 1: not UTF-8"],
        ),
        row(
            "a line of malformed JSON",
            |network| network.call(HERE, Peer::sends("{\"a\": 1}\n{\"a\": }\n")),
            |job| {
                let objects = tcp_listen(HERE).json::<std::collections::BTreeMap<String, u64>>();
                job.source("in", objects).discard();
            },
            &["`in`", "10.0.1.1:40000, line 2, column 7: expected value"],
        ),
        row(
            "a server that breaks the connection in mid-line",
            |network| network.serve(HERE, [Peer::sends("one\ntw").resets()]),
            read,
            &[
                "`in`",
                "the connection with 10.0.0.7:9000 broke at line",
                "connection reset",
            ],
        ),
        row(
            "a peer that breaks the connection in mid-line",
            |network| network.call(HERE, Peer::sends("one\ntw").resets()),
            listen,
            &[
                "`in`",
                "10.0.1.1:40000, line",
                "the connection broke: connection reset",
            ],
        ),
        row(
            "nobody takes what is written",
            nobody,
            write,
            &[
                "`out`",
                "cannot connect to 10.0.0.7:9000",
                "connection refused",
            ],
        ),
        row(
            "nobody takes what a job without a record writes",
            nobody,
            |job| {
                job.source("numbers", iterator(0..0u64))
                    .sink("out", tcp_sink(HERE));
            },
            &[
                "`out`",
                "cannot connect to 10.0.0.7:9000",
                "connection refused",
            ],
        ),
        row(
            "a reader that goes away",
            |network| network.serve(HERE, [Peer::reads().at_most(1_000).resets()]),
            write,
            &["`out`", "cannot write to 10.0.0.7:9000", "connection reset"],
        ),
    ]
}

#[cfg(not(feature = "http"))]
fn http() -> Vec<Row> {
    Vec::new()
}

#[cfg(feature = "http")]
fn http() -> Vec<Row> {
    vec![
        row(
            "a port in use, for HTTP",
            |network| network.occupy(HERE),
            |job| job.source("in", http_source::<u64>(HERE)).discard(),
            &["`in`", "cannot listen at 10.0.0.7:9000", "address in use"],
        ),
        row(
            "a type that panics when it is read",
            |network| {
                let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n7";
                network.call(HERE, Peer::sends(request).stays());
            },
            |job| job.source("in", http_source::<Explosive>(HERE)).discard(),
            &[
                "`in`",
                "the server at 10.0.0.7:9000 has stopped: it has panicked",
            ],
        ),
        row(
            "a receiver that says 400",
            |network| serve(network, "400 Bad Request", "", "no such stream: bids"),
            post,
            &[
                "`out`",
                "http://10.0.0.7:9000/in answered 400 Bad Request: no such stream: bids",
            ],
        ),
        row(
            "a receiver that points elsewhere",
            |network| {
                serve(
                    network,
                    "307 Temporary Redirect",
                    "Location: http://10.0.0.8/in\r\n",
                    "",
                );
            },
            post,
            &[
                "`out`",
                "answered 307",
                "points to http://10.0.0.8/in",
                "give that address",
            ],
        ),
        row(
            "a receiver that says 500 for ever",
            |network| serve(network, "500 Internal Server Error", "", "oops"),
            post,
            &[
                "`out`",
                "http://10.0.0.7:9000/in has not taken the records in",
                "attempts within",
                "it answered 500 Internal Server Error",
            ],
        ),
        row(
            "a receiver that asks for a wait beyond the time limit",
            |network| {
                serve(
                    network,
                    "503 Service Unavailable",
                    "Retry-After: 9999\r\n",
                    "",
                );
            },
            post,
            &[
                "`out`",
                "has not taken the records in 1 attempts",
                "503 Service Unavailable",
            ],
        ),
        row(
            "a receiver that never answers",
            |network| network.serve(HERE, [Peer::reads()]),
            post,
            &[
                "`out`",
                "has not taken the records in",
                "no answer within 30s",
            ],
        ),
        row(
            "a receiver that does not speak HTTP",
            |network| network.serve(HERE, [Peer::answers(|_| Some(b"220 ESMTP\r\n".to_vec()))]),
            post,
            &["`out`", "has not taken the records in", "invalid HTTP"],
        ),
        row(
            "nobody receives",
            nobody,
            post,
            &[
                "`out`",
                "has not taken the records in",
                "connection refused",
            ],
        ),
        row(
            "a receiver that breaks off its answer",
            |network| network.serve(HERE, [Peer::reads().at_most(20).resets()]),
            post,
            &["`out`", "has not taken the records in"],
        ),
        row(
            "https",
            nobody,
            |job| sink(job, "https://10.0.0.7/in"),
            &[
                "`out`",
                "https://10.0.0.7/in cannot be used: it does not begin with http://",
            ],
        ),
        row(
            "a URL that is none",
            nobody,
            |job| sink(job, "http://10.0.0.7 /in"),
            &["`out`", "http://10.0.0.7 /in cannot be used: it is no URL"],
        ),
        row(
            "a receiver that is unknown",
            nobody,
            |job| sink(job, "http://nowhere.example/in"),
            &[
                "`out`",
                "cannot find http://nowhere.example/in",
                "the host has no address",
            ],
        ),
        row(
            "a header that is none",
            nobody,
            |job| {
                let sink = http_sink("http://10.0.0.7/in").header("X-\n", "1");
                job.source("numbers", iterator(0..9u64)).sink("out", sink);
            },
            &["`out`", "cannot be used", "is no header"],
        ),
    ]
}

/// Cannot be read without a panic.
#[cfg(feature = "http")]
#[derive(Clone, Debug, serde::Serialize)]
struct Explosive;

#[cfg(feature = "http")]
impl<'de> serde::Deserialize<'de> for Explosive {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("it explodes");
    }
}

#[cfg(feature = "http")]
fn sink(job: &Job, url: &str) {
    job.source("numbers", iterator(0..9u64))
        .sink("out", http_sink(url));
}

#[cfg(feature = "http")]
fn post(job: &Job) {
    sink(job, "http://10.0.0.7:9000/in");
}

/// A receiver that gives the same answer to everything.
#[cfg(feature = "http")]
fn serve(network: &MemoryNet, status: &str, headers: &str, body: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answered = move |request: &[u8]| {
        let is_whole = request.ends_with(b"8\n") || request.ends_with(b"\n0\n");
        (is_whole || request.windows(4).any(|end| end == b"\r\n\r\n"))
            .then(|| answer.clone().into_bytes())
    };
    network.serve(HERE, [Peer::answers(answered)]);
}

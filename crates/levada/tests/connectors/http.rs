//! HTTP in and out: against scripted peers in the simulator's network, and through real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use levada::connectors::{http_sink, http_source};
use levada::prelude::*;
use levada::{Retry, Runner};
use levada_testing::{Peer, Simulation, campaign, collect, valve};

const HERE: &str = "10.0.0.7:8080";

/// A request; the connection is closed after its answer.
fn post(kind: &str, body: &str) -> String {
    format!(
        "POST /in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Status and body of an answer.
fn answer(bytes: &[u8]) -> (u16, String) {
    let text = String::from_utf8(bytes.to_owned()).expect("an answer is text");
    let status = text
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no answer: {text}"));
    let body = text.split_once("\r\n\r\n").expect("a head has an end").1;
    (
        status.parse().expect("a status is a number"),
        body.to_owned(),
    )
}

#[test]
fn posted_records_arrive_whatever_the_pieces() {
    campaign(0..100, |seed| {
        let simulation = Simulation::new(seed);
        let network = simulation.network();
        network.call(
            HERE,
            Peer::sends(post("application/json", "[1, 2]")).stays(),
        );
        network.call(HERE, Peer::sends(post("application/json", " 3 ")).stays());
        let lines: String = (4..100).map(|n| format!("{n}\n")).collect();
        network.call(
            HERE,
            Peer::sends(post("application/x-ndjson", &lines)).stays(),
        );
        let (sink, collected) = collect();
        let run = simulation
            .run(|job: &Job| {
                let numbers = http_source::<u64>(HERE).path("/in").requests(3);
                job.source("numbers", numbers).sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(
            collected.sorted(),
            (1..100).collect::<Vec<_>>(),
            "seed {seed}"
        );
        let answers: Vec<_> = network.received().iter().map(|a| answer(a)).collect();
        let expected = [2, 1, 96].map(|n| (202, format!("{{\"accepted\":{n}}}")));
        assert_eq!(answers, expected, "seed {seed}");
        run
    });
}

#[test]
fn what_is_refused_is_refused_as_a_whole_and_says_why() {
    let json = "application/json";
    let long_header = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(100_000));
    let rows: &[(&str, String, u16, &str)] = &[
        (
            "malformed JSON",
            post(json, "[[1,\"a\"],\n[2,]]"),
            400,
            "\"line\":2,\"column\":4",
        ),
        (
            "a JSON value of another type",
            post(json, "{\"a\": 1}"),
            400,
            "invalid type",
        ),
        (
            "NDJSON that ends in mid-line",
            post("application/x-ndjson", "[1,\"a\"]\n[2,"),
            400,
            "\"line\":2",
        ),
        ("no body", post(json, ""), 400, "EOF"),
        (
            "another content type",
            post("application/xml", "<a/>"),
            415,
            "application/x-ndjson",
        ),
        (
            "another charset",
            post("application/json; charset=latin1", "1"),
            415,
            "UTF-8",
        ),
        (
            "a compressed body",
            post(json, "x").replace("Host", "Content-Encoding: gzip\r\nHost"),
            415,
            "compressed",
        ),
        (
            "another path",
            post(json, "1").replace("/in", "/elsewhere"),
            404,
            "taken at /in",
        ),
        (
            "another method",
            post(json, "1").replace("POST", "DELETE"),
            405,
            "POST",
        ),
        (
            "a body beyond the limit",
            post(json, &" ".repeat(2_000)),
            413,
            "1000 bytes",
        ),
        (
            "a body beyond the limit that does not say so",
            format!(
                "POST /in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {json}\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
                " ".repeat(2_000)
            ),
            413,
            "1000 bytes",
        ),
        (
            "more records than the queue holds",
            post("application/x-ndjson", &"[1,\"a\"]\n".repeat(11)),
            413,
            "10 records",
        ),
        (
            "no HTTP",
            "hello, is anybody there?\r\n\r\n".to_owned(),
            400,
            "",
        ),
        ("a head beyond the limit", long_header, 431, ""),
    ];
    for (row, request, status, part) in rows {
        for seed in 0..4 {
            let source = || {
                http_source::<(u64, String)>(HERE)
                    .path("/in")
                    .body_bytes_max(1_000)
                    .queue(10)
            };
            let simulation = Simulation::new(seed);
            let network = simulation.network().clone();
            network.call(HERE, Peer::sends(request.as_str()).stays());
            let (sink, collected) = collect();
            let mut simulated = simulation
                .start(|job: &Job| {
                    job.source("orders", source().requests(1))
                        .sink("out", sink.clone());
                })
                .unwrap();
            simulated.settle();
            let (found, body) = answer(&network.received()[0]);
            assert_eq!(found, *status, "{row}, seed {seed}: {body}");
            assert!(body.contains(part), "{row}, seed {seed}: {body}");
            // The source is as good as before, and nothing of the request was taken.
            network.call(HERE, Peer::sends(post(json, "[7, \"good\"]")).stays());
            simulated.settle();
            simulated.finish().expect_finished();
            assert_eq!(
                collected.take(),
                [(7, "good".to_owned())],
                "{row}, seed {seed}"
            );
        }
    }
}

#[test]
fn slow_clients_are_cut_off() {
    for seed in 0..20 {
        for (request, status) in [
            // A head that never ends gets no answer, a body that never ends gets one.
            ("POST /in HTTP/1.1\r\nHost:", None),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nabc",
                Some(408),
            ),
        ] {
            let simulation = Simulation::new(seed);
            let network = simulation.network().clone();
            network.call(HERE, Peer::sends(request).stays());
            network.call(
                HERE,
                Peer::sends(post("text/plain", "fast").replace("/in", "/")).stays(),
            );
            let (sink, collected) = collect();
            let run = simulation
                .run(|job: &Job| {
                    // There is room for one connection: the second client waits until the first is cut off.
                    let words = http_source::<String>(HERE)
                        .connections_max(1)
                        .time_limit(Duration::from_secs(10))
                        .requests(1);
                    job.source("words", words).sink("out", sink.clone());
                })
                .unwrap();
            run.expect_finished();
            assert_eq!(collected.take(), ["fast"], "seed {seed}");
            assert!(run.elapsed >= Duration::from_secs(10), "seed {seed}");
            let received = network.received();
            match status {
                Some(status) => assert_eq!(answer(&received[0]).0, status, "seed {seed}"),
                None => assert!(received[0].is_empty() || answer(&received[0]).0 == 408),
            }
        }
    }
}

#[test]
fn a_full_queue_is_told_to_come_back_and_takes_in_nothing() {
    for seed in 0..30 {
        let simulation = Simulation::new(seed).parallelism(1);
        let network = simulation.network().clone();
        let (sink, valve) = valve();
        let mut simulated = simulation
            .start(|job: &Job| {
                let numbers = http_source::<u64>(HERE).queue(10);
                job.source("numbers", numbers)
                    .rebalance()
                    .sink("out", sink.clone());
            })
            .unwrap();
        let mut accepted = Vec::new();
        let mut refused = 0;
        // The sink is closed, so at some time everything between it and the clients is full.
        for n in 0..100_000u64 {
            let body = n.to_string();
            let request = post("application/json", &body).replace("/in", "/");
            network.call(HERE, Peer::sends(request).stays());
            simulated.settle();
            let received = network.received();
            match answer(received.last().unwrap()) {
                (202, _) => accepted.push(n),
                (503, _) => {
                    let text = String::from_utf8_lossy(received.last().unwrap()).to_lowercase();
                    assert!(text.contains("retry-after: 1"), "{text}");
                    refused += 1;
                    if refused == 3 {
                        break;
                    }
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        assert_eq!(refused, 3, "seed {seed}");
        network.call(HERE, Peer::sends("GET / HTTP/1.0\r\n\r\n").stays());
        simulated.settle();
        assert_eq!(
            answer(network.received().last().unwrap()).0,
            503,
            "seed {seed}"
        );
        valve.open();
        simulated.settle();
        network.call(HERE, Peer::sends("GET / HTTP/1.0\r\n\r\n").stays());
        simulated.settle();
        assert_eq!(
            answer(network.received().last().unwrap()).0,
            200,
            "seed {seed}"
        );
        assert_eq!(valve.take(), accepted, "seed {seed}");
        // A cancel ends it all.
        simulated.cancel();
        simulated.settle();
        assert!(simulated.is_done(), "seed {seed}");
    }
}

/// What a receiver has seen.
#[derive(Default)]
struct Seen {
    requests: u64,
    /// Key and lines of each batch that was taken.
    batches: Vec<(String, Vec<u64>)>,
}

/// A receiver: whether it takes a batch depends on how many requests it has seen.
fn receiver(
    seen: &Arc<Mutex<Seen>>,
    judge: impl Fn(u64) -> &'static str + Send + Sync + 'static,
) -> Peer {
    let seen = Arc::clone(seen);
    Peer::answers(move |request| {
        let text = String::from_utf8(request.to_owned()).expect("a request is text");
        let (head, body) = text.split_once("\r\n\r\n")?;
        let header = |name: &str| {
            let line = head
                .lines()
                .find(|l| l.to_ascii_lowercase().starts_with(name));
            line.unwrap_or_else(|| panic!("{name} in {head}"))[name.len() + 1..].trim()
        };
        if body.len()
            < header("content-length")
                .parse()
                .expect("a length is a number")
        {
            return None;
        }
        assert!(head.starts_with("POST /insert?x=1 HTTP/1.1"), "{head}");
        assert_eq!(header("content-type"), "application/x-ndjson");
        let mut seen = seen.lock().expect("nobody has panicked");
        seen.requests += 1;
        let verdict = judge(seen.requests);
        if verdict.starts_with('2') {
            let lines = body
                .lines()
                .map(|line| line.parse().expect("a record is a number"))
                .collect();
            seen.batches
                .push((header("idempotency-key").to_owned(), lines));
        }
        Some(format!("HTTP/1.1 {verdict}\r\nContent-Length: 2\r\n\r\nok").into_bytes())
    })
}

#[test]
fn records_are_posted_in_batches_until_they_are_taken() {
    campaign(0..60, |seed| {
        let simulation = Simulation::new(seed).parallelism(1);
        let seen = Arc::default();
        // Every third request is refused for a while.
        let judge = |n: u64| match n % 6 {
            3 => "503 Service Unavailable\r\nRetry-After: 7",
            5 => "429 Too Many Requests",
            _ => "200 OK",
        };
        simulation
            .network()
            .serve("store.example:9428", [receiver(&seen, judge)]);
        let run = simulation
            .run(|job: &Job| {
                job.source("numbers", iterator(0..500u64)).sink(
                    "out",
                    http_sink("http://store.example:9428/insert?x=1").batch_records_max(20),
                );
            })
            .unwrap();
        run.expect_finished();
        let seen = seen.lock().unwrap();
        let records: Vec<_> = seen
            .batches
            .iter()
            .flat_map(|(_, lines)| lines.clone())
            .collect();
        assert_eq!(records, (0..500).collect::<Vec<_>>(), "seed {seed}");
        assert!(seen.batches.iter().all(|(_, lines)| lines.len() <= 20));
        let mut keys: Vec<_> = seen.batches.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), seen.batches.len(), "seed {seed}");
        // The third request was refused for seven seconds.
        assert!(
            run.elapsed >= Duration::from_secs(7),
            "seed {seed}: {:?}",
            run.elapsed
        );
        run
    });
}

#[test]
fn a_batch_whose_answer_was_lost_is_sent_again_with_the_same_key() {
    for seed in 0..30 {
        let simulation = Simulation::new(seed).parallelism(1);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        // It takes the first batch and says something that is no answer: the connection is given up.
        let judge = |n: u64| if n == 1 { "2" } else { "200 OK" };
        simulation.network().serve(HERE, [receiver(&seen, judge)]);
        let run = simulation
            .run(|job: &Job| {
                job.source("numbers", iterator(0..50u64))
                    .sink("out", http_sink(format!("http://{HERE}/insert?x=1")));
            })
            .unwrap();
        run.expect_finished();
        let seen = seen.lock().unwrap();
        assert!(seen.batches.len() > 1, "seed {seed}");
        assert_eq!(seen.batches[0], seen.batches[1], "seed {seed}");
        let records = seen.batches[1..]
            .iter()
            .flat_map(|(_, lines)| lines.clone());
        assert_eq!(
            records.collect::<Vec<_>>(),
            (0..50).collect::<Vec<_>>(),
            "seed {seed}"
        );
    }
}

#[test]
fn batches_that_are_refused_for_good_can_be_left_out() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed).parallelism(1);
        let seen = Arc::default();
        let judge = |n: u64| if n == 1 { "400 Bad Request" } else { "200 OK" };
        simulation.network().serve(HERE, [receiver(&seen, judge)]);
        let run = simulation
            .run(|job: &Job| {
                let sink = http_sink(format!("http://{HERE}/insert?x=1")).on_error(OnError::Skip);
                job.source("numbers", iterator(0..50u64))
                    .sink("out", sink.batch_records_max(10));
            })
            .unwrap();
        run.expect_finished();
        let skipped: u64 = run
            .metrics
            .operators
            .iter()
            .map(levada::metrics::OperatorMetrics::sum_skipped)
            .sum();
        assert!(skipped > 0, "seed {seed}");
        let seen = seen.lock().unwrap();
        let taken: usize = seen.batches.iter().map(|(_, lines)| lines.len()).sum();
        assert_eq!(taken as u64 + skipped, 50, "seed {seed}");
    }
}

#[test]
fn a_job_is_cancelled_while_its_receiver_does_not_answer() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        simulation.network().serve(HERE, [Peer::reads()]);
        let mut simulated = simulation
            .start(|job: &Job| {
                let never = Retry::exponential(Duration::from_secs(1), Duration::from_secs(60));
                let sink = http_sink(format!("http://{HERE}/")).retry(never);
                job.source("numbers", iterator(0..u64::MAX))
                    .sink("out", sink);
            })
            .unwrap();
        assert!(simulated.run_until(|job| job.elapsed() > Duration::from_secs(3_600)));
        let read = simulated.metrics().records_read();
        assert!(read < 100_000, "seed {seed}: {read} records wait");
        simulated.cancel();
        assert!(
            simulated.run_until(levada_testing::Simulated::is_done),
            "seed {seed}"
        );
        let run = simulated.finish();
        assert!(matches!(run.outcome, Err(levada_runtime::Error::Cancelled)));
        run.expect_empty();
    }
}

// From here on the sockets are real.

#[test]
fn what_one_job_posts_another_one_takes_in() {
    let (sender, address) = crossbeam_channel::bounded::<SocketAddr>(1);
    let (sink, collected) = collect();
    let server = Runner::new()
        .start(move |job: &Job| {
            let sender = sender.clone();
            let numbers = http_source::<u64>("127.0.0.1:0")
                .path("/numbers")
                .queue(500)
                .records(20_000)
                .on_listening(move |address| {
                    let _ = sender.try_send(address);
                });
            job.source("numbers", numbers).sink("out", sink.clone());
        })
        .unwrap();
    let address = address.recv().unwrap();
    Runner::new()
        .parallelism(2)
        .run(move |job: &Job| {
            // The queue is small: some batches are told to come back.
            let retry = Retry::exponential(Duration::from_millis(1), Duration::from_millis(20));
            let sink = http_sink(format!("http://{address}/numbers"))
                .batch_records_max(300)
                .retry(retry);
            job.source("numbers", iterator(0..20_000u64))
                .rebalance()
                .sink("out", sink);
        })
        .unwrap();
    server.wait().unwrap();
    assert!(collected.sorted() == (0..20_000).collect::<Vec<_>>());
}

#[test]
fn a_cancel_ends_a_server_with_a_client_in_mid_request() {
    let (sender, address) = crossbeam_channel::bounded::<SocketAddr>(1);
    let handle = Runner::new()
        .start(move |job: &Job| {
            let sender = sender.clone();
            let words = http_source::<String>("127.0.0.1:0").on_listening(move |address| {
                let _ = sender.try_send(address);
            });
            job.source("words", words).sink("out", for_each(|_| {}));
        })
        .unwrap();
    let mut client = TcpStream::connect(address.recv().unwrap()).unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        .unwrap();
    // The server waits for the body: it has said so.
    let mut interim = [0; 25];
    client.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 Continue"));
    handle.cancel();
    let error = handle.wait().unwrap_err();
    assert_eq!(error.exit_code(), 130, "{error}");
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 503"),
        "{rest}"
    );
}

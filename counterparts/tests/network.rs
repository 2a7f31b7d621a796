//! Sockets against `nc`, and HTTP against `curl`.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use levada::Runner;
use levada::connectors::http_source;
use levada::prelude::*;
use levada_counterparts::{await_listener, free_port, tool};

fn lines(count: u64) -> Vec<String> {
    (0..count)
        .map(|n| format!("{n} {}", "~".repeat((n % 200) as usize)))
        .collect()
}

fn nc() -> Command {
    Command::new(tool("nc", "netcat-openbsd"))
}

/// `nc` that waits for one peer and sends it a file.
fn serving(port: u16, file: &Path) -> Child {
    let child = nc()
        .args(["-l", "-N", "127.0.0.1", &port.to_string()])
        .stdin(File::open(file).unwrap())
        .spawn()
        .unwrap();
    await_listener(port);
    child
}

/// `nc` that waits for one peer and prints what it hears.
fn hearing(port: u16) -> Child {
    let child = nc()
        .args(["-l", "127.0.0.1", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    await_listener(port);
    child
}

#[test]
fn lines_that_nc_serves() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    fs::write(&file, lines(50_000).join("\n") + "\n").unwrap();
    let port = free_port();
    let mut server = serving(port, &file);
    let (sink, receiver) = sink_channel(100_000);
    Runner::new()
        .run(move |job: &Job| {
            job.source("lines", tcp_lines(format!("127.0.0.1:{port}")))
                .sink("out", sink.clone());
        })
        .unwrap();
    assert!(server.wait().unwrap().success());
    assert!(receiver.iter().eq(lines(50_000)));
}

#[test]
fn lines_that_several_nc_send() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    fs::write(&file, lines(20_000).join("\n") + "\n").unwrap();
    let peers = Arc::new(Mutex::new(Vec::new()));
    let (sink, receiver) = sink_channel(100_000);
    let started = Arc::clone(&peers);
    Runner::new()
        .run(move |job: &Job| {
            let (started, file) = (Arc::clone(&started), file.clone());
            let connect = move |address: SocketAddr| {
                for _ in 0..3 {
                    let peer = nc()
                        .args(["-N", "127.0.0.1", &address.port().to_string()])
                        .stdin(File::open(&file).unwrap())
                        .spawn();
                    started.lock().unwrap().push(peer.unwrap());
                }
            };
            let listen = tcp_listen("127.0.0.1:0").peers(3).on_listening(connect);
            job.source("lines", listen).sink("out", sink.clone());
        })
        .unwrap();
    for mut peer in peers.lock().unwrap().drain(..) {
        assert!(peer.wait().unwrap().success());
    }
    let mut received: Vec<_> = receiver.iter().collect();
    received.sort();
    let mut expected = [lines(20_000), lines(20_000), lines(20_000)].concat();
    expected.sort();
    assert!(received == expected);
}

#[test]
fn lines_that_nc_hears() {
    let port = free_port();
    let mut hearer = hearing(port);
    let mut stdout = hearer.stdout.take().unwrap();
    let handle = Runner::new()
        .parallelism(1)
        .start(move |job: &Job| {
            job.source("lines", iterator(lines(200_000)))
                .sink("out", tcp_sink(format!("127.0.0.1:{port}")));
        })
        .unwrap();
    // Twenty megabytes: more than all buffers between hold, and `nc` writes into a pipe that is not read yet.
    assert!(
        !handle.wait_for(Duration::from_millis(300)),
        "backpressure reaches the job"
    );
    let mut heard = String::new();
    stdout.read_to_string(&mut heard).unwrap();
    assert!(hearer.wait().unwrap().success());
    handle.wait().unwrap();
    assert!(heard == lines(200_000).join("\n") + "\n");
}

#[test]
fn a_hearer_that_is_killed_fails_the_job() {
    let port = free_port();
    let mut hearer = hearing(port);
    let handle = Runner::new()
        .parallelism(1)
        .start(move |job: &Job| {
            job.source("lines", iterator(lines(200_000)))
                .sink("out", tcp_sink(format!("127.0.0.1:{port}")));
        })
        .unwrap();
    let mut some = [0; 1_000];
    hearer
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut some)
        .unwrap();
    hearer.kill().unwrap();
    hearer.wait().unwrap();
    let error = format!("{:?}", handle.wait().unwrap_err());
    let place = format!("127.0.0.1:{port}");
    assert!(error.contains("`out`") && error.contains(&place), "{error}");
}

/// What `curl` prints of an answer: the code, and the body.
fn curl(address: SocketAddr, path: &str, args: &[&str]) -> (String, String) {
    let output = Command::new(tool("curl", "curl"))
        .args([
            "-s",
            "-S",
            "-w",
            "\n%{http_code}",
            "--max-time",
            "20",
            "--noproxy",
            "*",
        ])
        .args(args)
        .arg(format!("http://{address}{path}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {args:?}: {error}");
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

#[test]
fn records_that_curl_posts() {
    let dir = tempfile::tempdir().unwrap();
    let orders = dir.path().join("orders.jsonl");
    let values: Vec<_> = (0..5_000u64)
        .map(|n| format!("[\"item {n}\",{n}]"))
        .collect();
    fs::write(&orders, values.join("\n") + "\n").unwrap();
    let array = dir.path().join("orders.json");
    // More than a megabyte: curl asks before it sends (`Expect: 100-continue`).
    fs::write(
        &array,
        format!("[{}{}]", " ".repeat(1 << 21), values.join(",")),
    )
    .unwrap();
    let (told, address) = std::sync::mpsc::sync_channel(1);
    let (sink, receiver) = sink_channel(100_000);
    let handle = Runner::new()
        .start(move |job: &Job| {
            let told = told.clone();
            let source = http_source::<(String, u64)>("127.0.0.1:0")
                .path("/orders")
                .requests(4)
                .on_listening(move |address| told.send(address).unwrap());
            job.source("orders", source).sink("out", sink.clone());
        })
        .unwrap();
    let address = address.recv().unwrap();
    let ndjson = ["-H", "Content-Type: application/x-ndjson"];
    let json = ["-H", "Content-Type: application/json"];
    let from = |file: &Path| format!("@{}", file.display());
    let accepted = |answer: (String, String), count: u64| {
        assert_eq!(answer.0, "202", "{answer:?}");
        assert!(answer.1.contains(&count.to_string()), "{answer:?}");
    };

    // What is refused first: none of it counts.
    let bad = curl(
        address,
        "/orders",
        &[&json[..], &["-d", "[\"x\", 1"]].concat(),
    );
    assert_eq!(bad.0, "400", "{bad:?}");
    assert_eq!(
        curl(
            address,
            "/other",
            &[&json[..], &["-d", "[\"x\", 1]"]].concat()
        )
        .0,
        "404"
    );
    assert_eq!(curl(address, "/orders", &["-X", "PUT", "-d", "x"]).0, "405");
    assert_eq!(curl(address, "/orders", &["-d", "a=b"]).0, "415");
    assert_eq!(curl(address, "/orders", &[]).0, "200");

    let file = from(&orders);
    accepted(
        curl(
            address,
            "/orders",
            &[&ndjson[..], &["--data-binary", &file]].concat(),
        ),
        5_000,
    );
    let chunked = ["-H", "Transfer-Encoding: chunked", "--data-binary", &file];
    accepted(
        curl(address, "/orders", &[&ndjson[..], &chunked].concat()),
        5_000,
    );
    let file = from(&array);
    accepted(
        curl(
            address,
            "/orders",
            &[&json[..], &["--data-binary", &file]].concat(),
        ),
        5_000,
    );
    accepted(
        curl(
            address,
            "/orders",
            &[&json[..], &["-d", "[\"last\", 7]"]].concat(),
        ),
        1,
    );

    handle.wait().unwrap();
    let received: Vec<_> = receiver.iter().collect();
    assert_eq!(received.len(), 15_001);
    assert_eq!(
        received.iter().map(|(_, n)| n).sum::<u64>(),
        3 * (4_999 * 5_000 / 2) + 7
    );
}

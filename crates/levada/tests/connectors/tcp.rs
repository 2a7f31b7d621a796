//! Lines over TCP: from peers in the simulator's network against a plain model, and through real sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use levada::prelude::*;
use levada::{Retry, Runner};
use levada_testing::{Peer, Simulation, campaign, collect, valve};

const HERE: &str = "10.0.0.7:9000";

/// Lines of all kinds; the last one without a break.
fn text(seed: u64, lines: u64) -> String {
    let line = |n: u64| match (n + seed) % 4 {
        0 => format!("{n} {}\r\n", "ä".repeat((n % 50) as usize)),
        1 => "\n".to_owned(),
        _ => format!("{n}\n"),
    };
    let mut text: String = (0..lines).map(line).collect();
    text.push_str("the end");
    text
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn lines_from_a_server_arrive_in_order() {
    campaign(0..200, |seed| {
        let simulation = Simulation::new(seed);
        let text = text(seed, 300);
        let network = simulation.network();
        network.serve("words.example:9000", [Peer::sends(text.as_str())]);
        let (sink, collected) = collect();
        let run = simulation
            .run(|job: &Job| {
                job.source("lines", tcp_lines("words.example:9000"))
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(collected.take(), lines(&text), "seed {seed}");
        run
    });
}

#[test]
fn lines_of_many_peers_are_one_stream_and_each_keeps_its_order() {
    campaign(0..200, |seed| {
        const PEERS: usize = 9;
        let simulation = Simulation::new(seed);
        for peer in 0..PEERS {
            let text: String = (0..100).map(|n| format!("[{peer},{n}]\n")).collect();
            simulation.network().call(HERE, Peer::sends(text));
        }
        let (sink, collected) = collect();
        let run = simulation
            .run(|job: &Job| {
                let peers = tcp_listen(HERE).peers(PEERS as u64).connections_max(3);
                job.source("pairs", peers.json::<(usize, u64)>())
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        let mut by_peer: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (peer, n) in collected.take() {
            by_peer.entry(peer).or_default().push(n);
        }
        let expected: BTreeMap<_, Vec<u64>> = (0..PEERS).map(|p| (p, (0..100).collect())).collect();
        assert_eq!(by_peer, expected, "seed {seed}");
        run
    });
}

#[test]
fn a_sink_writes_whole_lines_to_a_server_and_says_when_it_is_through() {
    campaign(0..200, |seed| {
        let simulation = Simulation::new(seed);
        simulation.network().serve(HERE, [Peer::reads()]);
        let run = simulation
            .run(|job: &Job| {
                job.source("numbers", iterator(0..2_000u64))
                    .rebalance()
                    .sink("out", tcp_sink(HERE));
            })
            .unwrap();
        run.expect_finished();
        let received = simulation.network().received();
        let mut numbers: Vec<u64> = Vec::new();
        for bytes in received {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "seed {seed}");
            numbers.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2_000).collect::<Vec<_>>(), "seed {seed}");
        let shut_down = simulation.network().shut_down();
        assert!(shut_down.iter().all(|shut| *shut), "seed {seed}");
        run
    });
}

#[test]
fn what_was_read_is_written_although_nothing_more_comes() {
    const THERE: &str = "10.0.0.8:9001";
    for seed in 0..100 {
        let simulation = Simulation::new(seed).parallelism(1);
        let text = "one\ntwo\nthree\n".repeat(100);
        let network = simulation.network().clone();
        network.call(HERE, Peer::sends(text.as_str()).stays());
        network.serve(THERE, [Peer::reads()]);
        let mut simulated = simulation
            .start(|job: &Job| {
                job.source("lines", tcp_listen(HERE))
                    .sink("out", tcp_sink(THERE));
            })
            .unwrap();
        // The peer neither says more nor leaves, and the wire to the reader holds three bytes under some seeds.
        simulated.settle();
        assert!(!simulated.is_done(), "seed {seed}");
        let received = network.received();
        let arrived = received.iter().any(|bytes| bytes == text.as_bytes());
        assert!(arrived, "seed {seed}: {} bytes", received.concat().len());
    }
}

#[test]
fn a_full_job_holds_up_its_peer_and_goes_on_when_it_can() {
    for seed in 0..10 {
        let simulation = Simulation::new(seed).parallelism(2).one_credit();
        let text = text(seed, 40_000);
        simulation
            .network()
            .serve(HERE, [Peer::sends(text.as_str())]);
        let (sink, valve) = valve();
        let mut simulated = simulation
            .start(|job: &Job| {
                job.source("lines", tcp_lines(HERE))
                    .rebalance()
                    .sink("out", sink.clone());
            })
            .unwrap();
        simulated.settle();
        // Credits, the reader's line and chunk, and what is on its way: far less than the text.
        let sent = simulation.network().sent();
        assert!(sent < text.len() / 2, "seed {seed}: {sent} bytes");
        let metrics = simulated.metrics();
        assert!(metrics.edges.iter().all(|edge| edge.held_max <= edge.bound));
        valve.open();
        simulated.settle();
        let run = simulated.finish();
        run.expect_finished();
        let mut found = valve.take();
        let mut expected = lines(&text);
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "seed {seed}");
    }
}

#[test]
fn a_server_that_does_not_read_holds_up_the_job_which_can_be_cancelled() {
    for seed in 0..100 {
        let simulation = Simulation::new(seed);
        simulation
            .network()
            .serve(HERE, [Peer::reads().at_most(1_000)]);
        let mut simulated = simulation
            .start(|job: &Job| {
                job.source("numbers", iterator(0..u64::MAX))
                    .rebalance()
                    .sink("out", tcp_sink(HERE));
            })
            .unwrap();
        simulated.settle();
        assert!(!simulated.is_done(), "seed {seed}");
        let before = simulated.metrics().records_read();
        assert!(before > 0, "seed {seed}");
        simulated.cancel();
        simulated.settle();
        let run = simulated.finish();
        assert!(
            matches!(run.outcome, Err(levada_runtime::Error::Cancelled)),
            "seed {seed}: {:?}",
            run.outcome
        );
        run.expect_empty();
    }
}

#[test]
fn a_job_that_is_cancelled_while_its_peers_say_nothing_ends() {
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        simulation.network().call(HERE, Peer::sends("a\nb").stays());
        simulation.network().never_answer("silent.example:1");
        let (sink, valve) = valve();
        valve.open();
        let mut simulated = simulation
            .start(|job: &Job| {
                job.source("lines", tcp_listen(HERE))
                    .sink("out", sink.clone());
            })
            .unwrap();
        simulated.settle();
        assert_eq!(valve.take(), ["a"], "seed {seed}");
        simulated.cancel();
        simulated.settle();
        assert!(simulated.is_done(), "seed {seed}");
    }
}

#[test]
fn a_server_may_start_after_the_job() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let waited = AtomicU64::new(0);
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        let network = simulation.network().clone();
        network.serve("late.example:9000", [Peer::reads().at_most(0).resets()]);
        let (sink, collected) = collect();
        let mut simulated = simulation
            .start(|job: &Job| {
                let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(60));
                job.source(
                    "lines",
                    tcp_lines("10.0.0.99:9000").retry(retry.attempts(1_000)),
                )
                .sink("out", sink.clone());
            })
            .unwrap();
        // Nobody is there for a minute.
        assert!(simulated.run_until(|job| job.elapsed() > Duration::from_secs(60)));
        network.serve("10.0.0.99:9000", [Peer::sends("at last")]);
        simulated.settle();
        waited.fetch_add(simulated.elapsed().as_secs(), Ordering::Relaxed);
        simulated.finish().expect_finished();
        assert_eq!(collected.take(), ["at last"], "seed {seed}");
    }
    assert!(waited.load(Ordering::Relaxed) >= 50 * 60);
}

#[test]
fn bad_lines_are_counted_or_yielded_with_their_place() {
    let bytes = b"1\n\xff\n\n3\n4x\n12345678901234567890123\n6";
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        simulation.network().call(HERE, Peer::sends(&bytes[..]));
        let (sink, collected) = collect();
        let run = simulation
            .run(|job: &Job| {
                let numbers = tcp_listen(HERE).json::<u64>().line_bytes_max(20).peers(1);
                job.source("numbers", numbers.on_error(OnError::Skip))
                    .sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(collected.take(), [1, 3, 6], "seed {seed}");
        let skipped: u64 = run
            .metrics
            .operators
            .iter()
            .flat_map(|o| &o.records_skipped)
            .sum();
        assert_eq!(skipped, 3, "seed {seed}");

        let simulation = Simulation::new(seed);
        let broken = Peer::sends(&bytes[..]).resets();
        simulation.network().call(HERE, broken);
        let (sink, collected) = collect();
        let run = simulation
            .run(|job: &Job| {
                let numbers = tcp_listen(HERE).json::<u64>().line_bytes_max(20).peers(1);
                let (numbers, bad) = job.source("numbers", numbers.results()).split_results();
                numbers.discard();
                bad.sink("bad", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        let bad: Vec<_> = collected.take();
        let said: Vec<_> = bad.iter().map(ToString::to_string).collect();
        // A reset loses what was on its way, so how many lines came before it differs from seed to seed.
        let last = said.last().unwrap();
        assert!(last.contains("the connection broke"), "seed {seed}: {last}");
        let place = |line: &str| format!("10.0.1.1:40000, {line}");
        for (said, expected) in said[..said.len() - 1].iter().zip([
            place("line 2, column 1: not UTF-8"),
            place("line 5, column 2: "),
            place("line 6: the line is longer than 20 bytes"),
        ]) {
            assert!(said.starts_with(&expected), "seed {seed}: {said}");
        }
    }
}

#[test]
fn a_peer_that_falls_silent_makes_room_for_others() {
    for seed in 0..50 {
        let simulation = Simulation::new(seed);
        simulation.network().call(HERE, Peer::sends("a\n").stays());
        simulation.network().call(HERE, Peer::sends("b\n"));
        let (sink, collected) = collect();
        let run = simulation
            .run(|job: &Job| {
                let lines = tcp_listen(HERE)
                    .connections_max(1)
                    .peers(2)
                    .idle_timeout(Duration::from_secs(30));
                job.source("lines", lines).sink("out", sink.clone());
            })
            .unwrap();
        run.expect_finished();
        assert_eq!(collected.take(), ["a", "b"], "seed {seed}");
        assert!(run.elapsed >= Duration::from_secs(30), "seed {seed}");
    }
}

// From here on the sockets are real.

/// Where a job that listens at a port of the system's choice does so.
fn listening() -> (
    impl Fn(SocketAddr) + Send + Sync + Clone + 'static,
    crossbeam_channel::Receiver<SocketAddr>,
) {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let tell = move |address| {
        let _ = sender.try_send(address);
    };
    (tell, receiver)
}

#[test]
fn a_full_job_closes_the_window_of_a_real_peer() {
    let (tell, address) = listening();
    let (sink, valve) = valve();
    let handle = Runner::new()
        .parallelism(2)
        .threads(2)
        .start(move |job: &Job| {
            let lines = tcp_listen("127.0.0.1:0")
                .peers(1)
                .on_listening(tell.clone());
            job.source("lines", lines)
                .rebalance()
                .sink("out", sink.clone());
        })
        .unwrap();
    let mut peer = TcpStream::connect(address.recv().unwrap()).unwrap();
    peer.set_nonblocking(true).unwrap();
    let line = format!("{}\n", "x".repeat(999)).into_bytes();
    // The job may take a while to fill up: the kernel says more than once that there is no room. It has stopped when the
    // tasks say so, and still there is none.
    let mut written = 0;
    let is_stopped = |handle: &levada::Handle| {
        let tasks = handle.metrics().tasks;
        let mut sources = tasks.iter().filter(|task| task.head == "lines");
        sources.all(|task| task.activity == levada::metrics::Activity::Backpressured)
    };
    let mut refused = 0;
    while refused < 100 {
        match peer.write(&line[written % 1_000..]) {
            Ok(n) => {
                written += n;
                refused = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused = if is_stopped(&handle) { refused + 1 } else { 0 };
                assert!(!handle.wait_for(Duration::from_millis(1)), "it has ended");
            }
        }
        assert!(written < 512 << 20, "a job has a bound");
    }
    let metrics = handle.metrics();
    assert!(metrics.edges.iter().all(|edge| edge.held_max <= edge.bound));
    valve.open();
    peer.set_nonblocking(false).unwrap();
    peer.write_all(&line[written % 1_000..]).unwrap();
    peer.write_all(b"the end").unwrap();
    drop(peer);
    handle.wait().unwrap();
    let lines = valve.take();
    assert_eq!(lines.len(), written / 1_000 + 2);
    assert!(
        lines
            .iter()
            .all(|line| line.len() == 999 || line == "the end")
    );
}

#[test]
fn a_real_server_that_does_not_read_holds_up_the_job_and_a_cancel_ends_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let handle = Runner::new()
        .parallelism(1)
        .force_exchange()
        .start(move |job: &Job| {
            job.source("numbers", iterator(0..u64::MAX))
                .rebalance()
                .sink("out", tcp_sink(address.as_str()));
        })
        .unwrap();
    let (mut peer, _) = server.accept().unwrap();
    let mut first = [0; 4];
    peer.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"0\n1\n");
    // Nobody reads any further: the source stops.
    let mut quiet = 0;
    let mut before = 0;
    while quiet < 100 {
        assert!(!handle.wait_for(Duration::from_millis(1)));
        let read = handle.metrics().records_read();
        quiet = if read == before { quiet + 1 } else { 0 };
        before = read;
    }
    handle.cancel();
    let error = handle.wait().unwrap_err();
    assert_eq!(error.exit_code(), 130, "{error}");
}

#[test]
fn a_line_passes_through_two_real_sockets_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let out = server.local_addr().unwrap().to_string();
    let (tell, address) = listening();
    let handle = Runner::new()
        .start(move |job: &Job| {
            let lines = tcp_listen("127.0.0.1:0")
                .peers(1)
                .on_listening(tell.clone());
            job.source("lines", lines)
                .map(|line| line.to_uppercase())
                .sink("out", tcp_sink(out.as_str()));
        })
        .unwrap();
    let mut peer = TcpStream::connect(address.recv().unwrap()).unwrap();
    let (mut reader, _) = server.accept().unwrap();
    // Question and answer: nothing waits for more to come.
    for word in ["levada", "water", "credit"] {
        writeln!(peer, "{word}").unwrap();
        let mut answer = vec![0; word.len() + 1];
        reader.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("{}\n", word.to_uppercase()).as_bytes());
    }
    drop(peer);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    handle.wait().unwrap();
}

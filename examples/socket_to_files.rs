//! Takes in measurements over TCP and writes the warmest one of each place into files; lines that are none go elsewhere.
//!
//! The program plays the two weather stations too, so that it runs without arguments. To play one yourself, give it
//! `--listen 127.0.0.1:9000` and say `nc 127.0.0.1 9000` in another terminal.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use levada::prelude::*;
use serde::Deserialize;

#[derive(clap::Args)]
struct Flags {
    /// Where to listen; the stations are then yours to play, and the job has no end
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// A directory for the results [default: a new one for temporary files]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
struct Measurement {
    place: String,
    celsius: i64,
}

const STATIONS: [&str; 2] = [
    r#"{"place": "Funchal", "celsius": 21}
{"place": "Funchal", "celsius": 24}
the sensor is wet
{"place": "Monte", "celsius": 15}
"#,
    r#"{"place": "Monte", "celsius": 17}
{"place": "Santana", "celsius": 18}
{"place": "Santana"}
"#,
];

#[expect(clippy::print_stderr, reason = "standard output belongs to the job")]
fn socket_to_files(job: &Job) -> levada::Result {
    let flags: Flags = job.args()?;
    let temporary = std::env::temp_dir().join(format!("levada-{}", std::process::id()));
    let output = flags.output.unwrap_or(temporary);
    let stations = match flags.listen {
        Some(address) => tcp_listen(address),
        None => tcp_listen("127.0.0.1:0").peers(2).on_listening(play),
    };

    let (measurements, bad) = job
        .source("stations", stations.json::<Measurement>().results())
        .split_results();
    measurements
        .map(|measurement| (measurement.place, measurement.celsius))
        .keyed()
        .fold("warmest", |warmest: &mut Option<i64>, celsius| {
            *warmest = (*warmest).max(Some(*celsius));
        })
        .at_end()
        .sink("warmest-out", files(output.join("warmest")).tsv());
    bad.map(|bad| (bad.line, bad.message, bad.text))
        .sink("bad-out", files(output.join("bad")).tsv());
    eprintln!("the results will be in {}", output.display());
    Ok(())
}

/// Sends the measurements of all stations: the kernel keeps them until the job reads.
fn play(address: SocketAddr) {
    for station in STATIONS {
        let mut connection = TcpStream::connect(address).expect("the job listens");
        let sent = connection.write_all(station.as_bytes());
        sent.expect("a few bytes have room");
    }
}

fn main() -> levada::Result {
    levada::main(socket_to_files)
}

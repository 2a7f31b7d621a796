//! Brings three streams together and sends the result three ways: union and fan-out.
//!
//! Sensors of three rooms become one stream of readings. It is used three times: every use gets every reading, and the
//! batches between the subtasks are shared, not copied. A slow use holds up the others, since all read at the same pace.

use levada::prelude::*;

#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
struct Reading {
    room: String,
    /// Tenths of a degree.
    temperature: i64,
}

fn sensor(job: &Job, room: &'static str, base: i64) -> Stream<Reading> {
    job.source(
        room,
        generator(move |n| base + (n as i64 * 37) % 50).count(100),
    )
    .map(|temperature| Reading {
        room: room.to_owned(),
        temperature,
    })
    .stream()
}

fn union_fan_out(job: &Job) {
    let readings = sensor(job, "kitchen", 210)
        .union_all([sensor(job, "cellar", 120), sensor(job, "attic", 260)]);

    readings
        .clone()
        .key_by(|reading| reading.room.clone())
        .aggregate("range", |readings| {
            (
                readings.count(),
                readings.min(|reading| reading.temperature),
                readings.max(|reading| reading.temperature),
            )
        })
        .at_end()
        .map(|(room, (count, least, most))| format!("{room}: {count} readings, {least} to {most}"))
        .sink("ranges", stdout());

    readings
        .clone()
        .filter(|reading| reading.temperature > 300)
        .map(|_| ())
        .global()
        .count("hot")
        .at_end()
        .map(|((), count)| format!("{count} readings above 30 degrees"))
        .sink("warnings", stdout());

    readings
        .map(|reading| reading.temperature)
        .global()
        .aggregate("coldest", |readings| {
            readings.min(|temperature| *temperature)
        })
        .at_end()
        .map(|((), coldest)| format!("coldest: {coldest}"))
        .sink("coldest-out", stdout());
}

fn main() -> levada::Result {
    levada::main(union_fan_out)
}

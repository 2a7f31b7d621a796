//! Sums up what agents do: their spans, grouped per trace by session windows, with duration, tokens and errors of each trace.
//!
//! Nobody says when a trace is complete. It is taken to be when nothing of it has come for ten seconds of event time.

use levada::prelude::*;

/// One call of a model or a tool.
#[derive(Clone, serde::Deserialize, serde::Serialize)]
struct AgentSpan {
    trace: String,
    name: String,
    start: i64,
    millis: i64,
    tokens: u64,
    failed: bool,
}

/// Trace, name, start and duration in milliseconds, tokens, and whether it failed. A span is reported when it ends.
type Row = (&'static str, &'static str, i64, i64, u64, bool);

const SPANS: &[Row] = &[
    ("a1", "plan", 0, 900, 310, false),
    ("b7", "plan", 400, 700, 280, false),
    ("a1", "search", 950, 2_300, 0, false),
    ("b7", "fetch", 1_200, 5_000, 0, true),
    ("a1", "read", 3_300, 1_800, 4_200, false),
    ("b7", "fetch", 6_300, 1_900, 0, false),
    ("a1", "answer", 5_200, 4_100, 1_150, false),
    ("b7", "answer", 8_300, 2_600, 990, false),
    // The same conversation goes on after a while: another trace of its name.
    ("a1", "plan", 41_000, 800, 420, false),
    ("c2", "plan", 41_200, 600, 190, true),
    ("a1", "answer", 41_900, 3_000, 760, false),
];

fn agent_spans(job: &Job) {
    job.source("spans", iterator(SPANS.iter().copied()))
        .map(|(trace, name, start, millis, tokens, failed)| AgentSpan {
            trace: trace.to_owned(),
            name: name.to_owned(),
            start,
            millis,
            tokens,
            failed,
        })
        .timestamps(|span| span.start + span.millis, seconds(5))
        .key_by(|span| span.trace.clone())
        .window(session(seconds(10)))
        .aggregate("traces", |spans| {
            let begin = spans.min(|span| span.start);
            let end = spans.max(|span| span.start + span.millis);
            let slowest = spans.max_by(|span| span.millis);
            let errors = spans.sum(|span| u64::from(span.failed));
            let tokens = spans.sum(|span| span.tokens);
            ((spans.count(), errors, tokens), (begin, end, slowest))
        })
        .map(|(trace, _, ((count, errors, tokens), (begin, end, slowest)))| {
            let (millis, slowest) = (end - begin, slowest.name);
            format!("{trace}: {count} spans in {millis} ms, {tokens} tokens, {errors} errors; slowest: {slowest}")
        })
        .sink("traces-out", stdout());
}

fn main() -> levada::Result {
    levada::main(agent_spans)
}

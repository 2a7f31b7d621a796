//! For whom everybody waits.

use std::fmt;

use serde::Serialize;

use crate::metrics::{EdgeMetrics, JobMetrics};

/// The end of a chain of waiting: the stage that holds up the ones before it, and that itself waits for no exchange.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Bottleneck {
    /// The operators of the stage that holds up the others, in the order in which the program made them.
    pub operators: Vec<String>,
    /// The exchanges that wait for each other, from the source on.
    pub path: Vec<String>,
    /// How long the producers of the last of them have waited, in nanoseconds.
    pub waited_nanos: u64,
}

impl JobMetrics {
    /// The stage for which the sources wait, if they do.
    ///
    /// Starts at the exchange behind a source whose producers have waited the longest, and goes on to the exchange for
    /// which its consumers have waited the longest, as long as there is one: the wait-for graph, reduced to its heaviest
    /// path.
    #[must_use]
    pub fn bottleneck(&self) -> Option<Bottleneck> {
        let is_source = |stage: u32| !self.edges.iter().any(|edge| edge.to_stage == stage);
        let mut path: Vec<&EdgeMetrics> = Vec::new();
        let mut next = longest(self.edges.iter().filter(|edge| is_source(edge.from_stage)));
        while let Some(edge) = next {
            path.push(edge);
            // A graph without cycles has an end.
            let behind = |other: &&EdgeMetrics| other.from_stage == edge.to_stage;
            next = longest(self.edges.iter().filter(behind));
        }
        let last = path.last()?;
        let operators = self.operators.iter().filter(|o| o.stage == last.to_stage);
        Some(Bottleneck {
            operators: operators.map(|operator| operator.name.clone()).collect(),
            path: path.iter().map(|edge| edge.name.clone()).collect(),
            waited_nanos: last.waited_nanos(),
        })
    }
}

impl EdgeMetrics {
    /// How long its producers have waited for it, over all of its channels, in nanoseconds.
    #[must_use]
    pub fn waited_nanos(&self) -> u64 {
        self.channels
            .iter()
            .map(|channel| channel.waited_nanos)
            .sum()
    }
}

/// The edge that was waited for the longest, if any was at all.
fn longest<'a>(edges: impl Iterator<Item = &'a EdgeMetrics>) -> Option<&'a EdgeMetrics> {
    edges
        .filter(|edge| edge.waited_nanos() > 0)
        .max_by_key(|edge| edge.waited_nanos())
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} held up the job: waited for {:.3} s in {}",
            self.operators.join(", "),
            self.waited_nanos as f64 / 1e9,
            self.path.join(", then ")
        )
    }
}

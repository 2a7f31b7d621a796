//! A plan for people.

use std::fmt::Write;

use crate::bounds::Bytes;
use crate::graph::{NodeId, StepSpec};
use crate::plan::{Plan, Stage};

impl Plan {
    /// The plan for people: stages with their operators, exchanges with the bytes they may hold.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{} stages, {} tasks, parallelism {}, {} key groups, fingerprint {:016x}\n",
            self.stages.len(),
            self.tasks(),
            self.options.parallelism,
            self.options.key_groups,
            self.fingerprint()
        );
        for stage in &self.stages {
            self.write_stage(&mut text, stage)
                .expect("a string takes everything");
        }
        text
    }

    fn write_stage(&self, text: &mut String, stage: &Stage) -> std::fmt::Result {
        writeln!(
            text,
            "\nstage {} x {}, {}",
            stage.id.0,
            stage.parallelism,
            if stage.own_thread {
                "on threads of their own"
            } else {
                "on worker threads"
            }
        )?;
        for node in &stage.nodes {
            for edge in self.graph.inputs(*node) {
                if let Some(exchange) = self.exchange(edge) {
                    writeln!(
                        text,
                        "  <- {} ({}, {} x {}): at most {} ({} batches of {}, {} exclusive and {} floating credits)",
                        self.edge_name(edge),
                        exchange.pattern,
                        exchange.producers,
                        exchange.consumers,
                        Bytes(exchange.bound.bytes),
                        exchange.bound.buffers,
                        Bytes(exchange.bound.batch_bytes as u64),
                        exchange.bound.exclusive,
                        exchange.bound.floating,
                    )?;
                }
            }
            writeln!(text, "  {}", self.describe(*node))?;
            for edge in self.graph.outputs(*node) {
                let steps = &self.graph.edge(edge).steps;
                if !steps.is_empty() {
                    writeln!(text, "     {}", methods(steps))?;
                }
            }
        }
        let last = self.stages.last().is_some_and(|last| last.id == stage.id);
        if last {
            writeln!(
                text,
                "\nexchanges hold at most {} of {} buffer memory",
                Bytes(self.bytes()),
                Bytes(self.options.buffers.memory)
            )?;
        }
        Ok(())
    }

    fn describe(&self, node: NodeId) -> String {
        let node = self.graph.node(node);
        let place = node.origin.place();
        let kind = serde_json::to_value(node.kind)
            .ok()
            .and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_default();
        let mut text = if node.steps.is_empty() {
            String::new()
        } else {
            format!("{} . ", methods(&node.steps))
        };
        if node.is_named() {
            let _ = write!(text, "{kind} `{}`", node.origin.name());
        } else {
            text.push_str(node.origin.name());
        }
        let _ = write!(text, " ({}:{})", place.file(), place.line());
        text
    }
}

pub(super) fn methods(steps: &[StepSpec]) -> String {
    let methods: Vec<_> = steps.iter().map(|step| step.method).collect();
    methods.join(" . ")
}

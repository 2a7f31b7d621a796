//! A plan for Graphviz.

use std::fmt::Write;

use crate::bounds::Bytes;
use crate::plan::Plan;

use super::text::methods;

impl Plan {
    /// The plan for Graphviz (`dot -Tsvg`): a box per stage, exchanges labelled with their bounds.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph job {\n  rankdir=LR;\n  node [shape=box];\n");
        self.write_dot(&mut dot).expect("a string takes everything");
        dot.push_str("}\n");
        dot
    }

    fn write_dot(&self, dot: &mut String) -> std::fmt::Result {
        for stage in &self.stages {
            writeln!(dot, "  subgraph cluster_{} {{", stage.id.0)?;
            writeln!(
                dot,
                "    label=\"stage {} x {}\";",
                stage.id.0, stage.parallelism
            )?;
            for node in &stage.nodes {
                let name = self.graph.node(*node).origin.name();
                writeln!(dot, "    n{} [label={:?}];", node.0, name)?;
            }
            writeln!(dot, "  }}")?;
        }
        for edge in self.graph.edges() {
            let (from, to) = self.graph.ends(edge);
            let mut label = methods(&self.graph.edge(edge).steps);
            if let Some(exchange) = self.exchange(edge) {
                if !label.is_empty() {
                    label.push_str(" . ");
                }
                write!(
                    label,
                    "{} <= {}",
                    exchange.pattern,
                    Bytes(exchange.bound.bytes)
                )?;
            }
            writeln!(dot, "  n{} -> n{} [label={label:?}];", from.0, to.0)?;
        }
        Ok(())
    }
}

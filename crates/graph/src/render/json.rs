//! A plan for programs.

use serde_json::{Value, json};

use crate::plan::Plan;

impl Plan {
    /// The plan for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let place = |place: levada_core::Place| format!("{}:{}", place.file(), place.line());
        let nodes: Vec<_> = self
            .graph
            .nodes()
            .map(|id| {
                let node = self.graph.node(id);
                json!({
                    "id": id,
                    "kind": node.kind,
                    "name": node.origin.name(),
                    "place": place(node.origin.place()),
                    "steps": node.steps.iter().map(|step| step.method).collect::<Vec<_>>(),
                    "parallelism": self.node(id).parallelism,
                    "stage": self.node(id).stage,
                })
            })
            .collect();
        let edges: Vec<_> = self
            .graph
            .edges()
            .map(|id| {
                let edge = self.graph.edge(id);
                let (from, to) = self.graph.ends(id);
                let exchange = self.exchange(id).map(|exchange| {
                    json!({
                        "pattern": exchange.pattern,
                        "producers": exchange.producers,
                        "consumers": exchange.consumers,
                        "bound": exchange.bound,
                    })
                });
                json!({
                    "id": id,
                    "name": self.edge_name(id),
                    "from": from,
                    "output": edge.output,
                    "to": to,
                    "place": place(edge.place),
                    "record": edge.record_type,
                    "steps": edge.steps.iter().map(|step| step.method).collect::<Vec<_>>(),
                    "exchange": exchange,
                })
            })
            .collect();
        let stages: Vec<_> = self
            .stages
            .iter()
            .map(|stage| {
                json!({
                    "id": stage.id,
                    "head": stage.head,
                    "nodes": stage.nodes,
                    "parallelism": stage.parallelism,
                    "own_thread": stage.own_thread,
                })
            })
            .collect();
        json!({
            "fingerprint": format!("{:016x}", self.fingerprint()),
            "parallelism": self.options.parallelism,
            "key_groups": self.options.key_groups,
            "buffer_memory": self.options.buffers.memory,
            "buffer_bytes_max": self.bytes(),
            "nodes": nodes,
            "edges": edges,
            "stages": stages,
        })
    }
}

//! Dependencies between the crates point one way.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may depend on. `levada-testing`, the benchmarks and the
/// counterparts may use all, and only they may.
const ALLOWED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("graph", &["core"]),
    ("network", &["core"]),
    ("state", &["core"]),
    ("checkpoint", &["state", "core"]),
    (
        "runtime",
        &["graph", "network", "state", "checkpoint", "core"],
    ),
    ("operators", &["runtime", "state", "core"]),
    ("connectors", &["runtime", "state", "core"]),
    (
        "levada",
        &[
            "operators",
            "connectors",
            "runtime",
            "graph",
            "state",
            "checkpoint",
            "core",
        ],
    ),
    (
        "cli",
        &["runner", "levada", "telemetry", "checkpoint", "observe"],
    ),
    ("examples", &["levada"]),
];

#[test]
fn dependencies_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |name: &serde_json::Value| {
        name.as_str()
            .unwrap()
            .trim_start_matches("levada-")
            .to_owned()
    };
    let allowed: BTreeMap<_, BTreeSet<_>> = ALLOWED
        .iter()
        .map(|(from, to)| {
            (
                (*from).to_owned(),
                to.iter().map(|to| (*to).to_owned()).collect(),
            )
        })
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages
        .iter()
        .map(|package| name(&package["name"]))
        .collect();
    let mut edges = 0;
    for package in packages {
        let from = name(&package["name"]);
        if ["testing", "benches", "counterparts"].contains(&from.as_str()) {
            continue;
        }
        let allowed = allowed
            .get(&from)
            .unwrap_or_else(|| panic!("say what {from} may depend on"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = name(&dependency["name"]);
            if dependency["kind"].is_null() && ours.contains(&to) {
                edges += 1;
                assert!(allowed.contains(&to), "{from} must not depend on {to}");
            }
        }
    }
    assert!(edges >= 10, "the edges have been found");
}

//! The floors of docs/ARCHITECTURE.md: a crate depends only on lower ones.

use std::collections::BTreeMap;

use serde_json::Value;

/// Checks `cargo metadata` output.
pub fn check(metadata: &str) -> Vec<String> {
    let Ok(metadata) = serde_json::from_str::<Value>(metadata) else {
        return vec!["cargo metadata printed no JSON".to_owned()];
    };
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let floors: BTreeMap<&str, Option<u64>> = packages
        .iter()
        .filter_map(|package| Some((package["name"].as_str()?, package["metadata"]["floor"].as_u64())))
        .collect();
    let mut complaints = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(floor) = floors.get(name).copied().flatten() else {
            complaints.push(format!("{name}: Cargo.toml has no [package.metadata] floor"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let (on, kind) = (dependency["name"].as_str().unwrap_or_default(), &dependency["kind"]);
            let Some(Some(below)) = floors.get(on) else { continue };
            if *below >= floor && kind.as_str() != Some("dev") {
                complaints.push(format!("{name} (floor {floor}) depends on {on} (floor {below})"));
            }
        }
    }
    complaints
}

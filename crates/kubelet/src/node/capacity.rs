//! What the node offers: the configuration's resources, overridden by what the plugin reports. Pure.

use std::collections::BTreeMap;

use interlink_wire::Quantity;
use interlink_wire::ping::PingResources;

/// Resources by name, as quantity texts.
pub type Capacity = BTreeMap<String, String>;

/// The capacity of the node, and a sentence for everything in the report that can't be used.
#[must_use]
pub fn of(configured: &Capacity, reported: Option<&PingResources>) -> (Capacity, Vec<String>) {
    let mut capacity = configured.clone();
    let mut problems = Vec::new();
    let Some(reported) = reported else { return (capacity, problems) };
    let plain = [("cpu", &reported.cpu), ("memory", &reported.memory), ("pods", &reported.pods)];
    for (name, text) in plain {
        let Some(text) = text.as_deref().map(str::trim).filter(|t| !t.is_empty()) else { continue };
        // A node without cpu or memory is a slip of the plugin; it would make every pod unschedulable without a word.
        match text.parse::<Quantity>() {
            Ok(q) if q <= Quantity::default() => problems.push(format!("{name} {text:?} is not above zero")),
            Ok(q) if name == "pods" && !q.is_whole() => problems.push(format!("{name} {text:?} is not a whole number")),
            Ok(_) => drop(capacity.insert(name.to_owned(), text.to_owned())),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    for accelerator in &reported.accelerators {
        let (name, text) = (accelerator.resource_type.trim(), accelerator.available.trim());
        match text.parse::<Quantity>() {
            _ if !name.contains('/') => {
                problems.push(format!("accelerator {name:?} is not a resource name such as nvidia.com/gpu"))
            }
            Ok(q) if q.is_negative() || !q.is_whole() => {
                problems.push(format!("{name} {text:?} is not a whole number"))
            }
            Ok(q) => drop(capacity.insert(name.to_owned(), q.ceil().to_string())),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    (capacity, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlink_wire::{Envelope, PingResponse};
    use serde_json::json;

    #[test]
    fn the_report_overrides_the_file_where_it_makes_sense() {
        let file: Capacity = [("cpu", "100"), ("memory", "3000G"), ("pods", "10"), ("nvidia.com/gpu", "4")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        // (report, changes, problems)
        let cases = [
            (json!({}), vec![], 0),
            (
                json!({"cpu": "128", "memory": "512Gi", "pods": "200"}),
                vec![("cpu", "128"), ("memory", "512Gi"), ("pods", "200")],
                0,
            ),
            (json!({"cpu": 64}), vec![("cpu", "64")], 0),
            (json!({"cpu": "0", "memory": "-1", "pods": "1.5"}), vec![], 3),
            (json!({"cpu": "many", "memory": ""}), vec![], 1),
            (
                json!({"accelerators": [{"resourceType": "nvidia.com/gpu", "available": "8"}, {"resourceType": "amd.com/gpu", "available": 0}]}),
                vec![("nvidia.com/gpu", "8"), ("amd.com/gpu", "0")],
                0,
            ),
            (
                json!({"accelerators": [{"resourceType": "gpu", "available": "8"}, {"resourceType": "x/y", "available": "-1"}, {"resourceType": "x/z"}]}),
                vec![],
                3,
            ),
        ];
        for (report, changes, count) in cases {
            let ping = PingResponse::from_value(json!({"resources": report})).unwrap();
            let (capacity, problems) = of(&file, ping.resources.as_ref());
            let mut expected = file.clone();
            expected.extend(changes.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
            assert_eq!((capacity, problems.len()), (expected, count), "{report} {problems:?}");
        }
        assert_eq!(of(&file, None), (file, vec![]));
    }
}

//! The downward API: values of the pod's own fields and of its containers' resources.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use interlink_wire::pod::{Container, FieldRef, PodExtract, ResourceFieldRef, Resources};
use interlink_wire::{Object, Quantity};
use serde_json::Value;

use super::NodeFacts;
use super::unresolved::Problem;

/// What `fieldRef` and `resourceFieldRef` can see.
#[derive(Debug)]
pub(super) struct Downward<'a> {
    pod: &'a PodExtract,
    node: &'a NodeFacts,
    pod_ips: Vec<String>,
    host_ips: Vec<String>,
}

impl<'a> Downward<'a> {
    pub(super) fn new(raw: &Object, pod: &'a PodExtract, node: &'a NodeFacts) -> Self {
        let host_ips = or(addresses(raw, "hostIPs", "hostIP"), || node.addresses.clone());
        let given = || raw.annotation("interlink.eu/pod-ip").map(str::to_owned).into_iter().collect();
        // A pod that shares the machine's network has the machine's address, as with hostNetwork.
        let pod_ips = or(or(addresses(raw, "podIPs", "podIP"), given), || host_ips.clone());
        Self { pod, node, pod_ips, host_ips }
    }

    /// The value of `fieldRef`.
    pub(super) fn field(&self, field: &FieldRef) -> Result<String, Problem> {
        if let Some(version) = field.api_version.as_deref().filter(|v| !v.is_empty() && *v != "v1") {
            return Err(Problem::lasting(format!("fieldRef has apiVersion {version:?}; only \"v1\" is supported")));
        }
        let metadata = &self.pod.metadata;
        if let Some((map, key)) = subscript(&field.field_path) {
            let map = match map {
                "metadata.labels" => &metadata.labels,
                "metadata.annotations" => &metadata.annotations,
                _ => return Err(unsupported(&field.field_path)),
            };
            // Kubernetes: a label or annotation that the pod does not have is the empty string.
            return Ok(map.get(key).cloned().unwrap_or_default());
        }
        Ok(match field.field_path.as_str() {
            "metadata.name" => metadata.name.clone(),
            "metadata.namespace" => metadata.namespace.clone(),
            "metadata.uid" => metadata.uid.clone(),
            "metadata.labels" => format_map(&metadata.labels),
            "metadata.annotations" => format_map(&metadata.annotations),
            "spec.nodeName" => self.pod.spec.node_name.clone().unwrap_or_else(|| self.node.name.clone()),
            "spec.serviceAccountName" => service_account(self.pod).to_owned(),
            "status.hostIP" => self.host_ips.first().cloned().unwrap_or_default(),
            "status.hostIPs" => self.host_ips.join(","),
            "status.podIP" => self.pod_ips.first().cloned().unwrap_or_default(),
            "status.podIPs" => self.pod_ips.join(","),
            other => return Err(unsupported(other)),
        })
    }

    /// The value of `resourceFieldRef`; `own` is the container that asks (a volume has none).
    pub(super) fn resource(&self, asked: &ResourceFieldRef, own: Option<&Container>) -> Result<String, Problem> {
        let container = match asked.container_name.as_deref().filter(|n| !n.is_empty()) {
            Some(name) => self.pod.all_containers().find(|c| c.name == name).ok_or_else(|| {
                Problem::lasting(format!("resourceFieldRef names container {name:?}, which the pod does not have"))
            })?,
            None => own.ok_or_else(|| {
                Problem::lasting("resourceFieldRef has no containerName, which is required in a volume")
            })?,
        };
        let unknown = || {
            Problem::lasting(format!(
                "resourceFieldRef {:?} is not supported; use limits or requests of cpu, memory, ephemeral-storage or hugepages-<size>",
                asked.resource
            ))
        };
        let (list, resource) = asked.resource.split_once('.').ok_or_else(unknown)?;
        let known = matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
        let stated = match list {
            _ if !known => return Err(unknown()),
            "limits" => Resources::text(&container.resources.limits, resource).filter(|l| !is_zero(l)),
            // The API server copies a limit into a missing request; a manifest in a directory may lack that.
            "requests" => Resources::text(&container.resources.requests, resource)
                .or_else(|| Resources::text(&container.resources.limits, resource)),
            _ => return Err(unknown()),
        };
        // Without a limit a container may use what the node has to give.
        let unlimited = || (list == "limits").then(|| self.node.allocatable.get(resource).cloned()).flatten();
        let text = stated.or_else(unlimited).unwrap_or_else(|| "0".to_owned());
        let divisor = asked.divisor.as_deref().filter(|d| !is_zero(d)).unwrap_or("1");
        Ok(divide(quantity(&text)?, quantity(divisor)?, resource == "cpu").to_string())
    }
}

/// `spec.serviceAccountName`, by default `default`.
pub(super) fn service_account(pod: &PodExtract) -> &str {
    pod.spec.service_account_name.as_deref().filter(|n| !n.is_empty()).unwrap_or("default")
}

fn unsupported(path: &str) -> Problem {
    Problem::lasting(format!(
        "fieldRef {path:?} is not supported; use metadata.name, .namespace, .uid, .labels, .annotations, spec.nodeName, \
         spec.serviceAccountName, status.hostIP, .hostIPs, .podIP or .podIPs"
    ))
}

/// `metadata.labels['key']` as (`metadata.labels`, `key`). As Kubernetes, only single quotes; we also take double ones.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once('[')?;
    let inside = rest.strip_suffix(']')?;
    let key = ['\'', '"'].iter().find_map(|q| inside.strip_prefix(*q)?.strip_suffix(*q))?;
    Some((map, key))
}

fn addresses(raw: &Object, list: &str, one: &str) -> Vec<String> {
    let Some(status) = raw.fields().get("status") else { return Vec::new() };
    let listed = status.get(list).and_then(Value::as_array).into_iter().flatten();
    let ips: Vec<String> = listed.filter_map(|a| a.get("ip")?.as_str()).map(str::to_owned).collect();
    or(ips, || {
        status.get(one).and_then(Value::as_str).filter(|ip| !ip.is_empty()).map(str::to_owned).into_iter().collect()
    })
}

fn or(first: Vec<String>, second: impl FnOnce() -> Vec<String>) -> Vec<String> {
    if first.is_empty() { second() } else { first }
}

fn quantity(text: &str) -> Result<Quantity, Problem> {
    text.parse().map_err(|e: interlink_wire::quantity::QuantityError| Problem::lasting(e.to_string()))
}

fn is_zero(text: &str) -> bool {
    text.parse::<Quantity>().is_ok_and(|q| q == Quantity::default())
}

/// CPU is divided in thousandths, all else in whole units; both are rounded up.
fn divide(value: Quantity, divisor: Quantity, cpu: bool) -> i64 {
    let (value, divisor) =
        if cpu { (value.milli_ceil(), divisor.milli_ceil()) } else { (value.ceil(), divisor.ceil()) };
    let divisor = divisor.max(1);
    value.div_euclid(divisor).saturating_add(i64::from(value.rem_euclid(divisor) != 0))
}

/// `key="value"` lines in the order of the keys, without a last newline: the kubelet's own form.
fn format_map(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(k, v)| format!("{k}={}", go_quoted(v))).collect::<Vec<_>>().join("\n")
}

/// Go's `%q`.
fn go_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x80 => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Go's `unicode.IsPrint`. Rust's `escape_debug` of a text escapes what is not printable, and combining marks only at the beginning.
fn is_printable(c: char) -> bool {
    c == '\'' || format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Object {
        Object::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"b": "2", "a": "say \"hi\"\n"}, "annotations": {"example.com/x": "y"}},
            "spec": {"serviceAccountName": "robot", "nodeName": "n1",
                "initContainers": [{"name": "init", "resources": {"limits": {"cpu": "250m"}}}],
                "containers": [{"name": "app", "resources": {"limits": {"cpu": "1500m", "memory": "4Gi"}, "requests": {"memory": "100M"}}}, {"name": "free"}]},
            "status": {"podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]}
        }))
        .unwrap()
    }

    fn node() -> NodeFacts {
        let allocatable = [("cpu", "100"), ("memory", "3000G")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        NodeFacts { name: "n1".into(), addresses: vec!["192.0.2.1".into()], allocatable }
    }

    #[test]
    fn fields_of_the_pod_have_kubernetes_values() {
        let (raw, node) = (pod(), node());
        let extract = PodExtract::from_object(&raw).unwrap();
        let downward = Downward::new(&raw, &extract, &node);
        let cases = [
            ("metadata.name", Ok("web")),
            ("metadata.namespace", Ok("shop")),
            ("metadata.uid", Ok("u-1")),
            ("metadata.labels", Ok("a=\"say \\\"hi\\\"\\n\"\nb=\"2\"")),
            ("metadata.annotations", Ok("example.com/x=\"y\"")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.labels[\"b\"]", Ok("2")),
            ("metadata.annotations['example.com/x']", Ok("y")),
            ("metadata.annotations['none']", Ok("")),
            ("spec.nodeName", Ok("n1")),
            ("spec.serviceAccountName", Ok("robot")),
            ("status.hostIP", Ok("192.0.2.1")),
            ("status.hostIPs", Ok("192.0.2.1")),
            ("status.podIP", Ok("10.0.0.9")),
            ("status.podIPs", Ok("10.0.0.9,fd00::9")),
            ("spec.restartPolicy", Err("fieldRef \"spec.restartPolicy\" is not supported")),
            ("metadata.finalizers['x']", Err("is not supported")),
            ("metadata.labels[b]", Err("is not supported")),
        ];
        for (path, expected) in cases {
            let value = downward.field(&FieldRef { api_version: None, field_path: path.into() });
            match (value, expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected, "{path}"),
                (Err(problem), Err(part)) => assert!(!problem.retry && problem.what.contains(part), "{}", problem.what),
                (value, expected) => panic!("{path}: {value:?}, expected {expected:?}"),
            }
        }
        let alien = FieldRef { api_version: Some("v2".into()), field_path: "metadata.name".into() };
        assert!(downward.field(&alien).unwrap_err().what.contains("only \"v1\""));
    }

    #[test]
    fn a_pod_without_an_address_has_the_nodes() {
        let raw = Object::from_value(json!({"metadata": {"annotations": {}}})).unwrap();
        let (extract, node) = (PodExtract::default(), node());
        assert_eq!(Downward::new(&raw, &extract, &node).pod_ips, ["192.0.2.1"]);
        let given =
            Object::from_value(json!({"metadata": {"annotations": {"interlink.eu/pod-ip": "10.9.9.9"}}})).unwrap();
        assert_eq!(Downward::new(&given, &extract, &node).pod_ips, ["10.9.9.9"]);
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let (raw, node) = (pod(), node());
        let extract = PodExtract::from_object(&raw).unwrap();
        let downward = Downward::new(&raw, &extract, &node);
        let cases = [
            (None, "limits.cpu", None, "2"),
            (None, "limits.cpu", Some("1m"), "1500"),
            (None, "limits.cpu", Some("0"), "2"),
            (None, "limits.memory", None, "4294967296"),
            (None, "limits.memory", Some("1Mi"), "4096"),
            (None, "limits.memory", Some("1G"), "5"),
            (None, "requests.memory", Some("1M"), "100"),
            (None, "requests.cpu", None, "2"),
            (None, "requests.ephemeral-storage", None, "0"),
            (Some("free"), "limits.cpu", None, "100"),
            (Some("free"), "limits.memory", Some("1G"), "3000"),
            (Some("free"), "requests.cpu", None, "0"),
            (Some("init"), "limits.cpu", Some("1m"), "250"),
            (Some("free"), "limits.hugepages-2Mi", None, "0"),
        ];
        let own = &extract.spec.containers[0];
        for (container, resource, divisor, expected) in cases {
            let asked = ResourceFieldRef {
                container_name: container.map(Into::into),
                resource: resource.into(),
                divisor: divisor.map(Into::into),
            };
            assert_eq!(downward.resource(&asked, Some(own)).unwrap(), expected, "{asked:?}");
        }
        let ask = |container: Option<&str>, resource: &str, own| {
            let asked = ResourceFieldRef {
                container_name: container.map(Into::into),
                resource: resource.into(),
                divisor: None,
            };
            downward.resource(&asked, own).unwrap_err().what
        };
        assert!(ask(Some("ghost"), "limits.cpu", None).contains("container \"ghost\", which the pod does not have"));
        assert!(ask(None, "limits.cpu", None).contains("has no containerName"));
        for wrong in ["limits.nvidia.com/gpu", "cpu", "usage.cpu"] {
            assert!(ask(None, wrong, Some(own)).contains("is not supported"), "{wrong}");
        }
    }

    #[test]
    fn text_is_quoted_as_go_does() {
        let cases = [
            ("plain", "\"plain\""),
            ("it's", "\"it's\""),
            ("a\\b\"c", "\"a\\\\b\\\"c\""),
            ("\x07\x08\x0c\n\r\t\x0b", "\"\\a\\b\\f\\n\\r\\t\\v\""),
            ("\x01\x7f", "\"\\x01\\x7f\""),
            ("é e\u{301} 日本 🚀", "\"é e\u{301} 日本 🚀\""),
            ("\u{a0}\u{200b}\u{feff}", "\"\\u00a0\\u200b\\ufeff\""),
            ("\u{e0001}", "\"\\U000e0001\""),
        ];
        for (text, quoted) in cases {
            assert_eq!(go_quoted(text), quoted);
        }
    }
}

//! The ping answer: the plugin's words, without what is only for us, with what we can serve and how the hops are. No I/O.

use interlink_wire::{HopState, capability};
use serde_json::{Map, Value, json};

/// The extensions that this API server passes through when the plugin has them.
const RELAYED: [&str; 3] = [capability::IDEMPOTENT_CREATE, capability::POD_LIST, capability::SIDECARS];

/// What a plugin says it can do; nothing for a plugin that doesn't speak of it. Read on its own, so that nothing odd
/// elsewhere in the answer takes a promise away.
#[must_use]
pub fn capabilities(body: &[u8]) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let announced = fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case("capabilities"));
    let Some((_, Value::Array(names))) = announced else { return Vec::new() };
    names.into_iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// What we can serve with a plugin of these capabilities.
#[must_use]
pub fn served(plugin: &[String]) -> Vec<&'static str> {
    RELAYED.into_iter().filter(|name| plugin.iter().any(|had| had == name)).collect()
}

/// An object gets `interlinkAPI` and `hops` (ours first, then the plugin's own) and loses the plugin's
/// `capabilities`, which hold for one hop only. Any other body is `None`: it goes on as it is.
#[must_use]
pub fn compose(body: &[u8], version: &str, served: &[&str], mut hops: Vec<HopState>) -> Option<Value> {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        return None;
    };
    let mut answer = Map::new();
    for (key, value) in fields {
        match key.to_ascii_lowercase().as_str() {
            "capabilities" | "interlinkapi" => {}
            "hops" => hops.extend(behind(value)),
            _ => {
                answer.insert(key, value);
            }
        }
    }
    answer.insert("interlinkAPI".into(), json!({"version": version, "capabilities": served}));
    answer.insert("hops".into(), json!(hops));
    Some(Value::Object(answer))
}

/// The hops behind the plugin; what isn't one is left out.
fn behind(value: Value) -> Vec<HopState> {
    let Value::Array(items) = value else { return Vec::new() };
    items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()
}

#[cfg(test)]
mod tests {
    use interlink_wire::HopStatus;

    use super::*;

    fn hop(name: &str) -> HopState {
        HopState { hop: name.into(), state: HopStatus::Up, since: None, cause: String::new(), remedy: String::new() }
    }

    #[test]
    fn capabilities_are_replaced_by_what_we_serve() {
        let plugin = br#"{"status":"ok","Capabilities":["idempotentCreate","statusWatch","podList"],"interlinkAPI":{"capabilities":["exec"]},
            "resources":{"cpu":"24"},"taints":[],"new":{"k":1},"hops":[{"hop":"slurm","state":"up"},{"odd":1}]}"#;
        let had = capabilities(plugin);
        assert_eq!(had, ["idempotentCreate", "statusWatch", "podList"]);
        let answer = compose(plugin, "interlink/1", &served(&had), vec![hop("plugin")]).unwrap();
        assert_eq!(
            answer,
            json!({"status": "ok", "resources": {"cpu": "24"}, "taints": [], "new": {"k": 1},
                "interlinkAPI": {"version": "interlink/1", "capabilities": ["idempotentCreate", "podList"]},
                "hops": [{"hop": "plugin", "state": "up"}, {"hop": "slurm", "state": "up"}]})
        );
    }

    #[test]
    fn a_plugin_that_announces_nothing_gives_us_nothing_to_serve() {
        for body in [&b"{}"[..], br#"{"message":"x","status":"healthy"}"#, br#"{"capabilities":null}"#] {
            assert!(capabilities(body).is_empty());
            let answer = compose(body, "v", &served(&capabilities(body)), vec![]).unwrap();
            assert_eq!(answer["interlinkAPI"]["capabilities"], json!([]));
        }
    }

    #[test]
    fn bodies_that_are_no_object_go_on_as_they_are() {
        for body in [&b"[]"[..], b"null", b"ok", b"<p>alive</p>", b"", b"\"text\"", b"{broken"] {
            assert!(compose(body, "v", &[], vec![hop("plugin")]).is_none());
            assert!(capabilities(body).is_empty());
        }
    }
}

//! What the example pod must have said: its ConfigMap, its Secret (by length, never by value), its init container. Pure.

/// The example's manifests, by file name, as they are in `examples/demo`.
pub const MANIFESTS: [(&str, &str); 2] = [
    ("objects.yaml", include_str!("../../../../examples/demo/objects.yaml")),
    ("pod.yaml", include_str!("../../../../examples/demo/pod.yaml")),
];

/// The pod's name in its manifest.
pub const POD: &str = "demo";

/// Its containers, init containers first.
pub const CONTAINERS: [&str; 3] = ["prepare", "reader", "counter"];

/// One thing that the output proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What.
    pub of: &'static str,
    /// In the output of which container.
    pub container: &'static str,
    /// The line that proves it.
    pub line: &'static str,
}

/// All of it.
pub const PROOFS: [Proof; 5] = [
    Proof { of: "init container", container: "prepare", line: "prepare: wrote prepared.txt" },
    Proof {
        of: "ConfigMap, volume",
        container: "reader",
        line: "reader: the init container left: Hello from a ConfigMap",
    },
    Proof { of: "ConfigMap, env", container: "reader", line: "reader: greetings to the batch machine" },
    Proof { of: "Secret", container: "reader", line: "reader: the secret has 28 characters" },
    Proof { of: "shared volume", container: "counter", line: "counter: shares the volume" },
];

impl Proof {
    /// Whether `output` of its container has the line.
    #[must_use]
    pub fn holds(&self, output: &str) -> bool {
        output.lines().any(|line| line.trim_end() == self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn the_proofs_fit_the_example() {
        let text = MANIFESTS.map(|(_, text)| text).join("\n---\n");
        let uid = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";
        let manifest = Manifest::read(&text, None, uid, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let pod = interlink_wire::PodExtract::from_object(&manifest.pod).unwrap();
        assert_eq!(manifest.pod.name(), POD);
        assert_eq!(pod.all_containers().map(|c| c.name.as_str()).collect::<Vec<_>>(), CONTAINERS);
        let token = manifest.secrets["demo-token"].fields()["data"]["token"].as_str().unwrap();
        let token = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, token).unwrap();
        assert!(PROOFS[3].line.contains(&format!("has {} characters", token.len())));
        for proof in PROOFS {
            assert!(!proof.holds("nothing") && proof.holds(&format!("x\n{}\n", proof.line)));
            assert!(!proof.line.contains("horse"));
        }
    }
}

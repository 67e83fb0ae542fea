//! What the example pod must have said: its ConfigMap, its Secret (by length, never by value), its init container. Pure.

/// A pod with all that belongs to it, and what it must have said.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Manifests by file name, as they are in `examples`.
    pub manifests: [(&'static str, &'static str); 2],
    /// What the output proves.
    pub proofs: &'static [Proof],
    /// Where the manifests are, for a person.
    pub origin: &'static str,
}

const OBJECTS: (&str, &str) = ("objects.yaml", include_str!("../../../../examples/demo/objects.yaml"));

/// The example.
pub const EXAMPLE: Example = Example {
    manifests: [OBJECTS, ("pod.yaml", include_str!("../../../../examples/demo/pod.yaml"))],
    proofs: &[
        Proof { of: "init container", container: "prepare", line: "prepare: wrote prepared.txt" },
        Proof {
            of: "ConfigMap, file",
            container: "reader",
            line: "reader: the init container left: Hello from a ConfigMap",
        },
        CONFIG_MAP,
        SECRET,
        Proof { of: "shared volume", container: "counter", line: "counter: shares the volume" },
    ],
    origin: "examples/demo",
};

/// The example for a kernel that gives users no namespaces.
pub const WITHOUT_VOLUMES: Example = Example {
    manifests: [OBJECTS, ("pod.yaml", include_str!("../../../../examples/demo-without-volumes/pod.yaml"))],
    proofs: &[
        Proof { of: "init container", container: "prepare", line: "prepare: Hello from a ConfigMap" },
        CONFIG_MAP,
        SECRET,
        Proof { of: "second container", container: "counter", line: "counter: 3 of 3" },
    ],
    origin: "examples/demo-without-volumes",
};

const CONFIG_MAP: Proof =
    Proof { of: "ConfigMap, env", container: "reader", line: "reader: greetings to the batch machine" };
const SECRET: Proof = Proof { of: "Secret", container: "reader", line: "reader: the secret has 28 characters" };

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
    fn the_proofs_fit_the_examples() {
        for example in [EXAMPLE, WITHOUT_VOLUMES] {
            let text = example.manifests.map(|(_, text)| text).join("\n---\n");
            let uid = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";
            let manifest = Manifest::read(&text, None, uid, jiff::Timestamp::UNIX_EPOCH).unwrap();
            let pod = interlink_wire::PodExtract::from_object(&manifest.pod).unwrap();
            assert_eq!(manifest.pod.name(), POD);
            assert_eq!(pod.all_containers().map(|c| c.name.as_str()).collect::<Vec<_>>(), CONTAINERS);
            let token = manifest.secrets["demo-token"].fields()["data"]["token"].as_str().unwrap();
            let token = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, token).unwrap();
            assert!(SECRET.line.contains(&format!("has {} characters", token.len())));
            for proof in example.proofs {
                assert!(!proof.holds("nothing") && proof.holds(&format!("x\n{}\n", proof.line)));
                assert!(CONTAINERS.contains(&proof.container) && !proof.line.contains("horse"));
            }
        }
    }
}

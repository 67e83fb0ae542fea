//! Paths, headers and capability names, and the shape of every error answer.

use std::fmt;

/// Paths of the contract. Matching is exact; no method is insisted on.
pub mod path {
    /// Create a pod.
    pub const CREATE: &str = "/create";
    /// Delete a pod.
    pub const DELETE: &str = "/delete";
    /// Status of pods; at a plugin with `[]` also the ping.
    pub const STATUS: &str = "/status";
    /// Logs of a container.
    pub const GET_LOGS: &str = "/getLogs";
    /// Ping the API server.
    pub const PINGLINK: &str = "/pinglink";
    /// Forget a pod's cached status.
    pub const UPDATE_CACHE: &str = "/updateCache";
    /// The existing Slurm plugin's own page.
    pub const SYSTEM_INFO: &str = "/system-info";
    /// Extension `podList`.
    pub const PODS: &str = "/pods";
    /// Extension `statusWatch`.
    pub const STATUS_WATCH: &str = "/statusWatch";
    /// Extension `podUpdate`.
    pub const UPDATE: &str = "/update";
    /// Extension `usage`.
    pub const USAGE: &str = "/usage";
}

/// Header names, in lower case as `http` wants them.
pub mod header {
    /// Ties the log lines of one request together across the hops.
    pub const SESSION: &str = "interlink-http-session";
    /// The virtual node's name.
    pub const NODE: &str = "interlink-node";
    /// Whose pod this is.
    pub const OWNER: &str = "interlink-owner";
    /// What the kubelet understands in answers.
    pub const ACCEPT: &str = "interlink-accept";
    /// Program and version of the answering hop.
    pub const VERSION: &str = "interlink-version";
    /// [`Fault`](super::Fault) of an error answer.
    pub const ERROR: &str = "interlink-error";
}

/// Capability names, as announced in ping answers.
pub mod capability {
    /// A second create for a pod returns the first one's answer.
    pub const IDEMPOTENT_CREATE: &str = "idempotentCreate";
    /// `GET /statusWatch`.
    pub const STATUS_WATCH: &str = "statusWatch";
    /// `GET /pods`.
    pub const POD_LIST: &str = "podList";
    /// `POST /update`.
    pub const POD_UPDATE: &str = "podUpdate";
    /// `GET /usage`.
    pub const USAGE: &str = "usage";
    /// Restartable init containers in `initContainers`.
    pub const SIDECARS: &str = "sidecars";
}

/// An error on its way to the user: which hop, what kind, whether to try again, and one plain sentence.
///
/// Travels as the body (the sentence) beside the header `InterLink-Error: hop=plugin;code=quota;retry=yes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it went wrong: `api`, `tunnel`, `plugin`, `slurm`, …
    pub hop: String,
    /// One word for programs.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retry: bool,
    /// One sentence for a person: cause and remedy.
    pub sentence: String,
}

impl Fault {
    /// A fault that trying again won't mend.
    pub fn lasting(hop: &str, code: &str, sentence: impl Into<String>) -> Self {
        Self { hop: hop.into(), code: code.into(), retry: false, sentence: sentence.into() }
    }

    /// A fault that may pass.
    pub fn passing(hop: &str, code: &str, sentence: impl Into<String>) -> Self {
        Self { hop: hop.into(), code: code.into(), retry: true, sentence: sentence.into() }
    }

    /// The value of `InterLink-Error`.
    #[must_use]
    pub fn header_value(&self) -> String {
        let retry = if self.retry { "yes" } else { "no" };
        format!("hop={};code={};retry={retry}", token(&self.hop), token(&self.code))
    }

    /// Reads an error answer of any peer: the header where there is one, and a short sentence out of any body
    /// (plain text, HTML-escaped text, `{"detail":…}`, `{"error":…}`).
    ///
    /// Without the header, `status` decides about `retry`: 4xx but 408, 425 and 429 is final.
    #[must_use]
    pub fn read(answering_hop: &str, status: u16, header: Option<&str>, body: &[u8]) -> Self {
        let mut fault = Self {
            hop: answering_hop.to_owned(),
            code: format!("http-{status}"),
            retry: !(400..500).contains(&status) || matches!(status, 408 | 425 | 429),
            sentence: sentence(status, body),
        };
        for (key, value) in header.unwrap_or("").split(';').filter_map(|part| part.trim().split_once('=')) {
            match key {
                "hop" => fault.hop = value.to_owned(),
                "code" => fault.code = value.to_owned(),
                "retry" => fault.retry = value == "yes",
                _ => {}
            }
        }
        fault
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hop, self.sentence)
    }
}

impl std::error::Error for Fault {}

fn token(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// The most of a foreign error text that is passed on, in characters.
const SENTENCE_LIMIT: usize = 1000;

fn sentence(status: u16, body: &[u8]) -> String {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(map)) => {
            let said = ["detail", "error", "message"].iter().find_map(|key| map.get(*key));
            said.map(plain_json).unwrap_or_default()
        }
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) => String::new(),
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    let text = unescape(text.trim());
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // It ends up on terminals, which take orders in control characters.
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    if line.is_empty() {
        return format!("answered HTTP {status} without a word");
    }
    if line.chars().count() > SENTENCE_LIMIT {
        return line.chars().take(SENTENCE_LIMIT).chain(['…']).collect();
    }
    line
}

/// `detail` may be a string or, from FastAPI, a list of `{"loc": […], "msg": "…"}`.
fn plain_json(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => {
            let parts = items.iter().map(|item| item.get("msg").map_or_else(|| item.to_string(), plain_json));
            parts.collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

/// The existing API server HTML-escapes what plugins say.
fn unescape(text: &str) -> String {
    text.replace("&#34;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault::passing("plugin", "quota", "the queue is full; wait");
        assert_eq!(fault.header_value(), "hop=plugin;code=quota;retry=yes");
        assert_eq!(Fault::read("api", 503, Some(&fault.header_value()), b"the queue is full; wait\n"), fault);
    }

    #[test]
    fn foreign_error_bodies_become_one_sentence() {
        let cases: [(u16, &[u8], &str, bool); 9] = [
            (500, b"plain words\n", "plain words", true),
            (500, b"", "answered HTTP 500 without a word", true),
            (422, br#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, "field required", false),
            (404, br#"{"error":"no such pod","timestamp":1}"#, "no such pod", false),
            (500, br#"{"detail":"boom"}"#, "boom", true),
            (
                500,
                b"call exit status: 500. Body: &#34;x&#34; &lt;b&gt;",
                "call exit status: 500. Body: \"x\" <b>",
                true,
            ),
            (429, b"slow down", "slow down", true),
            (400, b"no image \x1b[2J\x07named\nx", "no image [2Jnamed x", false),
            (503, b"null", "answered HTTP 503 without a word", true),
        ];
        for (status, body, said, retry) in cases {
            let fault = Fault::read("plugin", status, None, body);
            assert_eq!((fault.sentence.as_str(), fault.retry), (said, retry));
        }
        assert!(Fault::read("plugin", 500, None, &[b'x'; 5000]).sentence.len() < 1100);
    }
}

//! What a ping answer means. Pure.

use interlink_wire::decode::parse;
use interlink_wire::{Envelope, Fault, HopState, HopStatus, PingResponse, capability};

/// What the API server can serve with its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)]
pub struct Capabilities {
    /// A create may be repeated.
    pub idempotent_create: bool,
    /// `GET /pods` is served.
    pub pod_list: bool,
    /// `GET /usage` is served.
    pub usage: bool,
}

/// The most of a ping answer that is shown to people, in bytes. An annotation may be larger, but many nodes have one.
const SHOWN_LIMIT: usize = 4096;

/// A ping that was answered with 2xx.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pong {
    /// The answer's text, cut to 4 KiB.
    pub text: String,
    /// The answer, where it was structured; any other text just means "alive".
    pub response: PingResponse,
}

impl Pong {
    /// Reads the body of a 2xx answer.
    ///
    /// # Errors
    /// A [`Fault`] when a web page answered, which is some proxy's and never the API server's.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        if text.starts_with('<') {
            return Err(Fault::passing(
                "api",
                "html",
                "answered the ping with a web page, as a login proxy does; check InterlinkURL and VKTokenFile",
            ));
        }
        let object = parse("ping answer", body).ok().filter(serde_json::Value::is_object);
        let response = object.and_then(|value| PingResponse::from_value(value).ok()).unwrap_or_default();
        Ok(Self { text: shortened(text, SHOWN_LIMIT), response })
    }

    /// What the API server announced.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let announced = self.response.interlink_api.as_ref().map_or(&[][..], |api| &api.capabilities);
        let has = |name: &str| announced.iter().any(|c| c == name);
        Capabilities {
            idempotent_create: has(capability::IDEMPOTENT_CREATE),
            pod_list: has(capability::POD_LIST),
            usage: has(capability::USAGE),
        }
    }

    /// The first hop behind that is down.
    #[must_use]
    pub fn down(&self) -> Option<&HopState> {
        self.response.hops.iter().find(|hop| hop.state == HopStatus::Down)
    }
}

/// `text`, cut to `limit` bytes at a character boundary.
#[must_use]
pub fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_answer_is_alive_but_a_web_page() {
        for body in ["", "ok", "[]", "null", "{}", "{\"resources\": 7}"] {
            let pong = Pong::read(body.as_bytes()).unwrap();
            assert_eq!((pong.capabilities(), pong.down()), (Capabilities::default(), None), "{body}");
        }
        assert!(Pong::read(b" <!DOCTYPE html>").unwrap_err().sentence.contains("login proxy"));
    }

    #[test]
    fn only_the_api_servers_own_list_counts() {
        let foreign = Pong::read(br#"{"capabilities": ["podList", "idempotentCreate"]}"#).unwrap();
        assert_eq!(foreign.capabilities(), Capabilities::default());
        let ours =
            Pong::read(br#"{"interlinkAPI": {"version": "1", "capabilities": ["idempotentCreate", "new"]}}"#).unwrap();
        assert_eq!(ours.capabilities(), Capabilities { idempotent_create: true, ..Capabilities::default() });
    }

    #[test]
    fn a_hop_behind_that_is_down_is_found_and_the_text_is_bounded() {
        let body = format!(
            r#"{{"pad": "{}", "hops": [{{"hop": "plugin", "state": "up"}}, {{"hop": "slurm", "state": "down", "cause": "c"}}]}}"#,
            "ü".repeat(4000)
        );
        let pong = Pong::read(body.as_bytes()).unwrap();
        assert_eq!(pong.down().unwrap().hop, "slurm");
        assert!(pong.text.len() <= 4096 && pong.text.ends_with('…'));
    }
}

//! Which container's which part, judged with the sentences of the existing API server.

use interlink_supervisor::layout::Kind;
use interlink_wire::names::is_dns_label;
use interlink_wire::{LogStruct, PodUid};
use jiff::{SignedDuration, Timestamp};

use crate::lifecycle::pod::Pod;

/// A valid request for logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Whose.
    pub uid: PodUid,
    /// Namespace, as asked.
    pub namespace: String,
    /// Container, as asked; may be empty.
    pub container: String,
    /// The last so many lines.
    pub tail: Option<u64>,
    /// At most so many bytes.
    pub limit: Option<u64>,
    /// Only what was written at this time or later.
    pub since: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Go on until the container ends.
    pub follow: bool,
    /// The previous instance.
    pub previous: bool,
}

impl Wanted {
    /// Judges a request.
    ///
    /// # Errors
    /// The sentence for a 400.
    pub fn read(request: &LogStruct, now: Timestamp) -> Result<Self, &'static str> {
        let opts = &request.opts;
        if !is_dns_label(&request.namespace) {
            return Err("invalid namespace: must be a valid DNS label");
        }
        let uid = PodUid::parse(&request.pod_uid).map_err(|_| "invalid pod UID: must be a valid UUID")?;
        if !request.container_name.is_empty() && !is_dns_label(&request.container_name) {
            return Err("invalid container name: must be a valid DNS label");
        }
        if opts.tail != 0 && opts.limit_bytes != 0 {
            return Err("Both Tail and LimitBytes set. Set only one of them");
        }
        if opts.since_seconds != 0 && opts.since_time.is_some() {
            return Err("Both SinceSeconds and SinceTime set. Set only one of them");
        }
        let positive = |value: i64, wrong| match u64::try_from(value) {
            Ok(0) => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(wrong),
        };
        let tail = positive(opts.tail, "invalid Tail: must not be below zero")?;
        let limit = positive(opts.limit_bytes, "invalid LimitBytes: must not be below zero")?;
        let ago = positive(opts.since_seconds, "invalid SinceSeconds: must not be below zero")?;
        let ago = ago.and_then(|s| now.checked_sub(SignedDuration::from_secs(i64::try_from(s).ok()?)).ok());
        Ok(Self {
            uid,
            namespace: request.namespace.clone(),
            container: request.container_name.clone(),
            tail,
            limit,
            since: opts.since_time.or(ago),
            timestamps: opts.timestamps,
            follow: opts.follow,
            previous: opts.previous,
        })
    }

    /// The container of `pod` that is meant; the only one where none is named.
    ///
    /// # Errors
    /// The sentence for a 400.
    pub fn container_of(&self, pod: &Pod) -> Result<(Kind, String), String> {
        let has = |list: &[(String, String)]| list.iter().any(|(name, _)| *name == self.container);
        match (self.container.is_empty(), pod.containers.as_slice()) {
            (true, [(only, _)]) => Ok((Kind::Main, only.clone())),
            (true, _) => {
                let names: Vec<&str> = pod.containers.iter().map(|(name, _)| name.as_str()).collect();
                Err(format!(
                    "a container name must be specified for pod {}, choose one of: {}",
                    pod.name,
                    names.join(" ")
                ))
            }
            (false, main) if has(main) => Ok((Kind::Main, self.container.clone())),
            (false, _) if has(&pod.init) => Ok((Kind::Init, self.container.clone())),
            (false, _) => Err(format!("container {} is not valid for pod {}", self.container, pod.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use interlink_wire::Envelope;
    use serde_json::{Value, json};

    use super::*;

    fn read(change: Value) -> Result<Wanted, &'static str> {
        let mut request = json!({"Namespace": "ns", "PodUID": "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d", "PodName": "p", "ContainerName": "c",
            "Opts": {"Tail": 0, "Bytes": 0, "Timestamps": false, "Follow": false, "Previous": false, "SinceSeconds": 0, "SinceTime": "0001-01-01T00:00:00Z"}});
        for (key, value) in change.as_object().unwrap() {
            if request.get(key).is_some() {
                request[key] = value.clone();
            } else {
                request["Opts"][key] = value.clone();
            }
        }
        Wanted::read(&LogStruct::from_value(request).unwrap(), Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn zero_means_not_set() {
        let wanted = read(json!({})).unwrap();
        assert_eq!((wanted.tail, wanted.limit, wanted.since), (None, None, None));
        let wanted = read(json!({"Tail": 5, "SinceSeconds": 10, "Follow": true})).unwrap();
        assert_eq!((wanted.tail, wanted.since, wanted.follow), (Some(5), Timestamp::from_second(990).ok(), true));
        assert_eq!(read(json!({"SinceTime": "1970-01-01T00:00:07Z"})).unwrap().since, Timestamp::from_second(7).ok());
        assert_eq!(read(json!({"Bytes": 9})).unwrap().limit, Some(9));
    }

    #[test]
    fn mistakes_get_the_existing_sentences() {
        let cases = [
            (json!({"Namespace": "../x"}), "invalid namespace: must be a valid DNS label"),
            (json!({"PodUID": "x"}), "invalid pod UID: must be a valid UUID"),
            (json!({"ContainerName": "a/b"}), "invalid container name: must be a valid DNS label"),
            (json!({"Tail": 1, "Bytes": 1}), "Both Tail and LimitBytes set. Set only one of them"),
            (
                json!({"SinceSeconds": 1, "SinceTime": "1970-01-01T00:00:07Z"}),
                "Both SinceSeconds and SinceTime set. Set only one of them",
            ),
            (json!({"Tail": -1}), "invalid Tail: must not be below zero"),
        ];
        for (change, sentence) in cases {
            assert_eq!(read(change).unwrap_err(), sentence);
        }
        assert!(read(json!({"ContainerName": ""})).is_ok());
    }
}

//! What a log request must look like before it is passed on. No I/O.

use interlink_wire::names::is_dns_label;
use interlink_wire::{LogStruct, PodUid};

/// Why a log request is refused. The beginnings of the sentences are those of the existing API server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Namespace.
    #[error("invalid namespace: must be a valid DNS label, such as default")]
    Namespace,
    /// PodUID.
    #[error("invalid pod UID: must be a valid UUID in lower case, 8-4-4-4-12 digits")]
    Uid,
    /// ContainerName.
    #[error("invalid container name: must be a valid DNS label, or empty for the only container")]
    Container,
    /// Two starts.
    #[error("Both SinceSeconds and SinceTime set. Set only one of them")]
    TwoStarts,
    /// A number below zero.
    #[error("invalid Opts.{0}: must not be negative; 0 means not set")]
    Negative(&'static str),
}

/// Checks a log request. `Tail` and `Bytes` may both be set, as Kubernetes allows: first the lines, then the limit.
///
/// # Errors
/// [`LogError`], the first that applies.
pub fn check(request: &LogStruct) -> Result<(), LogError> {
    let opts = &request.opts;
    if !is_dns_label(&request.namespace) {
        return Err(LogError::Namespace);
    }
    if PodUid::parse(&request.pod_uid).is_err() {
        return Err(LogError::Uid);
    }
    if !request.container_name.is_empty() && !is_dns_label(&request.container_name) {
        return Err(LogError::Container);
    }
    if opts.since_seconds != 0 && opts.since_time.is_some() {
        return Err(LogError::TwoStarts);
    }
    for (field, value) in [("Tail", opts.tail), ("Bytes", opts.limit_bytes), ("SinceSeconds", opts.since_seconds)] {
        if value < 0 {
            return Err(LogError::Negative(field));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use interlink_wire::Envelope;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn requests_are_checked_field_by_field() {
        const UID: &str = "0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d";
        let time = "2026-01-01T00:00:00Z";
        let cases: [(Value, Option<LogError>); 13] = [
            (json!({"Namespace": "n", "PodUID": UID, "ContainerName": "c"}), None),
            (json!({"Namespace": "n", "PodUID": UID}), None),
            (json!({"Namespace": "n", "PodUID": UID, "Opts": {"Tail": 3, "Bytes": 10}}), None),
            (
                json!({"Namespace": "n", "PodUID": UID, "Opts": {"SinceSeconds": 3, "SinceTime": "0001-01-01T00:00:00Z"}}),
                None,
            ),
            (json!({"PodUID": UID}), Some(LogError::Namespace)),
            (json!({"Namespace": "../etc", "PodUID": UID}), Some(LogError::Namespace)),
            (json!({"Namespace": "n"}), Some(LogError::Uid)),
            (json!({"Namespace": "n", "PodUID": UID.to_uppercase()}), Some(LogError::Uid)),
            (json!({"Namespace": "n", "PodUID": UID, "ContainerName": "a/b"}), Some(LogError::Container)),
            (
                json!({"Namespace": "n", "PodUID": UID, "Opts": {"SinceSeconds": 3, "SinceTime": time}}),
                Some(LogError::TwoStarts),
            ),
            (json!({"Namespace": "n", "PodUID": UID, "Opts": {"Tail": -1}}), Some(LogError::Negative("Tail"))),
            (json!({"Namespace": "n", "PodUID": UID, "Opts": {"Bytes": -1}}), Some(LogError::Negative("Bytes"))),
            (
                json!({"Namespace": "n", "PodUID": UID, "Opts": {"SinceSeconds": -1}}),
                Some(LogError::Negative("SinceSeconds")),
            ),
        ];
        for (sent, expected) in cases {
            let request = LogStruct::decode(sent.to_string().as_bytes()).unwrap();
            assert_eq!(check(&request).err(), expected, "{sent}");
        }
    }
}

//! `GET /getLogs`: which part of which container's output.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decode::{Envelope, Shape, typed};

/// A request for logs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogStruct {
    /// Namespace of the pod.
    #[serde(default)]
    pub namespace: String,
    /// UID of the pod.
    #[serde(default, rename = "PodUID")]
    pub pod_uid: String,
    /// Name of the pod.
    #[serde(default)]
    pub pod_name: String,
    /// Container, init containers included.
    #[serde(default)]
    pub container_name: String,
    /// What to send.
    #[serde(default)]
    pub opts: LogOpts,
}

/// Which part. Zero means "not set" on the wire.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LogOpts {
    /// The last so many lines; 0 = all.
    pub tail: i64,
    /// At most so many bytes; 0 = all. The key is `Bytes`; `LimitBytes` is read too.
    #[serde(rename = "Bytes")]
    pub limit_bytes: i64,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Go on until the container ends.
    pub follow: bool,
    /// The previous instance of the container.
    pub previous: bool,
    /// Only what is younger than so many seconds; 0 = all.
    pub since_seconds: i64,
    /// Only what is younger than this; Go's zero time = all.
    #[serde(with = "zero_time")]
    pub since_time: Option<Timestamp>,
}

impl Envelope for LogStruct {
    const WHAT: &'static str = "log request";
    const SHAPE: Shape = Shape::Object(&[
        ("Namespace", &Shape::Text),
        ("PodUID", &Shape::Text),
        ("PodName", &Shape::Text),
        ("ContainerName", &Shape::Text),
        (
            "Opts",
            &Shape::Object(&[
                ("Tail", &Shape::Int),
                ("Bytes", &Shape::Int),
                ("LimitBytes", &Shape::Int),
                ("Timestamps", &Shape::Bool),
                ("Follow", &Shape::Bool),
                ("Previous", &Shape::Bool),
                ("SinceSeconds", &Shape::Int),
                ("SinceTime", &Shape::Time),
            ]),
        ),
    ]);

    fn from_value(value: serde_json::Value) -> Result<Self, crate::DecodeError> {
        let mut folded = crate::decode::fold(value, &Self::SHAPE)
            .ok_or_else(|| crate::DecodeError::new(Self::WHAT, "it is null"))?;
        if let Some(serde_json::Value::Object(opts)) = folded.get_mut("Opts")
            && let Some(limit) = opts.remove("LimitBytes")
        {
            opts.entry("Bytes").or_insert(limit);
        }
        typed(Self::WHAT, folded)
    }
}

/// Go writes an unset time as year 1.
mod zero_time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&time.to_string()),
            None => serializer.serialize_str("0001-01-01T00:00:00Z"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<Timestamp>::deserialize(deserializer).map(|t| t.filter(|t| t.as_second() > -62_135_596_800))
    }
}

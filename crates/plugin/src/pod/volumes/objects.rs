//! The ConfigMaps, Secrets and projected volumes that came with a pod, found by name.

use std::collections::BTreeMap;

use base64::Engine;
use interlink_wire::{Object, RetrievedPodData};

use crate::pod::Refusal;

/// Keys and their content.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// What came with a pod. The contract sends objects per container; a name means the same in all of them.
#[derive(Debug, Default)]
pub struct Objects<'a> {
    config_maps: BTreeMap<&'a str, &'a Object>,
    secrets: BTreeMap<&'a str, &'a Object>,
    projected: BTreeMap<&'a str, &'a Object>,
}

impl<'a> Objects<'a> {
    /// Collects the objects of a request.
    #[must_use]
    pub fn of(data: &'a RetrievedPodData) -> Self {
        let mut objects = Self::default();
        for container in &data.container {
            objects.config_maps.extend(container.config_maps.iter().map(|o| (o.name(), o)));
            objects.secrets.extend(container.secrets.iter().map(|o| (o.name(), o)));
            objects.projected.extend(container.projectedvolumemaps.iter().map(|o| (o.name(), o)));
        }
        objects
    }

    /// `data` and `binaryData` of a ConfigMap; `None` when it did not come.
    #[must_use]
    pub fn config_map(&self, name: &str) -> Option<Result<Data, Refusal>> {
        self.config_maps.get(name).map(|object| plain(object, "ConfigMap"))
    }

    /// `data` of a ConfigMap, which is what variables are taken from; `None` when it did not come.
    #[must_use]
    pub fn config_map_texts(&self, name: &str) -> Option<Data> {
        self.config_maps.get(name).map(|object| texts(object, "data"))
    }

    /// `data` and `stringData` of a Secret; `None` when it did not come.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<Result<Data, Refusal>> {
        self.secrets.get(name).map(|object| {
            let mut data = encoded(object, "data", "Secret")?;
            data.extend(texts(object, "stringData"));
            Ok(data)
        })
    }

    /// File paths and content of a projected or downwardAPI volume, by the volume's name; `None` when it did not come.
    #[must_use]
    pub fn projected(&self, volume: &str) -> Option<Result<Data, Refusal>> {
        self.projected.get(volume).map(|object| plain(object, "projected volume"))
    }
}

fn plain(object: &Object, kind: &str) -> Result<Data, Refusal> {
    let mut data = encoded(object, "binaryData", kind)?;
    data.extend(texts(object, "data"));
    Ok(data)
}

fn texts(object: &Object, field: &str) -> Data {
    let entries = object.fields().get(field).and_then(|v| v.as_object()).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.as_bytes().to_vec()))).collect()
}

fn encoded(object: &Object, field: &str, kind: &str) -> Result<Data, Refusal> {
    let mut data = Data::new();
    for (key, value) in object.fields().get(field).and_then(|v| v.as_object()).into_iter().flatten() {
        let Some(text) = value.as_str() else { continue };
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map_err(|_| {
            Refusal::invalid(format!("key {key:?} of {kind} {:?} is not base64, as {field} must be", object.name()))
        })?;
        data.insert(key.clone(), bytes);
    }
    Ok(data)
}

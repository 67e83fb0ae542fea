//! A container's variables as final values.
//!
//! The kubelet resolves `valueFrom` and `envFrom` before it sends a pod. What an older one left open is resolved from
//! what came with the pod, or refused: a variable that is silently empty costs more than a refusal.

use interlink_wire::pod::{Container, EnvVar, FieldRef, Metadata};

use super::request::Request;
use super::{Refusal, volumes::Objects};

/// Name and value of every variable, in the order of the spec.
///
/// # Errors
/// [`Refusal`] names the variable.
pub fn resolve(
    container: &Container,
    request: &Request,
    objects: &Objects<'_>,
) -> Result<Vec<(String, String)>, Refusal> {
    let mut out = Vec::with_capacity(container.env.len());
    for source in &container.env_from {
        let (kind, reference) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), _) => ("ConfigMap", reference),
            (None, Some(reference)) => ("Secret", reference),
            (None, None) => continue,
        };
        let found = if kind == "Secret" {
            objects.secret(&reference.name)
        } else {
            objects.config_map_texts(&reference.name).map(Ok)
        };
        match found {
            Some(data) => {
                let mut pairs: Vec<_> = data?.into_iter().collect();
                pairs.sort();
                for (key, value) in pairs {
                    if key.contains(['=', '\0']) || value.contains(&0) {
                        return Err(Refusal::invalid(format!(
                            "container {:?} takes key {key:?} of {kind} {:?} into its environment, which can hold no NUL character and no \"=\" in a name",
                            container.name, reference.name
                        )));
                    }
                    out.push((format!("{}{key}", source.prefix), String::from_utf8_lossy(&value).into_owned()));
                }
            }
            None if reference.optional == Some(true) || !container.env.is_empty() => {}
            None => {
                return Err(Refusal::missing(format!(
                    "container {:?} takes its environment from {kind} {:?}, which did not come with the pod",
                    container.name, reference.name
                )));
            }
        }
    }
    for variable in &container.env {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            return Err(Refusal::invalid(format!(
                "container {:?} has a variable named {:?}; a name must not be empty or hold \"=\"",
                container.name, variable.name
            )));
        }
        if let Some(value) = value(variable, container, request, objects)? {
            if value.contains('\0') {
                return Err(Refusal::invalid(format!(
                    "variable {} of container {:?} holds a NUL character, which no process environment can",
                    variable.name, container.name
                )));
            }
            out.push((variable.name.clone(), value));
        }
    }
    Ok(out)
}

fn value(
    variable: &EnvVar,
    container: &Container,
    request: &Request,
    objects: &Objects<'_>,
) -> Result<Option<String>, Refusal> {
    if let Some(value) = &variable.value {
        return Ok(Some(value.clone()));
    }
    let Some(source) = &variable.value_from else { return Ok(Some(String::new())) };
    if let Some(field) = &source.field_ref {
        return Ok(Some(field_value(field, &request.pod.metadata)));
    }
    let (kind, key) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(key), _) => ("ConfigMap", key),
        (None, Some(key)) => ("Secret", key),
        (None, None) => return Ok(Some(String::new())),
    };
    let object = if kind == "Secret" { objects.secret(&key.name) } else { objects.config_map(&key.name) };
    let found = object.transpose()?.and_then(|data| data.get(&key.key).cloned());
    match found {
        Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        None if key.optional == Some(true) => Ok(None),
        None => Err(Refusal::missing(format!(
            "variable {} of container {:?} takes key {:?} of {kind} {:?}, which did not come with the pod",
            variable.name, container.name, key.key, key.name
        ))),
    }
}

/// Fields that are known when the pod is created; addresses are not.
fn field_value(field: &FieldRef, metadata: &Metadata) -> String {
    let of_map = |map: &std::collections::BTreeMap<String, String>, rest: &str| {
        let key = rest.strip_prefix("['").and_then(|r| r.strip_suffix("']"));
        key.and_then(|key| map.get(key)).cloned().unwrap_or_default()
    };
    match field.field_path.as_str() {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        path => path
            .strip_prefix("metadata.labels")
            .map(|rest| of_map(&metadata.labels, rest))
            .or_else(|| path.strip_prefix("metadata.annotations").map(|rest| of_map(&metadata.annotations, rest)))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::request::tests::request;

    fn env(container: Value, objects: Value) -> Result<Vec<(String, String)>, Refusal> {
        let mut full = json!({"name": "c", "image": "i"});
        full.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let request = request(json!({"containers": [full]}), objects);
        let objects = Objects::of(&request.data);
        resolve(&request.pod.spec.containers[0], &request, &objects)
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn values_keep_their_order_and_every_character() {
        let found = env(json!({"env": [{"name": "B", "value": "x\n'y' $Z"}, {"name": "A"}]}), json!({})).unwrap();
        assert_eq!(found, pairs(&[("B", "x\n'y' $Z"), ("A", "")]));
    }

    #[test]
    fn what_the_kubelet_left_open_is_resolved_from_what_came() {
        let container = json!({
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}}]});
        let objects = json!({"configMaps": [{"metadata": {"name": "m"}, "data": {"a": "1"}, "binaryData": {"b": "AAA="}}], "secrets": [{"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}}]});
        assert_eq!(env(container, objects).unwrap(), pairs(&[("P_a", "1"), ("N", "p"), ("L", "x"), ("S", "secret")]));
    }

    #[test]
    fn what_cannot_be_resolved_is_refused_by_name() {
        let cases = [
            (json!({"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}), "variable S"),
            (json!({"envFrom": [{"secretRef": {"name": "s"}}]}), "Secret \"s\""),
            (json!({"env": [{"name": "A=B", "value": ""}]}), "\"A=B\""),
            (json!({"env": [{"name": "A", "value": "\u{0}"}]}), "NUL"),
            (json!({"envFrom": [{"secretRef": {"name": "b"}}]}), "key \"raw\""),
        ];
        for (container, said) in cases {
            let binary = json!({"secrets": [{"metadata": {"name": "b"}, "data": {"raw": "AAA="}}]});
            let refusal = env(container, binary).unwrap_err();
            assert!(refusal.sentence.contains(said), "{refusal}");
        }
    }
}

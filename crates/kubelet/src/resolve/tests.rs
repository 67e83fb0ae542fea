//! Whole pods in, create requests out, against scripted objects.

use std::collections::BTreeMap;
use std::sync::Mutex;

use interlink_wire::Object;
use serde_json::{Value, json};

use super::*;

#[derive(Default)]
struct Scripted {
    config_maps: BTreeMap<&'static str, Value>,
    secrets: BTreeMap<&'static str, Value>,
    broken: Option<&'static str>,
    asked: Mutex<Vec<String>>,
    tokens: Mutex<Vec<TokenRequest>>,
}

#[async_trait::async_trait]
impl Objects for Scripted {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        self.answer(format!("ConfigMap {namespace}/{name}"), name, self.config_maps.get(name))
    }
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Object>, String> {
        self.answer(format!("Secret {namespace}/{name}"), name, self.secrets.get(name))
    }
    async fn service_account_token(&self, request: &TokenRequest) -> Result<String, String> {
        self.tokens.lock().unwrap().push(request.clone());
        match self.broken {
            Some("token") => Err("serviceaccounts/token is forbidden".into()),
            _ => Ok(format!("token for {:?}", request.audience)),
        }
    }
}

impl Scripted {
    fn answer(&self, asked: String, name: &str, value: Option<&Value>) -> Result<Option<Object>, String> {
        self.asked.lock().unwrap().push(asked);
        if self.broken == Some(name) {
            return Err("the API server does not answer".into());
        }
        Ok(value.cloned().and_then(Object::from_value))
    }
}

fn objects() -> Scripted {
    let config = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "config", "namespace": "shop", "managedFields": [1]},
        "data": {"color": "blue", "size": "$(color)", "1st": "one"}, "binaryData": {"blob": "/wA="}, "immutable": true});
    let blob = json!({"metadata": {"name": "blob"}, "binaryData": {"only": "/wA="}});
    let secret = json!({"metadata": {"name": "secret"}, "data": {"password": "aHVudGVyMg==", "color": "cmVk"}, "type": "Opaque"});
    let keystore = json!({"metadata": {"name": "keystore"}, "data": {"jks": "/wA=", "note": "b2s="}});
    let garbled = json!({"metadata": {"name": "garbled"}, "data": {"x": "***"}});
    let root_ca = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "CLUSTER CA"}});
    Scripted {
        config_maps: [("config", config), ("blob", blob), ("kube-root-ca.crt", root_ca)].into(),
        secrets: [("secret", secret), ("keystore", keystore), ("garbled", garbled)].into(),
        ..Scripted::default()
    }
}

fn settings() -> ResolveSettings {
    let node = NodeFacts { name: "site".into(), addresses: vec!["192.0.2.1".into()], allocatable: BTreeMap::new() };
    ResolveSettings { node, ..ResolveSettings::default() }
}

fn pod(spec: Value) -> Object {
    Object::from_value(json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "managedFields": [1], "labels": {"app": "web"}}, "spec": spec}))
    .unwrap()
}

/// A pod with one container `app` of these fields.
fn pod_with_container(fields: &Value) -> Object {
    let mut container = json!({"name": "app", "image": "busybox"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    pod(json!({"containers": [container]}))
}

fn pod_with_volume(volume: &Value) -> Object {
    let mut volume = volume.clone();
    volume["name"] = json!("vol");
    pod(json!({"containers": [{"name": "app"}], "volumes": [volume]}))
}

async fn env_of(fields: Value) -> Result<Vec<(String, String)>, Unresolved> {
    let resolved = resolve(&pod_with_container(&fields), &settings(), &objects()).await?;
    let pod = resolved.request.pod.into_value();
    let env = pod["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    Ok(env.iter().map(|v| (v["name"].as_str().unwrap().into(), v["value"].as_str().unwrap().into())).collect())
}

#[tokio::test]
async fn variables_follow_the_rules_of_kubernetes() {
    let key = |kind: &str, name: &str, key: &str, optional: bool| json!({kind: {"name": name, "key": key, "optional": optional}});
    type Case<'a> = (&'a str, Value, Vec<(&'a str, &'a str)>);
    let cases: Vec<Case<'_>> = vec![
        ("nothing", json!({}), vec![]),
        ("empty lists", json!({"env": null, "envFrom": []}), vec![]),
        ("a literal", json!({"env": [{"name": "A", "value": "1"}]}), vec![("A", "1")]),
        ("a variable without a value", json!({"env": [{"name": "A"}]}), vec![("A", "")]),
        (
            "references to earlier variables only",
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)-$$(A)"}, {"name": "C", "value": "3"}]}),
            vec![("A", "1"), ("B", "1-$(C)-$(A)"), ("C", "3")],
        ),
        (
            "the later wins, at the place of the first",
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "A", "value": "$(A)0"}]}),
            vec![("A", "10"), ("B", "2")],
        ),
        (
            "envFrom in order with prefix; its values are not expanded",
            json!({"envFrom": [{"configMapRef": {"name": "config"}}, {"prefix": "S_", "secretRef": {"name": "secret"}}]}),
            vec![
                ("1st", "one"),
                ("color", "blue"),
                ("size", "$(color)"),
                ("S_color", "red"),
                ("S_password", "hunter2"),
            ],
        ),
        (
            "a later source wins, env wins over all and sees them",
            json!({"envFrom": [{"configMapRef": {"name": "config"}}, {"secretRef": {"name": "secret"}}],
                "env": [{"name": "size", "value": "was $(color)"}]}),
            vec![("1st", "one"), ("color", "red"), ("size", "was red"), ("password", "hunter2")],
        ),
        (
            "optional sources that are not there",
            json!({"envFrom": [{"configMapRef": {"name": "ghost", "optional": true}}, {"secretRef": {"name": "ghost", "optional": true}}]}),
            vec![],
        ),
        (
            "keys",
            json!({"env": [
                {"name": "C", "valueFrom": key("configMapKeyRef", "config", "color", false)},
                {"name": "S", "valueFrom": key("secretKeyRef", "secret", "password", false)},
                {"name": "N", "valueFrom": key("secretKeyRef", "keystore", "note", false)}]}),
            vec![("C", "blue"), ("S", "hunter2"), ("N", "ok")],
        ),
        (
            "optional keys and objects leave no variable",
            json!({"env": [
                {"name": "A", "valueFrom": key("configMapKeyRef", "config", "ghost", true)},
                {"name": "B", "valueFrom": key("configMapKeyRef", "ghost", "x", true)},
                {"name": "C", "valueFrom": key("secretKeyRef", "secret", "ghost", true)},
                {"name": "D", "valueFrom": key("secretKeyRef", "ghost", "x", true)}]}),
            vec![],
        ),
        (
            "fields and resources",
            json!({"resources": {"limits": {"memory": "1Gi"}}, "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}]}),
            vec![("POD", "web"), ("APP", "web"), ("IP", "192.0.2.1"), ("NODE", "site"), ("MIB", "1024")],
        ),
        (
            "a value wins over valueFrom",
            json!({"env": [{"name": "A", "value": "1", "valueFrom": key("secretKeyRef", "ghost", "x", false)}]}),
            vec![("A", "1")],
        ),
    ];
    for (name, fields, expected) in cases {
        let env = env_of(fields).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let env: Vec<_> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(env, expected, "{name}");
    }
}

#[tokio::test]
async fn a_variable_without_a_source_names_pod_container_variable_and_object() {
    let var = |from: Value| json!({"env": [{"name": "X", "valueFrom": from}]});
    let cases = [
        (
            var(json!({"configMapKeyRef": {"name": "ghost", "key": "k"}})),
            "variable \"X\": ConfigMap \"ghost\" does not exist in this namespace",
            true,
        ),
        (
            var(json!({"secretKeyRef": {"name": "ghost", "key": "k"}})),
            "variable \"X\": Secret \"ghost\" does not exist",
            true,
        ),
        (
            var(json!({"configMapKeyRef": {"name": "config", "key": "k"}})),
            "variable \"X\": ConfigMap \"config\" has no key \"k\"",
            true,
        ),
        (
            var(json!({"configMapKeyRef": {"name": "config", "key": "blob"}})),
            "ConfigMap \"config\" has no key \"blob\"",
            true,
        ),
        (
            var(json!({"secretKeyRef": {"name": "secret", "key": "k"}})),
            "variable \"X\": Secret \"secret\" has no key \"k\"",
            true,
        ),
        (
            var(json!({"secretKeyRef": {"name": "keystore", "key": "jks"}})),
            "key \"jks\" of Secret \"keystore\": the value is not text",
            true,
        ),
        (
            var(json!({"secretKeyRef": {"name": "garbled", "key": "x"}})),
            "key \"x\" of Secret \"garbled\" is not base64",
            true,
        ),
        (
            var(json!({"fieldRef": {"fieldPath": "spec.restartPolicy"}})),
            "variable \"X\": fieldRef \"spec.restartPolicy\" is not supported",
            false,
        ),
        (
            var(json!({"fileKeyRef": {"volumeName": "v"}})),
            "variable \"X\": valueFrom.fileKeyRef is not supported",
            false,
        ),
        (var(json!({})), "variable \"X\": valueFrom is empty", false),
        (json!({"env": [{"name": "a=b", "value": "1"}]}), "env[0] has the name \"a=b\"", false),
        (
            json!({"envFrom": [{"configMapRef": {"name": "config"}}, {"secretRef": {"name": "ghost"}}]}),
            "envFrom[1]: Secret \"ghost\" does not exist",
            true,
        ),
        (
            json!({"envFrom": [{"secretRef": {"name": "keystore"}}]}),
            "envFrom[0]: key \"jks\" of Secret \"keystore\": the value is not text",
            true,
        ),
    ];
    for (fields, sentence, retry) in cases {
        let error = env_of(fields).await.unwrap_err();
        assert!(error.message.starts_with("pod shop/web: container \"app\": "), "{error}");
        assert!(error.message.contains(sentence), "{error}\nlacks {sentence}");
        assert_eq!((error.reason, error.retry), (CONTAINER_CONFIG, retry), "{error}");
    }
}

#[tokio::test]
async fn the_api_server_is_announced_unless_the_pod_says_otherwise() {
    let api = KubernetesApi { address: "192.0.2.9".into(), port: "6443".into() };
    let settings = ResolveSettings { kubernetes_api: Some(api), ..settings() };
    let pod = pod(json!({
        "initContainers": [{"name": "init"}],
        "containers": [{"name": "app", "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "mine"}, {"name": "URL", "value": "$(KUBERNETES_PORT)"}]}]}));
    let request = resolve(&pod, &settings, &objects()).await.unwrap().request.pod.into_value();
    let init = request["spec"]["initContainers"][0]["env"].as_array().unwrap();
    assert_eq!(init.len(), 8);
    assert_eq!(init[0], json!({"name": "KUBERNETES_PORT", "value": "tcp://192.0.2.9:6443"}));
    let app = request["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(app.len(), 9);
    assert_eq!(app[0], json!({"name": "KUBERNETES_SERVICE_HOST", "value": "mine"}));
    assert_eq!(app[1], json!({"name": "URL", "value": "tcp://192.0.2.9:6443"}));
}

#[tokio::test]
async fn what_we_do_not_know_stays_in_the_pod() {
    let mut raw = pod(json!({
        "fromTheFuture": {"a": [1, 2.5, null]},
        "containers": [{"name": "app", "resizePolicy": [{"x": 1}], "envFrom": [{"configMapRef": {"name": "config"}}], "env": [{"name": "A", "value": "1"}]}],
        "volumes": [{"name": "meta", "later": null, "downwardAPI": {"defaultMode": 256, "later": 1, "items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 292}]}}]}));
    raw.fields_mut().insert("status".into(), json!({"phase": "Pending"}));
    let request = resolve(&raw, &settings(), &objects()).await.unwrap().request;
    let sent = request.pod.into_value();
    assert_eq!(sent["spec"]["fromTheFuture"], json!({"a": [1, 2.5, null]}));
    assert_eq!(sent["status"], json!({"phase": "Pending"}));
    assert_eq!(sent["spec"]["containers"][0]["resizePolicy"], json!([{"x": 1}]));
    assert!(sent["spec"]["containers"][0].get("envFrom").is_none());
    assert!(sent["metadata"].get("managedFields").is_none() && sent.get("kind").is_none());
    let items = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 292}]);
    let projected = json!({"defaultMode": 256, "sources": [{"downwardAPI": {"later": 1, "items": items}}]});
    assert_eq!(sent["spec"]["volumes"], json!([{"name": "meta", "later": null, "projected": projected}]));
    assert_eq!(
        serde_json::to_value(&request.projectedvolumesmaps).unwrap(),
        json!([{"metadata": {"name": "meta"}, "data": {"labels": "app=\"web\""}}])
    );
}

#[tokio::test]
async fn objects_of_volumes_are_sent_once() {
    let pod = pod(json!({
        "containers": [{"name": "app", "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}}]}],
        "volumes": [
            {"name": "a", "configMap": {"name": "config", "items": [{"key": "blob", "path": "dir/blob"}]}},
            {"name": "b", "configMap": {"name": "config"}},
            {"name": "c", "configMap": {"name": "blob"}},
            {"name": "d", "secret": {"secretName": "keystore"}},
            {"name": "e", "secret": {"secretName": "keystore", "optional": true}},
            {"name": "f", "configMap": {"name": "ghost", "optional": true}},
            {"name": "g", "emptyDir": {}},
            {"name": "h", "hostPath": {"path": "/scratch"}}]}));
    let scripted = objects();
    let settings = ResolveSettings { job_script_builder_url: "http://builder".into(), ..settings() };
    let resolved = resolve(&pod, &settings, &scripted).await.unwrap();
    let request = &resolved.request;
    assert_eq!(request.configmaps.iter().map(Object::name).collect::<Vec<_>>(), ["blob", "config"]);
    assert_eq!(request.secrets.iter().map(Object::name).collect::<Vec<_>>(), ["keystore"]);
    assert_eq!(request.jobscript_url, "http://builder");
    // A ConfigMap without `data` is refused by some peers.
    assert_eq!(request.configmaps[0].fields()["data"], json!({}));
    let config = &request.configmaps[1];
    assert!(config.fields().get("kind").is_none() && config.fields()["immutable"] == json!(true));
    assert!(config.fields()["metadata"].get("managedFields").is_none());
    let mut asked = scripted.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(
        asked,
        [
            "ConfigMap shop/blob",
            "ConfigMap shop/config",
            "ConfigMap shop/ghost",
            "Secret shop/keystore",
            "Secret shop/secret"
        ]
    );
    assert_eq!(resolved.renew_tokens_after, None);
    assert_eq!(references(&pod, &settings).unwrap(), resolved.references);
}

#[tokio::test]
async fn a_projected_volume_is_one_synthetic_config_map() {
    let sources = json!([
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"serviceAccountToken": {"path": "vault/token", "audience": "vault", "expirationSeconds": 60}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"configMap": {"name": "config"}},
        {"configMap": {"name": "ghost", "optional": true}},
        {"configMap": {"name": "config", "optional": true, "items": [{"key": "ghost", "path": "x"}, {"key": "color", "path": "c1"}, {"key": "color", "path": "c2"}]}},
        {"secret": {"name": "keystore"}},
        {"secret": {"name": "secret", "items": [{"key": "color", "path": "color"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "app", "resource": "requests.cpu"}}]}}]);
    let scripted = objects();
    let resolved =
        resolve(&pod_with_volume(&json!({"projected": {"sources": sources}})), &settings(), &scripted).await.unwrap();
    let request = serde_json::to_value(&resolved.request).unwrap();
    assert_eq!(
        request["projectedvolumesmaps"],
        json!([{
            "metadata": {"name": "vol"},
            "data": {"token": "token for \"\"", "vault/token": "token for \"vault\"", "ca.crt": "CLUSTER CA", "1st": "one", "size": "$(color)",
                "color": "red", "c1": "blue", "c2": "blue", "note": "ok", "namespace": "shop", "cpu": "0"},
            "binaryData": {"blob": "/wA=", "jks": "/wA="}}])
    );
    assert_eq!((&request["configmaps"], &request["secrets"]), (&json!([]), &json!([])));
    let mut tokens = scripted.tokens.lock().unwrap().clone();
    tokens.sort();
    let expected = |audience: &str, expiration_seconds| TokenRequest {
        namespace: "shop".into(),
        service_account: "default".into(),
        pod_name: "web".into(),
        pod_uid: "u-1".into(),
        audience: audience.into(),
        expiration_seconds,
    };
    assert_eq!(tokens, [expected("", 3607), expected("vault", 600)]);
    assert_eq!(resolved.renew_tokens_after, Some(Duration::from_secs(480)));
}

#[tokio::test]
async fn the_configured_authority_takes_the_place_of_the_clusters() {
    let settings = ResolveSettings { kubernetes_api_ca: Some("SITE CA".into()), ..settings() };
    for (items, expected) in [
        (
            json!([{"key": "ca.crt", "path": "ca.crt"}, {"key": "ca.crt", "path": "sub/x"}]),
            json!({"ca.crt": "SITE CA", "sub/x": "SITE CA"}),
        ),
        (json!([]), json!({"ca.crt": "SITE CA"})),
    ] {
        let volume = json!({"projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt", "items": items}}]}});
        let scripted = objects();
        let request = resolve(&pod_with_volume(&volume), &settings, &scripted).await.unwrap().request;
        assert_eq!(request.projectedvolumesmaps[0].fields()["data"], expected);
        assert!(scripted.asked.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_volume_without_content_names_volume_object_and_key() {
    let projected = |source: Value| json!({"projected": {"sources": [source]}});
    let file = |item: Value| projected(json!({"downwardAPI": {"items": [item]}}));
    let cases = [
        (
            json!({"configMap": {"name": "ghost"}}),
            FAILED_MOUNT,
            "ConfigMap \"ghost\" does not exist in this namespace; create it or mark",
            true,
        ),
        (json!({"secret": {"secretName": "ghost"}}), FAILED_MOUNT, "Secret \"ghost\" does not exist", true),
        (
            json!({"configMap": {"name": "config", "items": [{"key": "k", "path": "p"}]}}),
            FAILED_MOUNT,
            "ConfigMap \"config\" has no key \"k\"",
            true,
        ),
        (
            json!({"secret": {"secretName": "secret", "items": [{"key": "k", "path": "p"}]}}),
            FAILED_MOUNT,
            "Secret \"secret\" has no key \"k\"",
            true,
        ),
        (
            json!({"secret": {"secretName": "garbled"}}),
            FAILED_MOUNT,
            "key \"x\" of Secret \"garbled\" is not base64",
            true,
        ),
        (
            json!({"configMap": {"name": "config", "items": [{"key": "color", "path": "../x"}]}}),
            FAILED_MOUNT,
            "the path \"../x\" leaves the volume",
            false,
        ),
        (
            projected(json!({"configMap": {"name": "ghost"}})),
            FAILED_MOUNT,
            "sources[0]: ConfigMap \"ghost\" does not exist",
            true,
        ),
        (
            projected(json!({"secret": {"name": "secret", "items": [{"key": "k", "path": "p"}]}})),
            FAILED_MOUNT,
            "sources[0]: Secret \"secret\" has no key \"k\"",
            true,
        ),
        (
            projected(json!({"clusterTrustBundle": {"path": "x"}})),
            FAILED_MOUNT,
            "the source clusterTrustBundle is not supported",
            false,
        ),
        (
            projected(json!({"serviceAccountToken": {"path": "/etc/x"}})),
            FAILED_MOUNT,
            "the path \"/etc/x\" leaves the volume",
            false,
        ),
        (file(json!({"path": "x"})), FAILED_MOUNT, "file \"x\": it has neither fieldRef nor resourceFieldRef", false),
        (
            file(json!({"path": "x", "fieldRef": {"fieldPath": "spec.hostname"}})),
            FAILED_MOUNT,
            "file \"x\": fieldRef \"spec.hostname\" is not supported",
            false,
        ),
        (
            file(json!({"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}})),
            FAILED_MOUNT,
            "has no containerName",
            false,
        ),
        (
            json!({"persistentVolumeClaim": {"claimName": "c"}}),
            UNSUPPORTED_VOLUME,
            "is of the kind persistentVolumeClaim, which this node can't provide",
            false,
        ),
        (json!({"nfs": {"server": "s"}}), UNSUPPORTED_VOLUME, "is of the kind nfs", false),
        (json!({"csi": {"driver": "d"}}), UNSUPPORTED_VOLUME, "is of the kind csi", false),
        (json!({"ephemeral": {}}), UNSUPPORTED_VOLUME, "is of the kind ephemeral", false),
    ];
    for (volume, reason, sentence, retry) in cases {
        let error = resolve(&pod_with_volume(&volume), &settings(), &objects()).await.unwrap_err();
        assert!(error.message.starts_with("pod shop/web: volume \"vol\""), "{error}");
        assert!(error.message.contains(sentence), "{error}\nlacks {sentence}");
        assert_eq!((error.reason, error.retry), (reason, retry), "{error}");
    }
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_asked_again_later() {
    let broken = |what| Scripted { broken: Some(what), ..objects() };
    let optional = json!({"configMap": {"name": "config", "optional": true}});
    let error = resolve(&pod_with_volume(&optional), &settings(), &broken("config")).await.unwrap_err();
    assert_eq!(
        error.message,
        "pod shop/web: volume \"vol\": ConfigMap \"config\" can't be read: the API server does not answer"
    );
    assert!(error.retry);
    let token = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let error = resolve(&pod_with_volume(&token), &settings(), &broken("token")).await.unwrap_err();
    assert!(
        error.message.ends_with(
            "token of ServiceAccount \"default\": the token request failed: serviceaccounts/token is forbidden"
        ),
        "{error}"
    );
    assert!(error.retry);
}

#[tokio::test]
async fn projected_volumes_can_be_switched_off() {
    let settings = ResolveSettings { disable_projected_volumes: true, ..settings() };
    for volume in [
        json!({"projected": {"sources": [{"secret": {"name": "ghost"}}]}}),
        json!({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "nonsense"}}]}}),
    ] {
        let pod = pod_with_volume(&volume);
        let request = resolve(&pod, &settings, &objects()).await.unwrap().request;
        assert!(request.projectedvolumesmaps.is_empty());
        assert_eq!(request.pod.fields()["spec"], pod.fields()["spec"]);
    }
}

#[tokio::test]
async fn containers_that_stay_behind_need_nothing() {
    let mut pod = pod(json!({
        "containers": [{"name": "app"}, {"name": "proxy", "envFrom": [{"secretRef": {"name": "ghost"}}], "volumeMounts": [{"name": "data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}));
    pod.fields_mut()["metadata"]["annotations"] = json!({"interlink.eu/disable-offload-containers": "proxy"});
    let sent = resolve(&pod, &settings(), &objects()).await.unwrap().request.pod.into_value();
    assert_eq!((&sent["spec"]["containers"], &sent["spec"]["volumes"]), (&json!([{"name": "app"}]), &json!([])));
}

#[tokio::test]
async fn a_pod_that_cannot_be_read_is_refused() {
    let error = resolve(&pod(json!({"containers": "none"})), &settings(), &objects()).await.unwrap_err();
    assert_eq!((error.reason, error.retry), (INVALID_POD, false));
    assert!(error.message.starts_with("pod shop/web: pod is not valid"), "{error}");
}

//! The volumes of a pod as directories, with the content, owners and modes that a kubelet gives them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use interlink_testkit::dirs::TestDir;
use interlink_testkit::kubernetes::Kubectl;
use serde_json::Value;

use super::{list, text};

/// A file's name in its volume, content and mode.
type Files = Vec<(String, Vec<u8>, u32)>;

/// Makes the volumes of `pod` below `dir`.
pub(crate) async fn make(kubectl: &Kubectl, pod: &Value, dir: &TestDir) -> BTreeMap<String, PathBuf> {
    let group =
        pod["spec"]["securityContext"]["fsGroup"].as_u64().map(|gid| u32::try_from(gid).expect("a group's number"));
    let mut made = BTreeMap::new();
    for volume in list(&pod["spec"]["volumes"]) {
        let name = text(&volume["name"]);
        let path = dir.folder(format!("volumes/{name}"));
        let from = Source { kubectl, pod };
        let files = if let Some(map) = object(volume, "configMap") {
            Some(from.config_map(map, mode(map)).await)
        } else if let Some(secret) = object(volume, "secret") {
            Some(from.secret(secret, "secretName", mode(secret)).await)
        } else if let Some(projected) = object(volume, "projected") {
            Some(from.projected(projected).await)
        } else {
            assert!(volume["emptyDir"].is_object(), "this kind of volume is not made here: {volume}");
            None
        };
        match files {
            Some(files) => fill(&path, files, group),
            None => own(&path, group, 0o777),
        }
        made.insert(name.to_owned(), path);
    }
    made
}

struct Source<'a> {
    kubectl: &'a Kubectl,
    pod: &'a Value,
}

impl Source<'_> {
    async fn config_map(&self, source: &Value, mode: u32) -> Files {
        let map = self.get("configmap", text(&source["name"])).await;
        let plain = entries(&map["data"]).map(|(key, value)| (key, text(value).as_bytes().to_vec(), mode));
        let binary = entries(&map["binaryData"]).map(|(key, value)| (key, decoded(value), mode));
        chosen(source, plain.chain(binary).collect())
    }

    async fn secret(&self, source: &Value, named: &str, mode: u32) -> Files {
        let secret = self.get("secret", text(&source[named])).await;
        chosen(source, entries(&secret["data"]).map(|(key, value)| (key, decoded(value), mode)).collect())
    }

    async fn projected(&self, volume: &Value) -> Files {
        let mode = mode(volume);
        let mut files = Files::new();
        for source in list(&volume["sources"]) {
            if let Some(token) = object(source, "serviceAccountToken") {
                let path = text(&token["path"]).to_owned();
                // a pod with a group has it for that group alone
                files.push((path, self.token(token).await.into_bytes(), 0o600));
            } else if let Some(map) = object(source, "configMap") {
                files.extend(self.config_map(map, mode).await);
            } else if let Some(secret) = object(source, "secret") {
                files.extend(self.secret(secret, "name", mode).await);
            } else if let Some(fields) = object(source, "downwardAPI") {
                files.extend(list(&fields["items"]).map(|item| {
                    let value = field(self.pod, text(&item["fieldRef"]["fieldPath"]));
                    (text(&item["path"]).to_owned(), value.into_bytes(), mode)
                }));
            } else {
                panic!("this kind of source is not read here: {source}");
            }
        }
        files
    }

    /// By TokenRequest, bound to the pod.
    async fn token(&self, source: &Value) -> String {
        let meta = |key: &str| text(&self.pod["metadata"][key]);
        let account = text(&self.pod["spec"]["serviceAccountName"]);
        let duration = format!("--duration={}s", source["expirationSeconds"]);
        let mut args = vec!["create", "token", account, "-n", meta("namespace"), &duration];
        args.extend([
            "--bound-object-kind=Pod",
            "--bound-object-name",
            meta("name"),
            "--bound-object-uid",
            meta("uid"),
        ]);
        if let Some(audience) = source["audience"].as_str() {
            args.extend(["--audience", audience]);
        }
        self.kubectl.ok(args).await.trim().to_owned()
    }

    async fn get(&self, kind: &str, name: &str) -> Value {
        self.kubectl.json(["get", kind, name, "-n", text(&self.pod["metadata"]["namespace"])]).await
    }
}

/// The value of a field of the pod, as `fieldRef` names it.
pub(crate) fn field(pod: &Value, path: &str) -> String {
    let value = pod.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
    value.as_str().unwrap_or_else(|| panic!("the field {path} has no value")).to_owned()
}

/// Writes files as kubelets do: in a directory of their own, to which `..data` leads, so that all change at once.
fn fill(volume: &Path, files: Files, group: Option<u32>) {
    let data = volume.join("..payload");
    fs::create_dir(&data).expect("a test's own directory is writable");
    symlink("..payload", volume.join("..data")).expect("the volume is new");
    for (name, content, mode) in files {
        assert!(!name.contains('/'), "files in folders are not made here: {name}");
        let path = data.join(&name);
        fs::write(&path, content).expect("a test's own directory is writable");
        own(&path, group, mode);
        symlink(Path::new("..data").join(&name), volume.join(&name)).expect("names in a volume differ");
    }
    own(&data, group, 0o755);
    own(volume, group, 0o777);
}

/// With a group, everything is the group's, which may read it; what is made in directories is the group's, too.
fn own(path: &Path, group: Option<u32>, mode: u32) {
    let more = match group {
        None => 0,
        Some(_) if path.is_dir() => 0o2550,
        Some(_) => 0o440,
    };
    chown(path, Some(0), group.or(Some(0))).expect("the test is root's");
    fs::set_permissions(path, fs::Permissions::from_mode(mode | more)).expect("the test is root's");
}

fn chosen(source: &Value, files: Files) -> Files {
    assert!(source["items"].is_null() || files.iter().all(|(name, ..)| listed(source, name)), "items: {source}");
    files
}

/// Whether a key is taken under its own name, which is all that is done here.
fn listed(source: &Value, name: &str) -> bool {
    list(&source["items"]).any(|item| item["key"] == name && item["path"] == name)
}

fn mode(source: &Value) -> u32 {
    source["defaultMode"].as_u64().map_or(0o644, |mode| u32::try_from(mode).expect("a file's mode"))
}

fn object<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|found| found.is_object())
}

fn entries(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value))
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).expect("the API server has it in base64")
}

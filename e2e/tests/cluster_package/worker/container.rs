//! One container: what its pod and its image say, as the start of a program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Launch, warden};
use serde_json::Value;

use super::images::Image;
use super::volumes::field;
use super::{list, text};

/// Makes the mounts and becomes the program.
const SCRIPT: &str = include_str!("container.sh");

/// How the container is started, but for its network.
pub(crate) fn launch(
    pod: &Value,
    container: &Value,
    image: &Image,
    volumes: &BTreeMap<String, PathBuf>,
    cluster: &[(&str, String)],
    dir: &TestDir,
) -> Launch {
    let name = text(&container["name"]);
    let setting = |key: &str| match &container["securityContext"][key] {
        Value::Null => pod["spec"]["securityContext"][key].clone(),
        own => own.clone(),
    };
    let (user, group) = account(&setting, image);
    assert!(setting("runAsNonRoot") != true || user != 0, "container {name} would be root's: a kubelet refuses it");
    assert!(user != 0 || setting("capabilities").is_null(), "capabilities of root are not taken away here");
    let mut words: Vec<OsString> = vec![image.root.clone().into(), dir.folder(format!("root-{name}")).into()];
    words.extend([
        OsString::from(if setting("readOnlyRootFilesystem") == true { "ro" } else { "rw" }),
        format!("{user}:{group}").into(),
        setting("fsGroup").as_u64().unwrap_or(group).to_string().into(),
        if setting("allowPrivilegeEscalation") == false { "--no-new-privs" } else { "-" }.into(),
    ]);
    for mount in list(&container["volumeMounts"]) {
        assert!(mount["subPath"].is_null(), "subPath is not done here: {mount}");
        let volume = volumes.get(text(&mount["name"])).unwrap_or_else(|| panic!("{mount} is of no volume of the pod"));
        let read_only = mount["readOnly"] == true;
        words.extend([volume.into(), text(&mount["mountPath"]).into(), if read_only { "ro" } else { "rw" }.into()]);
    }
    words.push("--env".into());
    words.extend(
        environment(pod, container, image, cluster).into_iter().map(|(key, value)| format!("{key}={value}").into()),
    );
    words.push("--".into());
    words.extend(command(container, image).into_iter().map(OsString::from));
    Launch::new("unshare", dir.join(format!("{name}.log")))
        .args(["--mount", "--propagation", "private", "--", "bash", "-c", SCRIPT, "container"])
        .args(words)
        .clean_env()
}

/// The user's number, and its group's: the pod's word, else the image's.
fn account(setting: &impl Fn(&str) -> Value, image: &Image) -> (u64, u64) {
    let of_image = image.config["User"].as_str().unwrap_or_default();
    let mut parts = of_image.split(':').map(|part| part.parse::<u64>().unwrap_or_default());
    let (user, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    (setting("runAsUser").as_u64().unwrap_or(user), setting("runAsGroup").as_u64().unwrap_or(group))
}

/// Kubernetes' rule: `command` takes the place of the image's entrypoint and of its arguments, `args` of those alone.
fn command(container: &Value, image: &Image) -> Vec<String> {
    let words = |value: &Value| -> Vec<String> { list(value).map(|word| text(word).to_owned()).collect() };
    let (command, args) = (words(&container["command"]), words(&container["args"]));
    let by_image = |key: &str| words(&image.config[key]);
    match (command.is_empty(), args.is_empty()) {
        (true, true) => [by_image("Entrypoint"), by_image("Cmd")].concat(),
        (true, false) => [by_image("Entrypoint"), args].concat(),
        (false, _) => [command, args].concat(),
    }
}

fn environment(pod: &Value, container: &Value, image: &Image, cluster: &[(&str, String)]) -> BTreeMap<String, String> {
    // what a runtime sets; the mark is the testkit's, which ends what a test leaves
    let mut all = BTreeMap::from([
        ("HOME".to_owned(), "/".to_owned()),
        ("HOSTNAME".to_owned(), text(&pod["metadata"]["name"]).to_owned()),
        (warden::MARK.to_owned(), warden::root().display().to_string()),
    ]);
    let of_image = list(&image.config["Env"]).filter_map(|entry| text(entry).split_once('='));
    all.extend(of_image.map(|(key, value)| (key.to_owned(), value.to_owned())));
    all.extend(cluster.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    assert!(container["envFrom"].is_null(), "envFrom is not read here");
    for entry in list(&container["env"]) {
        let value = match (&entry["value"], entry["valueFrom"]["fieldRef"]["fieldPath"].as_str()) {
            (Value::String(value), _) => value.clone(),
            (_, Some(path)) => field(pod, path),
            _ => panic!("this kind of variable is not read here: {entry}"),
        };
        assert!(!value.contains("$("), "references are not expanded here: {entry}");
        all.insert(text(&entry["name"]).to_owned(), value);
    }
    all
}

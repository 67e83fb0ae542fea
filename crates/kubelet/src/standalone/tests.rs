//! Real directories, looked at step by step.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use interlink_wire::{Object, PodUid};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::manifests::{self, Manifest};
use super::*;
use crate::resolve::Objects;
use crate::source::{PodEvent, PodSource, Store, StoreError};

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: app, image: busybox}\n";
const OTHER: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: other}\nspec:\n  containers:\n  - {name: app, image: busybox}\n";

/// A directory of manifests, one of state, and this process' view of them.
struct Site {
    dir: TempDir,
    table: Arc<PodTable>,
    standalone: Standalone,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("manifests")).unwrap();
        let (table, standalone) = Self::open(dir.path());
        Self { dir, table, standalone }
    }

    fn open(dir: &Path) -> (Arc<PodTable>, Standalone) {
        let table = Arc::new(PodTable::new());
        let standalone = Standalone::open(&dir.join("manifests"), "site", &dir.join("state"), table.clone()).unwrap();
        (table, standalone)
    }

    /// A new process in the same place.
    fn restart(self) -> Self {
        let (table, standalone) = Self::open(self.dir.path());
        Self { dir: self.dir, table, standalone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("manifests").join(name)
    }

    /// Writes a file that was left alone for a while.
    fn write(&self, name: &str, text: &str) {
        self.write_now(name, text);
        let then = SystemTime::now() - Duration::from_secs(10);
        fs::File::options().write(true).open(self.path(name)).unwrap().set_modified(then).unwrap();
    }

    fn write_now(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Looks, lets the table take note of what is told, and gives it in short.
    fn look(&mut self) -> Vec<String> {
        let events = self.standalone.source.look(true);
        events.into_iter().map(|event| self.note(event)).collect()
    }

    fn note(&self, event: PodEvent) -> String {
        let apply = |pod: Object| {
            let uid = PodUid::parse(pod.uid()).unwrap();
            let text = format!("{}/{}", pod.namespace(), pod.name());
            self.table.apply(&uid, pod);
            text
        };
        match event {
            PodEvent::Listed(pods) => {
                let names: Vec<String> = pods.into_iter().map(apply).collect();
                format!("listed {}", names.join(" "))
            }
            PodEvent::Applied(pod) => format!("applied {}", apply(pod)),
            PodEvent::Deleted(uid) => {
                let name = self.table.update(&uid, |pod| {
                    pod.present = false;
                    pod.name().to_owned()
                });
                format!("deleted {}", name.unwrap_or_else(|| "unknown".into()))
            }
        }
    }

    fn pod(&self, name: &str) -> Arc<crate::pod_table::KnownPod> {
        self.table.find("default", name).unwrap()
    }
}

#[test]
fn the_pods_of_a_directory_are_listed_with_identity_and_defaults() {
    let mut site = Site::new();
    site.write("web.yaml", POD);
    site.write("notes.txt", "not a manifest");
    site.write(".hidden.yaml", OTHER);
    assert_eq!(site.look(), ["listed default/web"]);
    assert!(site.look().is_empty());
    let pod = site.pod("web").object.clone();
    let fields = pod.fields();
    assert_eq!(pod.annotation("kubernetes.io/config.source"), Some("file"));
    assert_eq!(pod.annotation("kubernetes.io/config.hash"), Some(pod.uid()));
    assert_eq!((&fields["spec"]["nodeName"], &fields["spec"]["restartPolicy"]), (&json!("site"), &json!("Always")));
    assert_eq!(fields["status"], json!({"phase": "Pending"}));
    assert!(
        matches!(fields["metadata"]["creationTimestamp"].as_str(), Some(t) if t.len() == "2026-01-31T12:00:00Z".len())
    );
}

#[test]
fn an_empty_directory_is_told_too() {
    let mut site = Site::new();
    assert_eq!(site.look(), ["listed "]);
    site.write("web.json", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop"},"spec":{"containers":[{"name":"a","image":"b"}]}}"#);
    assert_eq!(site.look(), ["applied shop/web"]);
}

#[test]
fn changed_content_is_another_pod_and_the_same_content_is_the_same_pod() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let first = site.pod("web").uid.clone();
    // Touched, and its comments and layout changed: still the same.
    site.write("a.yaml", &format!("# a comment\n{POD}\n---\n"));
    assert!(site.look().is_empty());
    site.write("a.yaml", &POD.replace("busybox", "busybox:1.36"));
    assert_eq!(site.look(), ["deleted web", "applied default/web"]);
    assert_ne!(site.pod("web").uid, first);
}

#[test]
fn a_file_that_is_gone_takes_its_pods_with_it_and_an_editors_gap_does_not() {
    let mut site = Site::new();
    site.write("a.yaml", &format!("{POD}---\n{OTHER}"));
    assert_eq!(site.look().len(), 1);
    fs::remove_file(site.path("a.yaml")).unwrap();
    assert!(site.look().is_empty());
    site.write("a.yaml", &format!("{POD}---\n{OTHER}"));
    assert!(site.look().is_empty());
    fs::remove_file(site.path("a.yaml")).unwrap();
    site.look();
    let mut gone = site.look();
    gone.sort();
    assert_eq!(gone, ["deleted other", "deleted web"]);
    assert!(site.look().is_empty());
}

#[test]
fn a_file_that_is_being_written_is_not_read() {
    let mut site = Site::new();
    site.write_now("a.yaml", &POD[..POD.len() / 2]);
    // The list waits for it: not a word yet.
    assert!(site.look().is_empty());
    site.write("a.yaml", POD);
    assert_eq!(site.look(), ["listed default/web"]);
    site.write_now("a.yaml", &POD.replace("busybox", "busy"));
    assert!(site.look().is_empty());
    // Left alone from one look to the next is settled too, whatever the clock of the file server says.
    assert_eq!(site.look(), ["deleted web", "applied default/web"]);
}

#[test]
fn a_file_that_never_settles_does_not_hold_up_the_others_for_ever() {
    let mut site = Site::new();
    site.write("web.yaml", POD);
    site.write_now("b.yaml", OTHER);
    let told = site.standalone.source.look(false);
    assert!(matches!(&told[..], [PodEvent::Listed(pods)] if pods.len() == 1));
}

#[test]
fn a_wrong_file_keeps_what_it_last_held_and_others_go_on() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    site.write("a.yaml", "apiVersion: v1\nkind: [");
    site.write("b.yaml", OTHER);
    assert_eq!(site.look(), ["applied default/other"]);
    site.write("a.yaml", POD);
    assert!(site.look().is_empty());
}

#[test]
fn a_complaint_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, "kind: Deployment\n").unwrap();
    let then = SystemTime::now() - Duration::from_secs(10);
    fs::File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
    let mut looks = look::Looks::new(dir.path().to_owned(), "site");
    let expected = format!(
        "{}: line 1: kind \"Deployment\" is not known here; expected kind: Pod, ConfigMap or Secret",
        file.display()
    );
    assert_eq!(looks.look().1, [expected]);
    assert!(looks.look().1.is_empty());
    fs::remove_dir_all(dir.path()).unwrap();
    let (snapshot, complaints) = looks.look();
    assert_eq!(snapshot, None);
    assert!(
        complaints[0].contains("can't be listed") && complaints[0].ends_with("the pods stay as they are"),
        "{complaints:?}"
    );
}

#[test]
fn the_second_of_two_equal_names_is_not_used() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.write("b.yaml", &POD.replace("busybox", "other"));
    assert_eq!(site.look(), ["listed default/web"]);
    assert_eq!(site.pod("web").object.fields()["spec"]["containers"][0]["image"], "busybox");
}

#[tokio::test]
async fn config_maps_and_secrets_of_the_directory_are_found() {
    let mut site = Site::new();
    let objects = &site.standalone.objects;
    assert!(objects.config_map("default", "config").await.unwrap_err().contains("have not been read yet"));
    site.write(
        "objects.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata: {color: blue}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {name: secret, namespace: shop}\ndata: {a: b2xk, c: aGk=}\nstringData: {a: new}\n",
    );
    site.look();
    let objects = &site.standalone.objects;
    let config = objects.config_map("default", "config").await.unwrap().unwrap();
    assert_eq!(config.fields()["data"], json!({"color": "blue"}));
    let secret = objects.secret("shop", "secret").await.unwrap().unwrap();
    assert_eq!(
        (&secret.fields()["data"], &secret.fields()["type"]),
        (&json!({"a": "bmV3", "c": "aGk="}), &json!("Opaque"))
    );
    assert!(secret.fields().get("stringData").is_none());
    assert_eq!(objects.secret("default", "secret").await, Ok(None));
    // New content is there at the next look.
    site.write("objects.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata: {color: red}\n");
    site.look();
    let config = site.standalone.objects.config_map("default", "config").await.unwrap().unwrap();
    assert_eq!(config.fields()["data"], json!({"color": "red"}));
}

#[tokio::test]
async fn status_and_job_survive_a_restart() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let pod = site.pod("web");
    let store = &site.standalone.store;
    store.write_status(&pod.object, &json!({"phase": "Running"})).await.unwrap();
    store.record_job(&pod.object, "42").await.unwrap();
    assert_eq!(store.exists("default", "web", &pod.uid).await, Ok(true));
    let created = pod.object.fields()["metadata"]["creationTimestamp"].clone();
    let mut site = site.restart();
    assert!(matches!(site.standalone.store.exists("default", "web", &pod.uid).await, Err(StoreError::Unavailable(_))));
    assert_eq!(site.look(), ["listed default/web"]);
    let again = site.pod("web");
    assert_eq!(again.uid, pod.uid);
    assert_eq!((again.object.phase(), again.object.annotation("JobID")), ("Running", Some("42")));
    assert_eq!(again.object.fields()["metadata"]["creationTimestamp"], created);
    let record = site.dir.path().join(format!("state/standalone/site/{}.json", pod.uid));
    assert_eq!(fs::metadata(record).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_pod_whose_file_went_while_nobody_looked_is_still_ended() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let pod = site.pod("web");
    site.standalone.store.record_job(&pod.object, "42").await.unwrap();
    fs::remove_file(site.path("a.yaml")).unwrap();
    let mut site = site.restart();
    assert_eq!(site.look(), ["listed default/web", "deleted web"]);
    assert_eq!(site.pod("web").object.annotation("JobID"), Some("42"));
    assert_eq!(site.standalone.store.exists("default", "web", &pod.uid).await, Ok(false));
}

#[tokio::test]
async fn a_file_that_can_not_be_read_after_a_restart_ends_nothing() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let pod = site.pod("web");
    site.write("a.yaml", "kind: [");
    let mut site = site.restart();
    assert_eq!(site.look(), ["listed default/web"]);
    assert_eq!(site.pod("web").uid, pod.uid);
    site.standalone.store.write_status(&pod.object, &json!({"phase": "Running"})).await.unwrap();
    assert!(site.look().is_empty());
    // Who else might be in it is unknown.
    let stranger = PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap();
    assert!(matches!(site.standalone.store.exists("default", "x", &stranger).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_back_starts_anew_once_its_job_has_ended() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let pod = site.pod("web");
    site.standalone.store.write_status(&pod.object, &json!({"phase": "Running"})).await.unwrap();
    fs::remove_file(site.path("a.yaml")).unwrap();
    site.look();
    assert_eq!(site.look(), ["deleted web"]);
    site.write("a.yaml", POD);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(site.look().is_empty());
    site.table.forget(&pod.uid);
    assert_eq!(site.look(), ["applied default/web"]);
    assert_eq!(site.pod("web").object.phase(), "Pending");
}

#[tokio::test(start_paused = true)]
async fn the_record_of_an_ended_pod_goes_when_nothing_is_left_to_be_done() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let pod = site.pod("web");
    fs::remove_file(site.path("a.yaml")).unwrap();
    site.look();
    site.look();
    let record = site.dir.path().join(format!("state/standalone/site/{}.json", pod.uid));
    tokio::time::advance(Duration::from_secs(60)).await;
    site.look();
    assert!(record.exists());
    site.table.forget(&pod.uid);
    site.look();
    assert!(!record.exists());
    let status = json!({"phase": "Running"});
    assert_eq!(site.standalone.store.write_status(&pod.object, &status).await, Err(StoreError::Gone));
}

#[tokio::test]
async fn a_damaged_record_is_passed_over() {
    let mut site = Site::new();
    site.write("a.yaml", POD);
    site.look();
    let record = site.dir.path().join(format!("state/standalone/site/{}.json", site.pod("web").uid));
    fs::write(&record, "{").unwrap();
    let mut site = site.restart();
    assert_eq!(site.look(), ["listed default/web"]);
}

#[tokio::test]
async fn the_source_runs_until_it_is_told_to_stop() {
    let site = Site::new();
    site.write("a.yaml", POD);
    let (sender, mut events) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(Box::new(site.standalone.source).run(sender, shutdown.clone()));
    assert!(matches!(events.recv().await, Some(PodEvent::Listed(pods)) if pods.len() == 1));
    fs::remove_file(site.dir.path().join("manifests/a.yaml")).unwrap();
    assert!(matches!(events.recv().await, Some(PodEvent::Deleted(_))));
    shutdown.cancel();
    running.await.unwrap();
}

#[test]
fn a_wrong_manifest_is_explained_with_its_line() {
    let pod = |container: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {{containers: [{container}]}}\n")
    };
    let with = |more: &str| format!("{POD}{more}");
    let cases = [
        (format!("{POD}---\nkind: Pod\n  metadata: x\n"), "line 9: not valid YAML: "),
        (format!("# first\n\n{POD}---\n\n# second\nkind: Service\n"), "line 12: kind \"Service\" is not known here"),
        ("metadata: {name: x}\n".into(), "line 1: there is no kind; expected kind: Pod, ConfigMap or Secret"),
        ("apiVersion: v2\nkind: Pod\n".into(), "Pod: apiVersion must be \"v1\""),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: No_Name}\n".into(), "metadata.name \"No_Name\" is not valid"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: a.b}\n".into(),
            "metadata.namespace \"a.b\" is not valid",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {a: 1}}\n".into(),
            "metadata.labels.a must be a text; put its value in quotes",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n".into(), "Pod \"web\": spec.containers is empty"),
        (pod("{name: a}"), "container \"a\" has no image"),
        (pod("{name: A, image: x}"), "the container name \"A\" is not valid"),
        (pod("{name: a, image: x}, {name: a, image: x}"), "two containers are named \"a\""),
        (
            pod("{name: a, image: x, env: [{name: A, value: 1}]}"),
            "spec.containers[0].env[0].value: invalid type: integer `1`, expected a string; put it in quotes",
        ),
        (
            pod("{name: a, image: x, args: [sleep, 10]}"),
            "spec.containers[0].args[1]: invalid type: integer `10`, expected a string; put it in quotes",
        ),
        (
            pod("{name: a, image: x, volumeMounts: [{name: v, mountPath: /v}]}"),
            "container \"a\" mounts the volume \"v\", which spec.volumes does not have",
        ),
        (with("  volumes: [{name: v}, {name: v}]\n"), "spec.volumes needs a name of its own for each volume"),
        (with("  restartPolicy: never\n"), "spec.restartPolicy \"never\" is not valid"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: 1}\n".into(),
            "ConfigMap \"c\": data.a must be a text",
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a/b: x}\n".into(), "data has the key \"a/b\""),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: hunter2!}\n".into(),
            "Secret \"s\": data.a is not base64; plain text belongs into stringData",
        ),
    ];
    for (text, sentence) in cases {
        let error = manifests::read("x.yaml", &text).unwrap_err();
        assert!(error.contains(sentence), "{error}\nlacks {sentence}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = manifests::read("x.json", "{\"kind\":\n}").unwrap_err();
    assert!(error.starts_with("line 2: not valid JSON: "), "{error}");
}

#[test]
fn documents_of_all_kinds_are_read() {
    let kinds = |name: &str, text: &str| -> Vec<&str> {
        let kind = |m: &Manifest| match m {
            Manifest::Pod { .. } => "Pod",
            Manifest::ConfigMap(_) => "ConfigMap",
            Manifest::Secret(_) => "Secret",
        };
        manifests::read(name, text).unwrap().iter().map(kind).collect()
    };
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  text: |\n    a\n    ---\n    b\n";
    assert_eq!(
        kinds("x.yaml", &format!("%YAML 1.2\n---\n{POD}...\n---\n{config}---\n# nothing\n")),
        ["Pod", "ConfigMap"]
    );
    assert_eq!(kinds("x.yml", ""), Vec::<&str>::new());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]});
    assert_eq!(kinds("x.json", &format!("{list}\n\n{list}")), ["Secret", "ConfigMap", "Secret", "ConfigMap"]);
}

#[test]
fn a_mode_with_a_leading_zero_is_octal_as_in_kubectl() {
    let text = format!("{POD}  volumes: [{{name: v, configMap: {{name: c, defaultMode: 0644}}}}]\n");
    let manifests = manifests::read("x.yaml", &text).unwrap();
    let Manifest::Pod { object, .. } = &manifests[0] else { panic!("a pod") };
    let mode: &Value = &object.fields()["spec"]["volumes"][0]["configMap"]["defaultMode"];
    assert_eq!(mode, &json!(420));
}

#[test]
fn what_can_not_be_opened_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let open = |manifests: &str, node: &str| {
        Standalone::open(&dir.path().join(manifests), node, &dir.path().join("state"), Arc::default()).unwrap_err()
    };
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(open("ghost", "site").contains("make the directory or correct the path"));
    assert!(open("file", "site").contains("is not a directory"));
    assert!(open(".", "../x").contains("the node name \"../x\" is not valid"));
}

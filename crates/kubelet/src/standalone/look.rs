//! Looking at the directory: which files there are, which are ready to be read, what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use interlink_wire::{Object, PodUid};
use serde_json::json;
use uuid::Uuid;

use super::manifests::{self, Manifest};

/// A file is read once it has not changed for so long.
const SETTLED: Duration = Duration::from_secs(1);
/// The largest manifest that is read, in bytes, as the real kubelet.
const SIZE_LIMIT: u64 = 10 << 20;
/// How many looks in a row must miss a file before it is gone: editors replace a file by removing it first.
const MISSED: u32 = 2;

/// What one look found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    /// Pods by UID, with the file that each is in.
    pub(super) pods: BTreeMap<PodUid, (String, Object)>,
    /// By namespace and name.
    pub(super) config_maps: BTreeMap<(String, String), Object>,
    /// By namespace and name.
    pub(super) secrets: BTreeMap<(String, String), Object>,
    /// Files that were never readable: nobody knows what is in them.
    pub(super) unknown: BTreeSet<String>,
    /// Whether some file is still waiting to be read.
    pub(super) waiting: bool,
}

/// A file's identity and age; another one means other content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Fingerprint {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

#[derive(Debug, Default)]
struct FileState {
    seen: Option<Fingerprint>,
    read: Option<Fingerprint>,
    good: Option<Vec<Manifest>>,
    complaint: Option<String>,
    missed: u32,
}

/// The memory from look to look.
#[derive(Debug)]
pub(super) struct Looks {
    directory: PathBuf,
    node: String,
    device: Option<u64>,
    files: BTreeMap<String, FileState>,
    /// Complaints by what they are about, so that each is said once.
    said: BTreeMap<String, String>,
}

impl Looks {
    pub(super) fn new(directory: PathBuf, node: &str) -> Self {
        Self { directory, node: node.to_owned(), device: None, files: BTreeMap::new(), said: BTreeMap::new() }
    }

    /// Looks once. Gives what is there now and the complaints that are news. A directory that can't be read changes nothing.
    pub(super) fn look(&mut self) -> (Option<Snapshot>, Vec<String>) {
        let mut complaints = BTreeMap::new();
        let snapshot = match self.names() {
            Ok(names) => {
                self.visit(&names, &mut complaints);
                Some(self.assemble(&mut complaints))
            }
            Err(error) => {
                let directory = self.directory.display().to_string();
                let sentence =
                    format!("the manifests in {directory} can't be listed: {error}; the pods stay as they are");
                complaints.insert(directory, sentence);
                None
            }
        };
        let news = complaints.iter().filter(|(about, what)| self.said.get(*about) != Some(what));
        let news = news.map(|(_, what)| what.clone()).collect();
        self.said = complaints;
        (snapshot, news)
    }

    /// The files, unless something was mounted over the directory or unmounted from it: then what is there now says nothing.
    fn names(&mut self) -> std::io::Result<BTreeSet<String>> {
        let device = fs::metadata(&self.directory)?.dev();
        if *self.device.get_or_insert(device) != device {
            return Err(std::io::Error::other(
                "it is on another file system than before; mount it again or restart this program",
            ));
        }
        names(&self.directory)
    }

    fn visit(&mut self, names: &BTreeSet<String>, complaints: &mut BTreeMap<String, String>) {
        for (name, state) in &mut self.files {
            state.missed = if names.contains(name) { 0 } else { state.missed + 1 };
        }
        self.files.retain(|_, state| state.missed < MISSED);
        for name in names {
            let state = self.files.entry(name.clone()).or_default();
            let path = self.directory.join(name);
            let trouble = state.visit(name, &path).err().or_else(|| state.complaint.clone());
            if let Some(why) = trouble {
                complaints.insert(name.clone(), format!("{}: {why}", path.display()));
            }
        }
    }

    fn assemble(&self, complaints: &mut BTreeMap<String, String>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut taken: BTreeMap<(&'static str, String, String), &str> = BTreeMap::new();
        for (file, state) in &self.files {
            snapshot.waiting |= state.missed == 0 && state.read != state.seen;
            let Some(manifests) = &state.good else {
                snapshot.unknown.insert(file.clone());
                continue;
            };
            for manifest in manifests {
                let (kind, object) = match manifest {
                    Manifest::Pod { object, .. } => ("Pod", object),
                    Manifest::ConfigMap(object) => ("ConfigMap", object),
                    Manifest::Secret(object) => ("Secret", object),
                };
                let key = (object.namespace().to_owned(), object.name().to_owned());
                if let Some(first) = taken.insert((kind, key.0.clone(), key.1.clone()), file) {
                    let sentence = format!(
                        "{}: {kind} {}/{} is already in {first}; it is not used here",
                        self.directory.join(file).display(),
                        key.0,
                        key.1
                    );
                    complaints.insert(format!("{file} {kind} {}/{}", key.0, key.1), sentence);
                    taken.insert((kind, key.0, key.1), first);
                    continue;
                }
                match manifest {
                    Manifest::Pod { object, content } => {
                        let (uid, object) = self.identified(file, object, content);
                        snapshot.pods.insert(uid, (file.clone(), object));
                    }
                    Manifest::ConfigMap(object) => drop(snapshot.config_maps.insert(key, object.clone())),
                    Manifest::Secret(object) => drop(snapshot.secrets.insert(key, object.clone())),
                }
            }
        }
        snapshot
    }

    /// Gives a pod its UID and the annotations of the real kubelet's static pods.
    fn identified(&self, file: &str, object: &Object, content: &str) -> (PodUid, Object) {
        let path = self.directory.join(file);
        let whole = format!("{}\n{}\n{content}", self.node, path.display());
        let uuid = Uuid::new_v5(&Uuid::NAMESPACE_URL, whole.as_bytes()).hyphenated().to_string();
        let uid = PodUid::parse(&uuid).expect("the library writes UUIDs in lower case with hyphens");
        let mut object = object.clone();
        if let Some(metadata) = object.fields_mut().get_mut("metadata").and_then(|m| m.as_object_mut()) {
            metadata.insert("uid".to_owned(), json!(uuid));
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if !annotations.is_object() {
                *annotations = json!({});
            }
            annotations["kubernetes.io/config.source"] = json!("file");
            annotations["kubernetes.io/config.hash"] = json!(uuid);
        }
        if let Some(spec) = object.fields_mut().get_mut("spec").and_then(|s| s.as_object_mut()) {
            spec.insert("nodeName".to_owned(), json!(self.node));
        }
        // A status is ours to say, whatever the file says.
        object.fields_mut().insert("status".to_owned(), json!({"phase": "Pending"}));
        (uid, object)
    }
}

impl FileState {
    /// Reads the file if it changed and has settled. On an error the old content stays.
    fn visit(&mut self, name: &str, path: &Path) -> Result<(), String> {
        let stat = || fs::metadata(path).map_err(|e| format!("can't be looked at: {e}"));
        let metadata = stat()?;
        let now = Fingerprint::of(&metadata);
        let before = self.seen.replace(now.clone());
        if self.read.as_ref() == Some(&now) {
            return Ok(());
        }
        let age = metadata.modified().ok().and_then(|m| SystemTime::now().duration_since(m).ok());
        // A time in the future says nothing; then two equal looks do.
        if age.is_none_or(|age| age < SETTLED) && before.as_ref() != Some(&now) {
            return Ok(());
        }
        if now.size > SIZE_LIMIT {
            return Err(format!("is larger than {} MiB and is not read", SIZE_LIMIT >> 20));
        }
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(SIZE_LIMIT).read_to_end(&mut bytes))
            .map_err(|e| format!("can't be read: {e}"))?;
        if Fingerprint::of(&stat()?) != now {
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned());
        self.read = Some(now);
        match text.and_then(|text| manifests::read(name, &text)) {
            Ok(manifests) => {
                self.good = Some(manifests);
                self.complaint = None;
            }
            Err(why) => {
                let kept = if self.good.is_some() { "; what it last held stays" } else { "" };
                self.complaint = Some(format!("{why}{kept}"));
            }
        }
        Ok(())
    }
}

/// The manifests in a directory: regular files with a known ending, no hidden ones.
fn names(directory: &Path) -> std::io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let known = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        // What vanished in between is not there; what can't be looked at is. A link counts as what it leads to.
        let there = || match fs::metadata(directory.join(&name)) {
            Ok(metadata) => metadata.is_file(),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        if known && !name.starts_with('.') && there() {
            names.insert(name);
        }
    }
    Ok(names)
}

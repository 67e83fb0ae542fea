//! What must survive a restart: for each pod one file with the pod, its latest status and its job id.
//!
//! A record is written before the pod is first told to anyone and goes when nothing of the pod is left to be done. So a
//! crash between the two never leaves a job behind, and a pod is not taken for new when it was already sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use interlink_wire::{Object, PodUid};
use serde::{Deserialize, Serialize};

/// One pod. It may hold secrets, so its file is this user's alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The manifest's file name.
    pub(super) file: String,
    /// The pod, with its status and the annotation `JobID`.
    pub(super) pod: Object,
}

/// All records.
#[derive(Debug)]
pub(super) struct Records {
    directory: PathBuf,
    records: Mutex<BTreeMap<PodUid, Record>>,
}

impl Records {
    /// Reads the records of earlier runs. A damaged one is named and left where it is.
    pub(super) fn open(directory: PathBuf) -> Result<Self, String> {
        let failed = |e: io::Error| format!("the records in {} can't be kept: {e}", directory.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let uid = path.file_stem().and_then(|s| s.to_str()).and_then(|s| PodUid::parse(s).ok());
            let Some(uid) = uid.filter(|_| path.extension().is_some_and(|e| e == "json")) else { continue };
            let read = fs::read(&path).map_err(failed)?;
            match serde_json::from_slice::<Record>(&read) {
                Ok(record) => drop(records.insert(uid, record)),
                Err(error) => {
                    tracing::warn!(file = %path.display(), line = error.line(), "a pod's record is damaged and is not used; remove it")
                }
            }
        }
        Ok(Self { directory, records: Mutex::new(records) })
    }

    pub(super) fn get(&self, uid: &PodUid) -> Option<Record> {
        self.lock().get(uid).cloned()
    }

    pub(super) fn uids(&self) -> Vec<PodUid> {
        self.lock().keys().cloned().collect()
    }

    /// Writes a record, or changes it: `change` gets what there is. Blocks.
    pub(super) fn put(&self, uid: &PodUid, change: impl FnOnce(Option<Record>) -> Option<Record>) -> io::Result<()> {
        let mut records = self.lock();
        let before = records.get(uid).cloned();
        let Some(after) = change(before.clone()) else { return Ok(()) };
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        let file = self.file(uid);
        let temporary = file.with_extension("tmp");
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        out.write_all(&serde_json::to_vec(&after)?)?;
        out.sync_all()?;
        fs::rename(&temporary, &file)?;
        records.insert(uid.clone(), after);
        Ok(())
    }

    /// Removes a record; none is fine. Blocks.
    pub(super) fn remove(&self, uid: &PodUid) -> io::Result<()> {
        let mut records = self.lock();
        match fs::remove_file(self.file(uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        records.remove(uid);
        Ok(())
    }

    fn file(&self, uid: &PodUid) -> PathBuf {
        self.directory.join(format!("{uid}.json"))
    }

    /// The map changes only after the disk did, so after a panic it is at worst behind.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodUid, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! `/getLogs`: finds the file that is meant, and streams it.

use std::path::PathBuf;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use interlink_supervisor::layout::Kind;
use interlink_wire::{Envelope, LogStruct};
use jiff::Timestamp;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::{Wrong, text};
use crate::jobdir::JobDir;
use crate::lifecycle::Plugin;
use crate::logs::follow::{Followed, stream};
use crate::logs::reader::Reader;
use crate::logs::wanted::Wanted;

/// Answers a request for logs.
pub(super) async fn get(plugin: &Plugin, body: &[u8], owner: Option<&str>) -> Result<Response, Wrong> {
    let request = LogStruct::decode(body).map_err(|_| Wrong::bad_request("invalid request body"))?;
    let wanted = Wanted::read(&request, Timestamp::now()).map_err(Wrong::bad_request)?;
    let known = plugin.table.get(&wanted.uid).filter(|pod| pod.namespace == wanted.namespace && pod.belongs_to(owner));
    let Some(pod) = known else {
        return Err(Wrong::not_found(format!(
            "there is no pod {} in namespace {} here; it was deleted",
            wanted.uid, wanted.namespace
        )));
    };
    let (kind, container) = wanted.container_of(&pod).map_err(Wrong::bad_request)?;
    let files = if wanted.previous {
        let (dir, name) = (pod.dir.clone(), container.clone());
        let found = tokio::task::spawn_blocking(move || previous(&dir, kind, &name)).await.ok().flatten();
        found.ok_or_else(|| {
            Wrong::bad_request(format!("previous terminated container {container:?} in pod {:?} not found", pod.name))
        })?
    } else {
        match instead(&pod, kind, &container).await {
            Some(Instead::Words(words)) => return Ok(text(StatusCode::OK, words)),
            Some(Instead::File(file)) => (file, PathBuf::new()),
            None => (pod.dir.join(&kind.output(&container)), pod.dir.join(&kind.index(&container))),
        }
    };
    let followed = (wanted.follow && !wanted.previous).then(|| Followed { pod, kind, container });
    let reader = Reader::new(files.0, files.1, wanted);
    Ok(text(StatusCode::OK, Body::from_stream(ReceiverStream::new(stream(reader, followed)))))
}

enum Instead {
    Words(String),
    File(PathBuf),
}

/// What is shown of a container that has no output because its job failed: why.
async fn instead(pod: &crate::lifecycle::pod::Pod, kind: Kind, container: &str) -> Option<Instead> {
    let (refused, failed) = {
        let facts = pod.facts();
        (facts.refused.clone(), facts.verdict.is_some())
    };
    if let Some(refused) = refused {
        return Some(Instead::Words(format!("{}\n", refused.message)));
    }
    if failed && tokio::fs::metadata(pod.dir.join(&kind.output(container))).await.is_err() {
        return Some(Instead::File(pod.dir.join("job.out")));
    }
    None
}

/// Output and index of the container's latest instance but one: `run-<ctr>.<n>.out` with the largest `n`.
fn previous(dir: &JobDir, kind: Kind, container: &str) -> Option<(PathBuf, PathBuf)> {
    let output = kind.output(container);
    let stem = output.strip_suffix(".out")?;
    let numbers = std::fs::read_dir(dir.path()).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(".out")?.parse::<u64>().ok()
    });
    let number = numbers.max()?;
    Some((dir.join(&format!("{stem}.{number}.out")), dir.join(&format!("{stem}.{number}.index"))))
}

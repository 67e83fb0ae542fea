//! Pods that still run, as the end that is to be removed knows them.

use std::path::Path;

use serde_json::Value;

use super::cluster::Cluster;

/// The node's pods that have not ended, as `namespace/name`.
///
/// # Errors
/// One sentence where the cluster can't be asked.
pub async fn of_node(cluster: &Cluster, node: &str) -> Result<Vec<String>, String> {
    let list = cluster.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")).await?.unwrap_or_default();
    Ok(unfinished(&list))
}

fn unfinished(list: &Value) -> Vec<String> {
    let pods = list["items"].as_array().into_iter().flatten();
    let living = pods.filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
    let word = |pod: &Value, key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
    living.map(|pod| format!("{}/{}", word(pod, "namespace"), word(pod, "name"))).collect()
}

/// Has the cluster delete these; each is gone once its job is.
///
/// # Errors
/// One sentence.
pub async fn delete(cluster: &Cluster, pods: &[String]) -> Result<(), String> {
    for pod in pods {
        let Some((namespace, name)) = pod.split_once('/') else { continue };
        cluster.delete(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await?;
    }
    Ok(())
}

/// The job directories whose pod has not ended.
#[must_use]
pub fn of_jobs(jobs: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(jobs).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.path().join("create.json").is_file() && !ended(&entry.path()));
    dirs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What the supervisor, the scheduler or its refusal has said last.
fn ended(dir: &Path) -> bool {
    if ["verdict.json", "refused.json"].iter().any(|file| dir.join(file).exists()) {
        return true;
    }
    let state = std::fs::read(dir.join("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_slice(&state).unwrap_or_default();
    state["finished"] == true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_runs_until_it_has_succeeded_or_failed() {
        let pod =
            |name: &str, phase: &str| json!({"metadata": {"namespace": "n", "name": name}, "status": {"phase": phase}});
        let list =
            json!({"items": [pod("a", "Running"), pod("b", "Succeeded"), pod("c", "Pending"), pod("d", "Failed")]});
        assert_eq!(unfinished(&list), ["n/a", "n/c"]);
    }

    #[test]
    fn a_job_directory_tells_whether_its_pod_runs() {
        let dir = tempfile::tempdir().unwrap();
        for (name, files) in [
            ("n-1", &[("create.json", "{}")][..]),
            ("n-2", &[("create.json", "{}"), ("state.json", "{\"finished\":true}")]),
            ("n-3", &[("create.json", "{}"), ("state.json", "{\"finished\":false}")]),
            ("n-4", &[("create.json", "{}"), ("refused.json", "{}")]),
            (".spool", &[]),
        ] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            for (file, text) in files {
                std::fs::write(dir.path().join(name).join(file), text).unwrap();
            }
        }
        let mut running = of_jobs(dir.path());
        running.sort();
        assert_eq!(running, ["n-1", "n-3"]);
    }
}

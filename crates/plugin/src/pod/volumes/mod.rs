//! A pod's volumes: which files to write into the job directory, and what each container mounts of them.
//!
//! ConfigMaps, Secrets and projected volumes become a directory of files each, mounted read-only as a whole (as the
//! kubelet does); an emptyDir is an empty directory of the pod; a hostPath is mounted as it is where policy lets it.

mod objects;
mod plan;

pub use objects::Objects;
pub use plan::{PlannedFile, Source, VolumePlan, plan};

use interlink_wire::names::is_local_path;
use interlink_wire::pod::Container;

use super::Refusal;

/// What a container mounts, before the job directory's path is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMount {
    /// `mountPath`.
    pub target: String,
    /// Name of the volume.
    pub volume: String,
    /// `subPath`: a relative path inside of the volume.
    pub sub_path: Option<String>,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// The mounts of one container, in the order of its spec.
///
/// # Errors
/// [`Refusal`] names the mount: its volume isn't there, or a path leaves its directory.
pub fn mounts(container: &Container, volumes: &[VolumePlan]) -> Result<Vec<PlannedMount>, Refusal> {
    let mut out = Vec::with_capacity(container.volume_mounts.len());
    for mount in &container.volume_mounts {
        let whose = || format!("container {:?} mounts volume {:?}", container.name, mount.name);
        let Some(volume) = volumes.iter().find(|v| v.name == mount.name) else {
            return Err(Refusal::invalid(format!("{}, which spec.volumes does not have", whose())));
        };
        if !mount.mount_path.starts_with('/') || mount.mount_path.contains(|c: char| c.is_control() || c == ':') {
            return Err(Refusal::invalid(format!(
                "{} at {:?}; mountPath must be an absolute path without \":\"",
                whose(),
                mount.mount_path
            )));
        }
        if mount.sub_path_expr.as_deref().is_some_and(|s| !s.is_empty()) {
            return Err(Refusal::unsupported(format!(
                "{} with subPathExpr, which is not supported; use subPath",
                whose()
            )));
        }
        let sub_path = mount.sub_path.clone().filter(|s| !s.is_empty());
        if let Some(path) = &sub_path {
            let trimmed = path.trim_end_matches('/');
            if !is_local_path(trimmed) || trimmed.contains(|c: char| c.is_control() || c == ':') {
                return Err(Refusal::invalid(format!(
                    "{} with subPath {path:?}; it must be a relative path without \"..\" or \":\"",
                    whose()
                )));
            }
            if let Source::Files(files) = &volume.source {
                let below = format!("{trimmed}/");
                if !files.iter().any(|f| f.path == trimmed || f.path.starts_with(&below)) {
                    return Err(Refusal::missing(format!(
                        "{} with subPath {path:?}, which that volume does not hold",
                        whose()
                    )));
                }
            }
        }
        if matches!(volume.source, Source::Absent) {
            continue;
        }
        let read_only = mount.read_only == Some(true) || matches!(volume.source, Source::Files(_));
        out.push(PlannedMount {
            target: mount.mount_path.clone(),
            volume: mount.name.clone(),
            sub_path: sub_path.map(|s| s.trim_end_matches('/').to_owned()),
            read_only,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::policy::Policy;
    use crate::pod::request::tests::request;

    fn planned(mount: Value, volume: Value) -> Result<Vec<PlannedMount>, Refusal> {
        let objects = json!({"configMaps": [{"metadata": {"name": "m"}, "data": {"a.txt": "1"}}]});
        let request = request(
            json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}], "volumes": [volume]}),
            objects,
        );
        let volumes = plan(&request, &Objects::of(&request.data), &Policy::default())?;
        mounts(&request.pod.spec.containers[0], &volumes)
    }

    #[test]
    fn configuration_is_read_only_and_scratch_is_not() {
        let map = json!({"name": "v", "configMap": {"name": "m"}});
        let empty = json!({"name": "v", "emptyDir": {}});
        for (volume, read_only) in [(map, true), (empty, false)] {
            let found = planned(json!({"name": "v", "mountPath": "/x"}), volume).unwrap();
            assert_eq!(found.iter().map(|m| (m.target.as_str(), m.read_only)).collect::<Vec<_>>(), [("/x", read_only)]);
        }
        let found =
            planned(json!({"name": "v", "mountPath": "/x", "readOnly": true}), json!({"name": "v", "emptyDir": {}}))
                .unwrap();
        assert!(found[0].read_only);
    }

    #[test]
    fn a_sub_path_is_one_part_of_the_volume() {
        let map = json!({"name": "v", "configMap": {"name": "m"}});
        let found = planned(json!({"name": "v", "mountPath": "/x", "subPath": "a.txt"}), map.clone()).unwrap();
        assert_eq!(found[0].sub_path.as_deref(), Some("a.txt"));
        for (sub_path, said) in [("b.txt", "does not hold"), ("../a", "without \"..\""), ("/a", "relative")] {
            let refusal =
                planned(json!({"name": "v", "mountPath": "/x", "subPath": sub_path}), map.clone()).unwrap_err();
            assert!(refusal.sentence.contains(said), "{sub_path}: {refusal}");
        }
    }

    #[test]
    fn a_mount_that_cannot_be_is_refused() {
        let empty = json!({"name": "v", "emptyDir": {}});
        let cases = [
            (json!({"name": "w", "mountPath": "/x"}), "spec.volumes does not have"),
            (json!({"name": "v", "mountPath": "x"}), "absolute"),
            (json!({"name": "v", "mountPath": "/x:/etc"}), "\":\""),
            (json!({"name": "v", "mountPath": "/x", "subPathExpr": "$(A)"}), "subPathExpr"),
        ];
        for (mount, said) in cases {
            let refusal = planned(mount, empty.clone()).unwrap_err();
            assert!(refusal.sentence.contains(said), "{refusal}");
        }
    }
}

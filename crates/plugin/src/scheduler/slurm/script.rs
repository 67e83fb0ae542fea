//! `job.slurm`: a few `#SBATCH` lines and one `exec` of our own program. Nothing in it is a pod author's, but the flags
//! that were let through and, where the site allows it, a file of shell.

use std::path::Path;

use super::flags::{self, Flag};
use crate::config::flavor::{self, Flavor};
use crate::pod::Refusal;
use crate::pod::policy::PRE_EXEC;
use crate::pod::request::Request;
use crate::pod::resources::Demand;

/// File with the pod author's shell text, where the site allows it.
pub const PRE_EXEC_FILE: &str = "pre-exec.sh";
/// Slurm may send the signal before the end up to a minute too early; a shorter job would get it at its start.
const SHORTEST_ANNOUNCED: u64 = 300;

/// Minutes (ten years): Slurm refuses numbers beyond its own.
const LONGEST_LIMIT: u64 = 10 * 366 * 24 * 60;

/// What a script is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What runs the script.
    pub shell: &'a str,
    /// The operator's lines before the pod.
    pub command_prefix: &'a str,
    /// Our own program, as the compute node sees it.
    pub program: &'a Path,
    /// The job directory.
    pub dir: &'a Path,
    /// The pod's flavor.
    pub flavor: Option<&'a Flavor>,
}

/// Writes the script of a pod.
///
/// # Errors
/// [`Refusal`] names the annotation that can't be.
pub fn write(request: &Request, demand: Demand, parts: &Parts<'_>) -> Result<String, Refusal> {
    let mut lines = vec![format!("#!{}", parts.shell)];
    lines.extend(directives(request, demand, parts)?.iter().map(|flag| format!("#SBATCH {}", flag.directive())));
    if !parts.command_prefix.trim().is_empty() {
        lines.push(parts.command_prefix.trim_end().to_owned());
    }
    if request.annotation(PRE_EXEC).is_some_and(|text| !text.trim().is_empty()) {
        lines.push(format!(". {}", quoted(&parts.dir.join(PRE_EXEC_FILE))?));
    }
    lines.push("umask 077".to_owned());
    lines.push(format!("exec {} supervise --pod-dir {}", quoted(parts.program)?, quoted(parts.dir)?));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn quoted(path: &Path) -> Result<String, Refusal> {
    let text = path.to_str().and_then(|text| shlex::try_quote(text).ok());
    text.map(|text| text.into_owned())
        .ok_or_else(|| Refusal::invalid("DataRootFolder is not UTF-8 text; choose a path of plain letters"))
}

/// The flags, weakest first: flavor, annotation, what the pod's resources say, and what is always ours.
fn directives(request: &Request, demand: Demand, parts: &Parts<'_>) -> Result<Vec<Flag>, Refusal> {
    let annotated = request.annotation(flags::ANNOTATION).unwrap_or_default();
    let annotated = flags::parse_text(annotated)
        .map_err(|why| Refusal::policy(format!("annotation {} {why}", flags::ANNOTATION)))?;
    let from_flavor = parts.flavor.map(|f| f.flags.clone()).unwrap_or_default();
    let mut chosen = flags::merged(from_flavor.into_iter().chain(annotated));

    let default_cpus = parts.flavor.and_then(|f| f.cpus).filter(|_| !flags::has(&chosen, &["cpus-per-task"]));
    if let Some(cpus) = demand.cpus.or(default_cpus) {
        set(&mut chosen, Flag::new("cpus-per-task", cpus.to_string()));
    }
    // Slurm refuses a job with two of them.
    let per_part = flags::has(&chosen, &["mem-per-cpu", "mem-per-gpu"]);
    let default_memory = parts.flavor.and_then(|f| f.memory_mib).filter(|_| !flags::has(&chosen, &["mem"]));
    if let Some(memory) = demand.memory_mib.or(default_memory).filter(|_| !per_part) {
        set(&mut chosen, Flag::new("mem", format!("{memory}M")));
    }
    let own_gpus = ["gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"];
    if demand.gpus > 0 && !flags::has(&chosen, &own_gpus) {
        set(&mut chosen, Flag::new("gres", format!("gpu:{}", demand.gpus)));
    }
    if let Some(seconds) = demand.deadline_seconds.filter(|_| !flags::has(&chosen, &["time"])) {
        // The supervisor keeps the deadline; Slurm's limit comes after it and its grace.
        let grace = request.pod.spec.termination_grace_period_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(30);
        let minutes = seconds.saturating_add(grace).div_ceil(60) + 1;
        // A limit that no cluster has is none.
        if minutes <= LONGEST_LIMIT {
            set(&mut chosen, Flag::new("time", minutes.to_string()));
        }
    }
    let uid = request.uid.as_str();
    let mut all = vec![Flag::new("comment", format!("interlink:{uid}"))];
    if flags::time_limit(&chosen).is_some_and(|seconds| seconds >= SHORTEST_ANNOUNCED) {
        all.push(Flag::new("signal", "B:USR2@60"));
    }
    all.extend(chosen);
    let dir = parts.dir.to_string_lossy();
    all.extend([
        Flag::new("job-name", uid),
        Flag::new("output", format!("{dir}/job.out")),
        Flag::new("open-mode", "append"),
        Flag::new("chdir", dir),
        Flag { key: "no-requeue".to_owned(), value: None },
    ]);
    Ok(flags::merged(all))
}

fn set(flags: &mut Vec<Flag>, flag: Flag) {
    flags.retain(|f| f.key != flag.key);
    flags.push(flag);
}

/// The flavor of a pod.
#[must_use]
pub fn flavor_of<'a>(
    request: &Request,
    demand: Demand,
    flavors: &'a std::collections::BTreeMap<String, Flavor>,
    default: Option<&str>,
) -> Option<&'a Flavor> {
    flavor::choose(flavors, default, request.annotation(flavor::ANNOTATION), demand.gpus)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::request::tests::{UID, annotated};

    fn script(resources: Value, annotations: Value, flavor: Option<&Flavor>, prefix: &str) -> Result<String, Refusal> {
        let spec = json!({"activeDeadlineSeconds": resources.get("deadline"), "containers": [{"name": "c", "image": "i", "resources": {"limits": resources.get("limits")}}]});
        let request = annotated(spec, json!({}), annotations);
        let demand = Demand::of(&request.pod)?;
        let parts = Parts {
            shell: "/bin/sh",
            command_prefix: prefix,
            program: Path::new("/d/.bin/x/interlink-plugin"),
            dir: Path::new("/d/ns-u"),
            flavor,
        };
        write(&request, demand, &parts)
    }

    /// The lines that differ from pod to pod.
    fn chosen(resources: Value, flags: &str, flavor: Option<&Flavor>) -> Vec<String> {
        let text = script(resources, json!({flags::ANNOTATION: flags}), flavor, "").unwrap();
        let always = ["comment", "job-name", "output", "open-mode", "chdir", "no-requeue"];
        let lines = text.lines().filter_map(|line| line.strip_prefix("#SBATCH --"));
        lines.filter(|line| !always.iter().any(|key| line.starts_with(key))).map(str::to_owned).collect()
    }

    #[test]
    fn the_whole_script_of_a_plain_pod() {
        let text =
            script(json!({"limits": {"cpu": "1500m", "memory": "100M"}}), json!({}), None, "module load apptainer")
                .unwrap();
        let expected = format!(
            "#!/bin/sh\n#SBATCH --comment=\"interlink:{UID}\"\n#SBATCH --cpus-per-task=2\n#SBATCH --mem=96M\n#SBATCH --job-name={UID}\n#SBATCH --output=/d/ns-u/job.out\n#SBATCH --open-mode=append\n#SBATCH --chdir=/d/ns-u\n#SBATCH --no-requeue\nmodule load apptainer\numask 077\nexec /d/.bin/x/interlink-plugin supervise --pod-dir /d/ns-u\n"
        );
        assert_eq!(text.replace("\"", ""), expected.replace('"', ""));
    }

    #[test]
    fn resources_flags_and_flavors_meet() {
        let big = Flavor {
            cpus: Some(8),
            memory_mib: Some(1024),
            flags: vec![Flag::new("partition", "big"), Flag::new("time", "60")],
        };
        let none: [&str; 0] = [];
        assert_eq!(chosen(json!({}), "", None), none);
        assert_eq!(
            chosen(json!({}), "", Some(&big)),
            ["signal=B:USR2@60", "partition=big", "time=60", "cpus-per-task=8", "mem=1024M"]
        );
        assert_eq!(
            chosen(json!({"limits": {"cpu": "2"}}), "-p small -c 9 --mem-per-cpu=2G", Some(&big)),
            ["signal=B:USR2@60", "partition=small", "time=60", "mem-per-cpu=2G", "cpus-per-task=2"]
        );
        assert_eq!(chosen(json!({"limits": {"nvidia.com/gpu": 2}}), "", None), ["gres=gpu:2"]);
        assert_eq!(chosen(json!({"limits": {"nvidia.com/gpu": 2}}), "--gpus=a100:2", None), ["gpus=a100:2"]);
        assert_eq!(chosen(json!({"deadline": 61}), "", None), ["time=3"]);
        assert_eq!(chosen(json!({"deadline": 61}), "--time=2", None), ["time=2"]);
        assert_eq!(chosen(json!({"deadline": i64::MAX}), "", None), none);
    }

    #[test]
    fn forbidden_flags_name_the_annotation() {
        let refusal = script(json!({}), json!({flags::ANNOTATION: "--output=/x"}), None, "").unwrap_err();
        assert!(refusal.sentence.contains(flags::ANNOTATION) && refusal.sentence.contains("--output"), "{refusal}");
    }

    #[test]
    fn allowed_shell_is_a_file_of_its_own() {
        let text = script(json!({}), json!({PRE_EXEC: "echo $(id)"}), None, "").unwrap();
        assert!(text.contains("\n. /d/ns-u/pre-exec.sh\n") && !text.contains("id"), "{text}");
    }
}

//! From keys, flags and environment to a configuration, or one sentence: which key, what is wrong, what would be right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use interlink_daemon::logs::Level;
use interlink_daemon::{Failure, paths};
use interlink_transport::Endpoint;

use super::file::File;
use super::flavor::Flavor;
use super::{Config, Flags, SchedulerConfig, SlurmConfig};
use crate::pod::launch::ContainerRuntime;
use crate::pod::policy::Policy;

/// Options of the existing plugin where the file has none.
const APPTAINER_OPTIONS: [&str; 3] = ["--nv", "--no-eval", "--containall"];

/// What the judgement needs to know of the machine.
#[allow(missing_debug_implementations)]
pub struct Surroundings<'a> {
    /// An environment variable that is set and not empty.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// A program's place in `PATH`.
    pub find: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// Where sockets live; asked only when needed.
    pub runtime_dir: &'a dyn Fn() -> Result<PathBuf, Failure>,
    /// Where state lives; asked only when needed.
    pub state_dir: &'a dyn Fn() -> Result<PathBuf, Failure>,
    /// What relative paths are relative to.
    pub working_dir: PathBuf,
}

/// Judges a configuration. `written` tells whether there was a file at all.
///
/// # Errors
/// [`Failure`] (a person must mend it) that names the key.
pub fn judge(mut file: File, written: bool, flags: &Flags, around: &Surroundings<'_>) -> Result<Config, Failure> {
    environment(&mut file, around)?;
    if file.tsocks {
        return Err(Failure::config("Tsocks is not supported; remove it and let the tunnel carry the traffic"));
    }
    let mut warnings = Vec::new();
    if file.enable_probes {
        warnings.push("EnableProbes has no effect yet: probes of containers are not run".to_owned());
    }
    if file.default_uid.is_some() || file.flavors.values().any(|f| f.uid.is_some()) {
        warnings
            .push("DefaultUID and UID of flavors have no effect: jobs run as this program's own account".to_owned());
    }
    let scheduler = scheduler(&file, around)?;
    let runtime = runtime(&file, &scheduler)?;
    let mut flavors = BTreeMap::new();
    for (key, entry) in &file.flavors {
        let name = if entry.name.is_empty() { key } else { &entry.name };
        flavors.insert(name.clone(), Flavor::read(name, entry).map_err(Failure::config)?);
    }
    let default_flavor = Some(file.default_flavor.clone()).filter(|name| !name.is_empty());
    if let Some(name) = default_flavor.as_ref().filter(|name| !flavors.contains_key(*name)) {
        warnings.push(format!("DefaultFlavor {name:?} is none of Flavors and is ignored"));
    }
    Ok(Config {
        listen: listen(&file, flags, around)?,
        data_root: data_root(&file, written, around)?,
        scheduler,
        runtime,
        policy: policy(&file)?,
        flavors,
        default_flavor,
        taints: file.taints.into_iter().map(Into::into).collect(),
        resource_script: command("ResourceScriptPath", &file.resource_script_path)?,
        level: Level::from_keys(flags.verbose || file.verbose_logging, flags.errors_only || file.errors_only_logging),
        warnings,
    })
}

/// The existing plugin's variables win over its file.
fn environment(file: &mut File, around: &Surroundings<'_>) -> Result<(), Failure> {
    let paths: [(&str, &mut String); 6] = [
        ("SIDECARPORT", &mut file.sidecar_port),
        ("SBATCHPATH", &mut file.sbatch_path),
        ("SCANCELPATH", &mut file.scancel_path),
        ("SQUEUEPATH", &mut file.squeue_path),
        ("SINFOPATH", &mut file.sinfo_path),
        ("SINGULARITYPATH", &mut file.singularity_path),
    ];
    for (name, value) in paths {
        if let Some(found) = (around.variable)(name) {
            *value = found;
        }
    }
    match (around.variable)("TSOCKS").as_deref() {
        None => Ok(()),
        Some("true") => {
            file.tsocks = true;
            Ok(())
        }
        Some("false") => {
            file.tsocks = false;
            Ok(())
        }
        Some(other) => Err(Failure::config(format!("the variable TSOCKS must be true or false, not {other:?}"))),
    }
}

fn listen(file: &File, flags: &Flags, around: &Surroundings<'_>) -> Result<Endpoint, Failure> {
    let loopback = |port| Endpoint::Tcp { host: "127.0.0.1".to_owned(), port };
    if let Some(port) = flags.port {
        return Ok(loopback(port));
    }
    if !file.socket.is_empty() {
        let Some(path) = file.socket.strip_prefix("unix://") else {
            return Err(Failure::config(format!(
                "Socket must begin with unix://, as in unix:///run/interlink/interlink-plugin.sock, not {:?}",
                file.socket
            )));
        };
        return Endpoint::unix(&paths::expand_tilde(path)).map_err(|e| Failure::config(format!("Socket: {e}")));
    }
    if !file.sidecar_port.is_empty() {
        let port = file.sidecar_port.trim().parse().map_err(|_| {
            Failure::config(format!("SidecarPort must be a number from 0 to 65535, not {:?}", file.sidecar_port))
        })?;
        return Ok(loopback(port));
    }
    let dir = (around.runtime_dir)()?;
    Endpoint::unix(&dir.join("interlink-plugin.sock")).map_err(Failure::config)
}

fn data_root(file: &File, written: bool, around: &Surroundings<'_>) -> Result<PathBuf, Failure> {
    if file.data_root_folder.is_empty() {
        if written && !file.sbatch_path.is_empty() {
            return Err(Failure::config(
                "DataRootFolder is missing; set it to a directory that this machine and the compute nodes share",
            ));
        }
        return Ok((around.state_dir)()?.join("pods"));
    }
    let home =
        |text: &str| text.strip_prefix("$HOME").filter(|r| r.is_empty() || r.starts_with('/')).map(|r| format!("~{r}"));
    let text = home(&file.data_root_folder).unwrap_or_else(|| file.data_root_folder.clone());
    if text.contains(|c: char| c.is_control() || c == '\\' || c == '%' || c == '"' || c == '\'') {
        return Err(Failure::config(format!(
            "DataRootFolder must not hold quotes, backslashes, percent signs or control characters, not {text:?}; Slurm would change the name"
        )));
    }
    let path = around.working_dir.join(paths::expand_tilde(&text));
    if path == Path::new("/") {
        return Err(Failure::config("DataRootFolder must not be the root directory; set it to a directory of its own"));
    }
    // Without its final slash, which the existing plugin asks for.
    Ok(path.components().collect())
}

fn scheduler(file: &File, around: &Surroundings<'_>) -> Result<SchedulerConfig, Failure> {
    let slurm = match file.scheduler.as_str() {
        "slurm" => true,
        "local" => false,
        "" => !file.sbatch_path.is_empty() || (around.find)("sbatch").is_some(),
        other => return Err(Failure::config(format!("Scheduler must be local or slurm, not {other:?}"))),
    };
    if !slurm {
        return Ok(SchedulerConfig::Local);
    }
    let found = |key: &str, value: &str, name: &str| -> Result<Vec<String>, Failure> {
        Ok(command(key, value)?.unwrap_or_else(|| {
            vec![(around.find)(name).map_or_else(|| name.to_owned(), |path| path.to_string_lossy().into_owned())]
        }))
    };
    let shell = if file.bash_path.is_empty() { "/bin/sh" } else { &file.bash_path };
    if !shell.starts_with('/') || shell.contains(char::is_control) {
        return Err(Failure::config(format!("BashPath must be an absolute path, not {shell:?}")));
    }
    Ok(SchedulerConfig::Slurm(Box::new(SlurmConfig {
        sbatch: found("SbatchPath", &file.sbatch_path, "sbatch")?,
        scancel: found("ScancelPath", &file.scancel_path, "scancel")?,
        squeue: found("SqueuePath", &file.squeue_path, "squeue")?,
        sinfo: found("SinfoPath", &file.sinfo_path, "sinfo")?,
        sacct: found("SacctPath", &file.sacct_path, "sacct")?,
        scontrol: found("ScontrolPath", &file.scontrol_path, "scontrol")?,
        shell: shell.to_owned(),
        command_prefix: file.command_prefix.clone(),
    })))
}

/// A command as its words; `None` when the key is not set.
fn command(key: &str, value: &str) -> Result<Option<Vec<String>>, Failure> {
    if value.trim().is_empty() {
        return Ok(None);
    }
    match shlex::split(value).filter(|words| !words.is_empty()) {
        Some(mut words) => {
            words[0] = paths::expand_tilde(&words[0]).to_string_lossy().into_owned();
            Ok(Some(words))
        }
        None => Err(Failure::config(format!("{key} has a quote that does not end: {value:?}"))),
    }
}

fn runtime(file: &File, scheduler: &SchedulerConfig) -> Result<ContainerRuntime, Failure> {
    let name = match (file.container_runtime.as_str(), scheduler) {
        ("", SchedulerConfig::Local) => "host",
        ("", SchedulerConfig::Slurm(_)) => "singularity",
        (name, _) => name,
    };
    match name {
        "host" => Ok(ContainerRuntime::Host),
        "singularity" | "apptainer" => {
            let executable = if file.singularity_path.is_empty() { name } else { file.singularity_path.as_str() };
            let options = if file.singularity_default_options.is_empty() {
                APPTAINER_OPTIONS.map(str::to_owned).to_vec()
            } else {
                words("SingularityDefaultOptions", &file.singularity_default_options)?
            };
            Ok(ContainerRuntime::Apptainer {
                executable: paths::expand_tilde(executable),
                options,
                image_prefix: file.image_prefix.clone(),
            })
        }
        "enroot" => {
            Err(Failure::config("ContainerRuntime enroot is not supported yet; use apptainer, singularity or host"))
        }
        other => {
            Err(Failure::config(format!("ContainerRuntime must be singularity, apptainer or host, not {other:?}")))
        }
    }
}

fn words(key: &str, lines: &[String]) -> Result<Vec<String>, Failure> {
    let mut out = Vec::new();
    for line in lines {
        out.extend(
            shlex::split(line)
                .ok_or_else(|| Failure::config(format!("{key} has a quote that does not end: {line:?}")))?,
        );
    }
    Ok(out)
}

fn policy(file: &File) -> Result<Policy, Failure> {
    let scripts = match file.pod_scripts.as_str() {
        "" | "deny" => false,
        "allow" => true,
        other => return Err(Failure::config(format!("PodScripts must be deny or allow, not {other:?}"))),
    };
    let mut host_paths = Vec::new();
    for text in &file.host_paths {
        let path = Path::new(text);
        if !path.is_absolute() || path.components().any(|c| c.as_os_str() == "..") {
            return Err(Failure::config(format!("HostPaths must hold absolute paths without \"..\", not {text:?}")));
        }
        host_paths.push(path.components().collect());
    }
    Ok(Policy { scripts, host_paths })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(yaml: &str, variables: &[(&str, &str)], flags: &Flags, sbatch: bool) -> Result<Config, Failure> {
        let (file, warnings) = interlink_daemon::config::parse::<File>(yaml, &[]).unwrap();
        assert_eq!(warnings, [""; 0], "{yaml}");
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let around = Surroundings {
            variable: &variable,
            find: &|name| sbatch.then(|| PathBuf::from("/usr/bin").join(name)),
            runtime_dir: &|| Ok(PathBuf::from("/run/interlink")),
            state_dir: &|| Ok(PathBuf::from("/var/lib/interlink")),
            working_dir: PathBuf::from("/home/u"),
        };
        judge(file, !yaml.is_empty(), flags, &around)
    }

    fn of(yaml: &str) -> Config {
        judged(yaml, &[], &Flags::default(), false).unwrap()
    }

    #[test]
    fn a_file_of_the_existing_plugin_is_understood() {
        let yaml = r#"
InterlinkURL: "http://localhost"
InterlinkPort: "3000"
SidecarURL: "http://localhost"
SidecarPort: 4000
SbatchPath: "/usr/bin/sbatch"
ScancelPath: "/usr/bin/scancel"
SqueuePath: "ssh login /usr/bin/squeue"
CommandPrefix: "module load apptainer"
SingularityPrefix: ""
ExportPodData: true
DataRootFolder: ".local/interlink/jobs/"
Namespace: "vk"
Tsocks: false
TsocksPath: "$WORK/tsocks"
TsocksLoginNode: "login01"
BashPath: /bin/bash
VerboseLogging: true
ErrorsOnlyLogging: false
ImagePrefix: "docker://"
Flavors:
  big:
    Description: large
    CPUDefault: 16
    MemoryDefault: "64G"
    SlurmFlags: ["--partition=large"]
DefaultFlavor: big
Taints:
  - {Key: a/b, Value: c, Effect: NoSchedule}
"#;
        let config = of(yaml);
        assert_eq!(config.listen.to_string(), "http://127.0.0.1:4000");
        assert_eq!(config.data_root, PathBuf::from("/home/u/.local/interlink/jobs"));
        assert_eq!(config.level, Level::Debug);
        assert_eq!(config.flavors["big"].memory_mib, Some(65536));
        assert_eq!(config.taints[0].key, "a/b");
        let SchedulerConfig::Slurm(slurm) = config.scheduler else { panic!("not slurm") };
        assert_eq!(slurm.squeue, ["ssh", "login", "/usr/bin/squeue"]);
        assert_eq!((slurm.shell.as_str(), slurm.command_prefix.as_str()), ("/bin/bash", "module load apptainer"));
        let ContainerRuntime::Apptainer { executable, options, .. } = config.runtime else { panic!("not apptainer") };
        assert_eq!((executable, options.len()), (PathBuf::from("singularity"), 3));
    }

    #[test]
    fn without_a_file_and_without_slurm_it_is_this_machine() {
        let config = of("");
        assert_eq!((config.scheduler, config.runtime), (SchedulerConfig::Local, ContainerRuntime::Host));
        assert_eq!(config.listen.to_string(), "unix:///run/interlink/interlink-plugin.sock");
        assert_eq!(config.data_root, PathBuf::from("/var/lib/interlink/pods"));
        let found = judged("", &[], &Flags::default(), true).unwrap();
        assert!(matches!(found.scheduler, SchedulerConfig::Slurm(slurm) if slurm.sbatch == ["/usr/bin/sbatch"]));
        assert_eq!(judged("Scheduler: local", &[], &Flags::default(), true).unwrap().scheduler, SchedulerConfig::Local);
    }

    #[test]
    fn flags_and_environment_win() {
        let flags = Flags { port: Some(4001), errors_only: true, ..Flags::default() };
        let config = judged("Socket: unix:///a.sock\nSidecarPort: 1", &[], &flags, false).unwrap();
        assert_eq!((config.listen.to_string().as_str(), config.level), ("http://127.0.0.1:4001", Level::Error));
        let variables = [("SIDECARPORT", "7"), ("SBATCHPATH", "/x/sbatch"), ("SQUEUEPATH", "/x/squeue")];
        let config = judged("DataRootFolder: /d", &variables, &Flags::default(), false).unwrap();
        assert_eq!(config.listen.to_string(), "http://127.0.0.1:7");
        assert!(
            matches!(config.scheduler, SchedulerConfig::Slurm(s) if s.squeue == ["/x/squeue"] && s.sbatch == ["/x/sbatch"])
        );
    }

    #[test]
    fn a_mistake_is_named_by_its_key() {
        let cases = [
            ("Socket: /run/x.sock", "Socket must begin with unix://"),
            ("Socket: unix://x.sock", "Socket: "),
            ("SidecarPort: http", "SidecarPort"),
            ("SidecarPort: 70000", "SidecarPort"),
            ("Scheduler: pbs", "Scheduler must be local or slurm"),
            ("ContainerRuntime: docker", "ContainerRuntime"),
            ("ContainerRuntime: enroot", "enroot is not supported"),
            ("PodScripts: yes", "PodScripts must be deny or allow"),
            ("HostPaths: [data]", "HostPaths"),
            ("HostPaths: [/data/../etc]", "HostPaths"),
            ("SbatchPath: /usr/bin/sbatch", "DataRootFolder is missing"),
            ("DataRootFolder: /", "DataRootFolder must not be the root"),
            ("DataRootFolder: /a%b", "DataRootFolder"),
            ("Tsocks: true", "Tsocks"),
            ("Scheduler: slurm\nSqueuePath: \"'x\"\nDataRootFolder: /d", "SqueuePath"),
            ("Scheduler: slurm\nBashPath: bash\nDataRootFolder: /d", "BashPath"),
            ("Flavors: {a: {CPUDefault: -1}}", "CPUDefault"),
        ];
        for (yaml, said) in cases {
            let failure = judged(yaml, &[], &Flags::default(), false).unwrap_err();
            assert!(failure.sentence.contains(said), "{yaml}: {failure}");
            assert_eq!(failure.code, interlink_daemon::exit::CONFIG);
        }
        let failure = judged("", &[("TSOCKS", "maybe")], &Flags::default(), false).unwrap_err();
        assert!(failure.sentence.contains("TSOCKS"), "{failure}");
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let config = of("EnableProbes: true\nDefaultUID: 1000\nDefaultFlavor: none");
        assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
    }
}

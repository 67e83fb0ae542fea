//! The configuration files of API server and virtual kubelet, read as the programs read them, and judged one by one.
//!
//! The environment of this process is not the programs'; what it changes there shows in their own words instead.

use std::path::{Path, PathBuf};

use interlink_daemon::{Failure, config};
use interlink_kubelet::config::{self as kubelet, file::File as KubeletFile};

use super::step::{Fault, Id, Step, Verdict};

/// Where the files are unless somebody says otherwise: beside the installed programs, or the existing programs' place.
pub(super) const PLACES: [&str; 2] = ["/opt/interlink/config", "/etc/interlink"];
/// The API server's file in a directory of configurations.
const API: [&str; 2] = ["InterLinkConfig.yaml", "interlink.yaml"];
/// The virtual kubelet's; sites may keep one file for both.
const KUBELET: [&str; 3] = ["VirtualKubeletConfig.yaml", "kubelet.yaml", "InterLinkConfig.yaml"];

/// Stands in for a name that only the program's command line has.
const UNNAMED: &str = "unnamed";

/// Which files to read.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The directory with both.
    pub dir: Option<PathBuf>,
    /// The API server's.
    pub api: Option<PathBuf>,
    /// The virtual kubelet's.
    pub kubelet: Option<PathBuf>,
}

/// A program's configuration.
#[derive(Debug, Clone)]
pub enum Read<T> {
    /// There is no such file; a sentence.
    Absent(String),
    /// It can't be used.
    Wrong(Failure),
    /// It can.
    Good(PathBuf, T),
}

impl<T> Read<T> {
    /// What it says.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Good(_, config) => Some(config),
            Self::Absent(_) | Self::Wrong(_) => None,
        }
    }
}

/// Reads the API server's.
#[must_use]
pub fn api(named: &Named) -> Read<interlink_api::config::Config> {
    read(&find(named, named.api.as_deref(), &API), |path| {
        let file: interlink_api::config::file::File = config::load(path, &[])?;
        interlink_api::config::resolve(&interlink_api::flags::Flags::default(), |_| None, &file)
    })
}

/// Reads the virtual kubelet's. `node` is the name that its command line or its own word gives.
#[must_use]
pub fn kubelet(named: &Named, node: Option<&str>) -> Read<kubelet::Config> {
    read(&find(named, named.kubelet.as_deref(), &KUBELET), |path| {
        let file: KubeletFile = config::load(path, &[])?;
        // The name may come from a command line that is not known here.
        let unnamed = Some(UNNAMED).filter(|_| file.node_name.is_empty());
        let flags =
            kubelet::flags::Flags { nodename: node.or(unnamed).map(str::to_owned), ..kubelet::flags::Flags::default() };
        kubelet::resolve(&flags, |_| None, &file)
    })
}

/// The node's name, where the virtual kubelet's file has one.
#[must_use]
pub fn node(file: &Read<kubelet::Config>) -> Option<String> {
    file.get().map(|config| config.node.clone()).filter(|name| name != UNNAMED)
}

/// The file that was named, else the first that is there, else a sentence.
fn find(named: &Named, file: Option<&Path>, names: &[&str]) -> Result<PathBuf, Read<()>> {
    if let Some(file) = file {
        return match file.exists() {
            true => Ok(file.to_owned()),
            false => Err(Read::Wrong(Failure::config(format!(
                "{} does not exist; correct its path on the command line",
                file.display()
            )))),
        };
    }
    let places = match &named.dir {
        Some(dir) => vec![dir.clone()],
        None => PLACES.iter().map(PathBuf::from).collect(),
    };
    let found = places.iter().flat_map(|place| names.iter().map(|name| place.join(name))).find(|path| path.exists());
    found.ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Read::Absent(format!("no {} in {}", names[0], places.join(" or ")))
    })
}

fn read<T>(found: &Result<PathBuf, Read<()>>, load: impl FnOnce(&Path) -> Result<T, Failure>) -> Read<T> {
    match found {
        Ok(path) => match load(path) {
            Ok(config) => Read::Good(path.clone(), config),
            Err(failure) => Read::Wrong(failure),
        },
        Err(Read::Wrong(failure)) => Read::Wrong(failure.clone()),
        Err(Read::Absent(why)) => Read::Absent(why.clone()),
        Err(Read::Good(..)) => Read::Absent("no file".to_owned()),
    }
}

/// What is to be said about one file; `seen` puts a good one into words.
#[must_use]
pub fn judge<T>(id: Id, hop: &str, file: &Read<T>, seen: impl Fn(&T) -> String, warnings: &[String]) -> Vec<Step> {
    let mut steps = vec![match file {
        Read::Absent(why) => Step::skipped(id, hop, format!("{why}; name it with --config-dir")),
        Read::Wrong(failure) => {
            let fault = Fault::of_sentence(&failure.sentence, "correct the file");
            Step::new(id, hop, Verdict::Failed(fault))
        }
        Read::Good(path, config) => Step::good(id, hop, format!("{}: {}", path.display(), seen(config))),
    }];
    steps.extend(warnings.iter().map(|warning| {
        let fault = Fault::of_sentence(warning, "correct it in the configuration file or on the command line");
        Step::new(id, hop, Verdict::Warned(fault))
    }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        std::fs::write(dir.join(name), text).unwrap();
    }

    #[test]
    fn one_file_for_both_programs_or_one_for_each() {
        let dir = tempfile::tempdir().unwrap();
        let named = Named { dir: Some(dir.path().to_owned()), ..Named::default() };
        assert!(matches!(api(&named), Read::Absent(why) if why.contains("no InterLinkConfig.yaml in")));
        write(
            dir.path(),
            "InterLinkConfig.yaml",
            "InterlinkAddress: unix:///r/a.sock\nSidecarURL: unix:///r/p.sock\nInterlinkURL: unix:///r/a.sock\n",
        );
        assert_eq!(api(&named).get().unwrap().plugin.to_string(), "unix:///r/p.sock");
        assert_eq!(kubelet(&named, None).get().unwrap().api.to_string(), "unix:///r/a.sock");
        assert_eq!(node(&kubelet(&named, None)), None);
        write(dir.path(), "VirtualKubeletConfig.yaml", "InterlinkURL: unix:///r/b.sock\nNodeName: mine\n");
        assert_eq!(kubelet(&named, None).get().unwrap().api.to_string(), "unix:///r/b.sock");
        assert_eq!(node(&kubelet(&named, None)).as_deref(), Some("mine"));
        let gone = Named { api: Some(dir.path().join("gone")), ..named };
        assert!(matches!(api(&gone), Read::Wrong(failure) if failure.sentence.contains("does not exist; correct")));
    }

    #[test]
    fn a_node_of_two_names_is_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "VirtualKubeletConfig.yaml", "InterlinkURL: unix:///r/a.sock\nNodeName: my-interlink-node\n");
        let named = Named { dir: Some(dir.path().to_owned()), ..Named::default() };
        let read = kubelet(&named, Some("interlink-node"));
        let steps =
            judge(Id::KubeletConfig, "virtual-kubelet", &read, |c| c.node.clone(), &read.get().unwrap().warnings);
        let Verdict::Warned(fault) = &steps[1].verdict else { panic!("{steps:?}") };
        assert!(fault.cause.contains("NodeName says \"my-interlink-node\"") && fault.cause.contains("interlink-node"));
        assert!(kubelet(&named, None).get().unwrap().warnings.is_empty());
    }

    #[test]
    fn one_socket_for_api_and_tunnel_is_named_with_both_lines_to_change() {
        let dir = tempfile::tempdir().unwrap();
        let text = "InterlinkAddress: \"unix:///tmp/interlink.sock\"\nSidecarURL: \"unix:///tmp/interlink.sock\"\n";
        write(dir.path(), "InterLinkConfig.yaml", text);
        let named = Named { dir: Some(dir.path().to_owned()), ..Named::default() };
        let steps = judge(Id::ApiConfig, "api", &api(&named), |c| c.plugin.to_string(), &[]);
        let fault = steps[0].fault().unwrap();
        assert!(fault.cause.contains("InterlinkAddress and SidecarURL are the same socket"), "{fault:?}");
        assert!(fault.remedy.contains("change two lines") && fault.remedy.contains("-reverse"), "{fault:?}");
    }
}

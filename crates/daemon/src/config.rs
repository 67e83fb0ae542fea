//! Configuration files: YAML with lenient scalars, errors with line and key.
//!
//! As the existing programs' parser: keys are case-sensitive, a string takes any scalar as it is written, `null` is
//! "not set" (give such fields [`null_default`]), the last of two equal keys counts. Sites keep one file for several
//! programs, so a key that any program of the family knows is silent; others get one warning with the nearest known key.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{DuplicateKeyPolicy, Options};

use crate::exit::Failure;

/// A file that can't be used: one sentence with file, line, key and reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::config(error)
    }
}

/// Keys of every program of the family, ours and the existing ones', for files that several programs share.
const FAMILY: &[&str] = &[
    // API server
    "InterlinkAddress",
    "InterlinkPort",
    "SidecarURL",
    "SidecarPort",
    "JobScriptBuildConfig",
    "JobScriptTemplate",
    "VerboseLogging",
    "ErrorsOnlyLogging",
    "DataRootFolder",
    "TLS",
    "Pprof",
    "ExportPodData",
    // virtual kubelet
    "InterlinkURL",
    "KubernetesApiAddr",
    "KubernetesApiPort",
    "KubernetesApiCaCrt",
    "DisableProjectedVolumes",
    "JobScriptBuilderURL",
    "VKConfigPath",
    "VKTokenFile",
    "ServiceAccount",
    "Namespace",
    "PodIP",
    "PodCIDR",
    "HTTP",
    "KubeletHTTP",
    "KubeletCertFile",
    "KubeletKeyFile",
    "KubeletCSRSignerName",
    "DisableCSR",
    "Resources",
    "NodeLabels",
    "NodeTaints",
    "NodeName",
    "Network",
    "SkipDownwardAPIResolution",
    "CPU",
    "Memory",
    "Pods",
    "nvidia.com/gpu",
    "TunnelImage",
    // Slurm plugin
    "Socket",
    "SbatchPath",
    "ScancelPath",
    "SqueuePath",
    "SinfoPath",
    "CommandPrefix",
    "ImagePrefix",
    "SingularityPath",
    "SingularityDefaultOptions",
    "SingularityPrefix",
    "ContainerRuntime",
    "EnrootPath",
    "EnrootDefaultOptions",
    "EnrootPrefix",
    "BashPath",
    "Tsocks",
    "TsocksPath",
    "TsocksLoginNode",
    "EnableProbes",
    "Flavors",
    "DefaultFlavor",
    "DefaultUID",
    "Taints",
    "ResourceScriptPath",
    // ours
    "ClientCAFile",
    "HostPaths",
    "NodeOwner",
    "PodScripts",
    "SacctPath",
    "Scheduler",
    "ScontrolPath",
];

/// Reads the file at `path`. `own` names the keys that this program knows beyond the family's.
///
/// # Errors
/// [`ConfigError`]: unreadable, not YAML, or a value of the wrong kind.
pub fn load<T: DeserializeOwned>(path: &Path, own: &[&str]) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError(format!("can't read the configuration file {}: {e}", path.display())))?;
    let (value, warnings) = parse(&text, own).map_err(|why| ConfigError(format!("{}: {why}", path.display())))?;
    for warning in warnings {
        tracing::warn!(file = %path.display(), "{warning}");
    }
    Ok(value)
}

/// Reads YAML; gives the value and the warnings about unknown keys.
///
/// # Errors
/// One sentence with line and key.
pub fn parse<T: DeserializeOwned>(text: &str, own: &[&str]) -> Result<(T, Vec<String>), String> {
    // An empty file is an empty map: every key has its default.
    let text =
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) { "{}" } else { text };
    let keys = read::<BTreeMap<String, IgnoredAny>>(text)?;
    let value = read::<T>(text)?;
    let known = || FAMILY.iter().chain(own).copied();
    let warnings = keys.keys().filter(|key| !known().any(|name| name == *key)).map(|key| {
        let distance = |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &key.to_lowercase());
        // Half of a short key mistyped is another key.
        let near = 3.min(key.chars().count() / 2);
        match known().min_by_key(|name| distance(name)).filter(|name| distance(name) <= near) {
            Some(near) => format!("unknown key {key:?} is ignored; did you mean {near}?"),
            None => format!("unknown key {key:?} is ignored"),
        }
    });
    Ok((value, warnings.collect()))
}

fn options() -> Options {
    let mut options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    options.with_snippet = false;
    options.no_schema = false;
    options.strict_booleans = false;
    options
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut place = String::new();
    let result = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        T::deserialize(deserializer).inspect_err(|_| place = track.path().to_string())
    });
    result.map_err(|error| {
        let line = error.location().map(|l| format!("line {}, ", l.line())).unwrap_or_default();
        let known = !place.is_empty() && place != "." && !place.contains('?');
        let key = if known { format!("key {place}: ") } else { String::new() };
        let why = error.without_snippet().to_string();
        // The library puts its own place at the end of the first line.
        let why = why.lines().next().unwrap_or_default();
        let why = why.split(" at line ").next().unwrap_or(why);
        let why = why.strip_prefix("error: ").unwrap_or(why);
        let why = why.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(why, |(_, tail)| tail);
        format!("{line}{key}{}", in_words(why))
    })
}

/// The library's terms as what would be right.
fn in_words(why: &str) -> String {
    let right = match why {
        "expected string scalar" => "a text or a number is expected",
        "expected sequence start" => "a list is expected",
        "expected mapping start" => "keys with values are expected, as in `Key: value`",
        "invalid boolean" => "true or false is expected",
        _ if why.starts_with("invalid i") || why.starts_with("invalid u") => "a whole number is expected",
        other => other,
    };
    right.to_owned()
}

/// For `#[serde(default, deserialize_with = "…")]`: `null` or an empty value means "not set".
///
/// # Errors
/// Those of `T`.
pub fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(default)]
    struct Config {
        #[serde(rename = "InterlinkPort", deserialize_with = "null_default")]
        port: String,
        #[serde(rename = "VerboseLogging", deserialize_with = "null_default")]
        verbose: bool,
        #[serde(rename = "TLS", deserialize_with = "null_default")]
        tls: Tls,
        #[serde(rename = "NodeLabels", deserialize_with = "null_default")]
        labels: Vec<String>,
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(default)]
    struct Tls {
        #[serde(rename = "Enabled")]
        enabled: bool,
    }

    fn of(text: &str) -> Config {
        parse::<Config>(text, &[]).unwrap_or_else(|e| panic!("{text:?}: {e}")).0
    }

    #[test]
    fn scalars_are_lenient() {
        let cases = [
            ("InterlinkPort: 3000", "3000"),
            ("InterlinkPort: '3000'", "3000"),
            ("InterlinkPort: 3.10", "3.10"),
            ("InterlinkPort: 0x10", "0x10"),
            ("InterlinkPort: true", "true"),
            ("InterlinkPort:", ""),
            ("InterlinkPort: null", ""),
            ("InterlinkPort: ''", ""),
            ("InterlinkPort: 1\nInterlinkPort: 2", "2"),
            ("", ""),
            ("# only a comment\n", ""),
        ];
        for (text, port) in cases {
            assert_eq!(of(text).port, port, "{text:?}");
        }
        for yes in ["true", "yes", "on"] {
            assert!(of(&format!("VerboseLogging: {yes}")).verbose, "{yes}");
        }
        assert!(!of("VerboseLogging:").verbose);
    }

    #[test]
    fn a_wrong_value_is_placed() {
        let cases = [
            ("InterlinkPort: 1\nTLS:\n  Enabled: maybe\n", "line 3, key TLS.Enabled: true or false is expected"),
            ("NodeLabels:\n  a: b\n", "key NodeLabels: a list is expected"),
            ("InterlinkPort: 1\nVerboseLogging: [1]\n", "line 2, key VerboseLogging: "),
            ("InterlinkPort: 1\n bad: 2\n", "line 2, "),
            ("just words", "keys with values are expected"),
        ];
        for (text, place) in cases {
            let error = parse::<Config>(text, &[]).unwrap_err();
            assert!(error.contains(place) && !error.contains('\n'), "{text:?}: {error}");
        }
    }

    #[test]
    fn only_keys_that_nobody_knows_are_warned_about() {
        let (_, warnings) =
            parse::<Config>("SidecarURL: x\nInterlinkPrt: 1\nzzzzzzzzzz: 1\nMine: 2\nx: 1\n", &["Mine"]).unwrap();
        assert_eq!(
            warnings,
            [
                "unknown key \"InterlinkPrt\" is ignored; did you mean InterlinkPort?",
                "unknown key \"x\" is ignored",
                "unknown key \"zzzzzzzzzz\" is ignored"
            ]
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Config>(Path::new("/nonexistent/c.yaml"), &[]).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/c.yaml"), "{error}");
    }
}

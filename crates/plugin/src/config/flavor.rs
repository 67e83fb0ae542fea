//! Flavors: named sets of resources and sbatch flags that pods choose by annotation.

use std::collections::BTreeMap;

use super::file::FlavorFile;
use crate::scheduler::slurm::flags::{self, Flag};

/// Annotation that names a flavor.
pub const ANNOTATION: &str = "slurm-job.vk.io/flavor";

/// One flavor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flavor {
    /// CPU cores of a pod that doesn't say.
    pub cpus: Option<u64>,
    /// Memory in MiB of a pod that doesn't say.
    pub memory_mib: Option<u64>,
    /// sbatch flags, weaker than the pod's.
    pub flags: Vec<Flag>,
}

impl Flavor {
    /// Judges one entry of `Flavors`.
    ///
    /// # Errors
    /// One sentence that names the flavor and its key.
    pub fn read(name: &str, file: &FlavorFile) -> Result<Self, String> {
        let wrong = |key: &str, why: String| Err(format!("flavor {name:?}: {key} {why}"));
        let Ok(cpus) = u64::try_from(file.cpu_default) else {
            return wrong("CPUDefault", format!("must not be below zero, not {}", file.cpu_default));
        };
        let memory_mib = match mebibytes(&file.memory_default) {
            Ok(memory) => memory,
            Err(why) => return wrong("MemoryDefault", why),
        };
        let mut words = Vec::new();
        for line in &file.slurm_flags {
            match shlex::split(line) {
                Some(split) if !split.is_empty() => words.extend(split),
                _ => {
                    return wrong(
                        "SlurmFlags",
                        format!("holds {line:?}; each entry must be a flag such as --gres=gpu:1"),
                    );
                }
            }
        }
        match flags::parse(&words) {
            Ok(flags) => Ok(Self { cpus: Some(cpus).filter(|n| *n > 0), memory_mib, flags }),
            Err(why) => wrong("SlurmFlags", why),
        }
    }
}

/// Chooses the flavor of a pod: its annotation, else the one that offers as many GPUs as it asks for, else the default.
///
/// An annotation that names no flavor is ignored, as by the existing plugin. Among flavors with equal GPUs the first
/// by name is taken, so that the choice is always the same.
#[must_use]
pub fn choose<'a>(
    flavors: &'a BTreeMap<String, Flavor>,
    default: Option<&str>,
    annotation: Option<&str>,
    gpus: u64,
) -> Option<&'a Flavor> {
    if let Some(named) = annotation.and_then(|name| flavors.get(name)) {
        return Some(named);
    }
    if gpus > 0
        && let Some(fitting) = flavors.values().find(|flavor| flags::gpus(&flavor.flags) == Some(gpus))
    {
        return Some(fitting);
    }
    default.and_then(|name| flavors.get(name))
}

/// The existing plugin's memory syntax: an integer with `G`, `GB`, `M`, `MB`, `K`, `KB` (powers of 1024) or bytes;
/// `Gi`, `Mi` and `Ki` are read too.
fn mebibytes(text: &str) -> Result<Option<u64>, String> {
    let upper = text.trim().to_uppercase();
    if upper.is_empty() {
        return Ok(None);
    }
    let digits = upper.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &upper[digits.len()..] {
        "" => 1,
        "K" | "KB" | "KI" => 1 << 10,
        "M" | "MB" | "MI" => 1 << 20,
        "G" | "GB" | "GI" => 1 << 30,
        _ => return Err(format!("must be a whole number with K, M or G, not {text:?}")),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| format!("must be a whole number with K, M or G, not {text:?}"))?;
    let bytes = number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"))?;
    Ok(Some(bytes.div_ceil(1 << 20)).filter(|n| *n > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_existing_plugin_reads_it() {
        let cases = [
            ("16G", Some(16384)),
            ("16gb", Some(16384)),
            (" 512M ", Some(512)),
            ("1048577", Some(2)),
            ("1K", Some(1)),
            ("", None),
            ("0", None),
        ];
        for (text, mib) in cases {
            assert_eq!(mebibytes(text), Ok(mib), "{text}");
        }
        for bad in ["1.5G", "G", "1T", "-1G", "99999999999G"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_flavor_is_chosen_by_name_then_by_gpus_then_by_default() {
        let flavor = |flags: &[&str]| {
            let file =
                FlavorFile { slurm_flags: flags.iter().map(|f| (*f).to_owned()).collect(), ..FlavorFile::default() };
            Flavor::read("f", &file).unwrap()
        };
        let flavors = BTreeMap::from([
            ("cpu".to_owned(), flavor(&["--partition=cpu"])),
            ("gpu1".to_owned(), flavor(&["--gres=gpu:1"])),
            ("gpu2".to_owned(), flavor(&["--gres=gpu:a100:2"])),
        ]);
        let cases = [
            (Some("gpu1"), 0, Some("gpu1")),
            (Some("none"), 0, Some("cpu")),
            (None, 2, Some("gpu2")),
            (None, 3, Some("cpu")),
            (None, 0, Some("cpu")),
        ];
        for (annotation, gpus, name) in cases {
            assert_eq!(
                choose(&flavors, Some("cpu"), annotation, gpus),
                name.and_then(|n| flavors.get(n)),
                "{annotation:?} {gpus}"
            );
        }
        assert_eq!(choose(&flavors, None, None, 0), None);
    }

    #[test]
    fn a_wrong_flavor_is_named_with_its_key() {
        let cases = [
            (FlavorFile { cpu_default: -1, ..FlavorFile::default() }, "CPUDefault"),
            (FlavorFile { memory_default: "lots".into(), ..FlavorFile::default() }, "MemoryDefault"),
            (FlavorFile { slurm_flags: vec!["gpu".into()], ..FlavorFile::default() }, "SlurmFlags"),
            (FlavorFile { slurm_flags: vec![" ".into()], ..FlavorFile::default() }, "SlurmFlags"),
            (FlavorFile { slurm_flags: vec!["--output=/x".into()], ..FlavorFile::default() }, "--output"),
        ];
        for (file, said) in cases {
            let error = Flavor::read("big", &file).unwrap_err();
            assert!(error.contains("\"big\"") && error.contains(said), "{error}");
        }
    }
}

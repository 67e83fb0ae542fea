//! Configuration: the existing program's file, its environment variables over it, its flags over both.
//!
//! [`resolve`] is pure; [`load`] finds and reads the file. What can't work is refused with the key and the remedy;
//! what may yet work (a host name that appears later) is a warning.

pub mod file;

use std::path::{Path, PathBuf};

use interlink_daemon::logs::Level;
use interlink_daemon::{Failure, paths};
use interlink_transport::Endpoint;

use crate::flags::Flags;
use file::File;

/// Where the file is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/interlink/InterLinkConfig.yaml";

/// What this program was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: Endpoint,
    /// Where the plugin, or the tunnel to it, listens.
    pub plugin: Endpoint,
    /// How much to say.
    pub level: Level,
    /// Path of a job-script template; empty when there is none.
    pub template: String,
    /// What a person should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Finds, reads and checks the configuration.
///
/// # Errors
/// [`Failure`] with exit code 78: file, line and key, or the keys that can't be right.
pub fn load(flags: &Flags) -> Result<Config, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let path = path(flags, env);
    if !path.exists() {
        return Err(Failure::config(format!(
            "the configuration file {} does not exist; name one with -interlinkconfigpath or INTERLINKCONFIGPATH",
            path.display()
        )));
    }
    let file: File = interlink_daemon::config::load(&path, &[])?;
    resolve(flags, env, &file).map_err(|f| Failure { sentence: format!("{}: {}", path.display(), f.sentence), ..f })
}

/// Which file: flag, environment, default. A relative path counts from the working directory.
pub fn path(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let named = flags.interlinkconfigpath.clone().or_else(|| env("INTERLINKCONFIGPATH")).filter(|p| !p.is_empty());
    paths::expand_tilde(named.as_deref().unwrap_or(DEFAULT_PATH))
}

/// Lays environment and flags over the file and checks the result.
///
/// # Errors
/// [`Failure`] with exit code 78, in one sentence.
pub fn resolve(flags: &Flags, env: impl Fn(&str) -> Option<String>, file: &File) -> Result<Config, Failure> {
    let over = |name: &str, own: &str| env(name).filter(|v| !v.is_empty()).unwrap_or_else(|| own.to_owned());
    let (address, port) = (over("INTERLINKURL", &file.address), over("INTERLINKPORT", &file.port));
    let (url, url_port) = (over("SIDECARURL", &file.sidecar_url), over("SIDECARPORT", &file.sidecar_port));
    let listen = endpoint("InterlinkAddress", "InterlinkPort", &address, &port, "unix:///run/interlink/api.sock")?;
    let plugin = endpoint("SidecarURL", "SidecarPort", &url, &url_port, "unix:///run/interlink/plugin.sock")?;
    if let (Some(ours), Some(theirs)) = (listen.socket(), plugin.socket())
        && same_file(ours, theirs)
    {
        return Err(Failure::config(format!(
            "InterlinkAddress and SidecarURL are the same socket {}, but API server and tunnel each need their own; {}",
            ours.display(),
            two_lines()
        )));
    }
    let level = match (flags.verbose, flags.errorsonly) {
        (false, false) => Level::from_keys(file.verbose, file.errors_only),
        (verbose, errors_only) => Level::from_keys(verbose, errors_only),
    };
    let mut warnings = Vec::new();
    if file.tls.enabled {
        warnings.push(
            "TLS.Enabled is set, but this version serves plain HTTP only; use a unix:// socket, or a proxy with TLS in front"
                .to_owned(),
        );
    }
    if file.pprof.enabled || env("ENABLE_PPROF").as_deref() == Some("true") {
        warnings.push("Pprof is a Go profiler and has no counterpart here; the key is ignored".to_owned());
    }
    if let Endpoint::Tcp { host, .. } = &listen
        && !is_loopback(host)
    {
        warnings.push(format!(
            "{listen} is open to everybody who reaches it, and every client may submit jobs; use a unix:// socket or a loopback address"
        ));
    }
    if !file.template.is_empty() {
        warnings.push("JobScriptTemplate is set, but this version has no job-script templates: every create is refused; remove the key".to_owned());
    }
    Ok(Config { listen, plugin, level, template: file.template.clone(), warnings })
}

/// What to do when one socket has two owners.
#[must_use]
pub fn two_lines() -> String {
    "change two lines: InterlinkAddress: \"unix:///run/interlink/api.sock\" (also InterlinkURL of the virtual kubelet) and SidecarURL: \"unix:///run/interlink/plugin.sock\" (also ssh-tunnel's -lsock); if you meant the existing ssh-tunnel's direction, a reverse tunnel that makes the API server's socket reachable from the remote host, start ssh-tunnel with -reverse".to_owned()
}

/// The names of the keys in `new` that take effect only with a restart.
#[must_use]
pub fn need_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if old.listen != new.listen {
        keys.push("InterlinkAddress/InterlinkPort");
    }
    if old.plugin != new.plugin {
        keys.push("SidecarURL/SidecarPort");
    }
    keys
}

fn endpoint(key: &str, port_key: &str, url: &str, port: &str, example: &str) -> Result<Endpoint, Failure> {
    if url.trim().is_empty() {
        return Err(Failure::config(format!("{key} is not set; set it, for example to \"{example}\"")));
    }
    // Existing deployments say "0" where the port does not matter.
    let port_matters = url.trim().starts_with("http://");
    if port_matters && port.trim() == "0" {
        return Err(Failure::config(format!("{port_key} 0 is no port; set the port of {key}")));
    }
    Endpoint::parse(url, port).map_err(|e| match port_matters {
        true => Failure::config(format!("{key} with {port_key}: {e}")),
        false => Failure::config(format!("{key}: {e}")),
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether two paths are one file, also through links in their directories.
fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| match (path.parent().and_then(|dir| dir.canonicalize().ok()), path.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => path.to_owned(),
    };
    a == b || real(a) == real(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "InterlinkAddress: unix:///run/i/api.sock\nSidecarURL: unix:///run/i/plugin.sock\n";

    fn file(text: &str) -> File {
        interlink_daemon::config::parse(text, &[]).unwrap().0
    }

    fn of(text: &str, env: &[(&str, &str)], flags: &Flags) -> Result<Config, String> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        resolve(flags, env, &file(text)).map_err(|failure| {
            assert_eq!(failure.code, 78);
            failure.sentence
        })
    }

    fn plain(text: &str) -> Result<Config, String> {
        of(text, &[], &Flags::default())
    }

    #[test]
    fn the_existing_programs_files_are_read() {
        let config = plain(
            "InterlinkAddress: http://127.0.0.1\nInterlinkPort: 3000\nSidecarURL: \"http://plugin\"\nSidecarPort: \"4000\"\nVerboseLogging: true\nDataRootFolder: /x\nNodeName: other-program's\nUnheardOf: 1\n",
        )
        .unwrap();
        assert_eq!(
            (config.listen.to_string(), config.plugin.to_string()),
            ("http://127.0.0.1:3000".into(), "http://plugin:4000".into())
        );
        assert_eq!((config.level, config.warnings), (Level::Debug, vec![]));
        let socket = plain(&format!("{BASE}SidecarPort: \"0\"\nInterlinkPort:\n")).unwrap();
        assert_eq!(socket.plugin.to_string(), "unix:///run/i/plugin.sock");
    }

    #[test]
    fn flag_wins_over_environment_and_environment_over_file() {
        let env = [
            ("INTERLINKURL", "http://127.0.0.1"),
            ("INTERLINKPORT", "1"),
            ("SIDECARURL", "http://p"),
            ("SIDECARPORT", "2"),
        ];
        let config = of(BASE, &env, &Flags::default()).unwrap();
        assert_eq!(
            (config.listen.to_string(), config.plugin.to_string()),
            ("http://127.0.0.1:1".into(), "http://p:2".into())
        );
        let unset = of(BASE, &[("INTERLINKURL", ""), ("SIDECARURL", "")], &Flags::default()).unwrap();
        assert_eq!(unset.listen.to_string(), "unix:///run/i/api.sock", "an empty variable is not set");
        let quiet = Flags { errorsonly: true, ..Flags::default() };
        assert_eq!(of(&format!("{BASE}VerboseLogging: true"), &[], &quiet).unwrap().level, Level::Error);
        let loud = Flags { verbose: true, ..Flags::default() };
        assert_eq!(of(&format!("{BASE}ErrorsOnlyLogging: true"), &[], &loud).unwrap().level, Level::Debug);

        let named = |flag: Option<&str>, env: Option<&str>| {
            let flags = Flags { interlinkconfigpath: flag.map(str::to_owned), ..Flags::default() };
            path(&flags, |_| env.map(str::to_owned))
        };
        assert_eq!(named(Some("rel/a.yaml"), Some("/b")), PathBuf::from("rel/a.yaml"));
        assert_eq!(named(None, Some("/b")), PathBuf::from("/b"));
        assert_eq!(named(None, Some("")), PathBuf::from(DEFAULT_PATH));
    }

    #[test]
    fn what_cannot_work_is_said_with_its_key() {
        let cases = [
            ("SidecarURL: unix:///a", "InterlinkAddress is not set; set it"),
            ("InterlinkAddress: unix:///a", "SidecarURL is not set; set it"),
            (
                "InterlinkAddress: localhost\nSidecarURL: unix:///a",
                "InterlinkAddress: \"localhost\" has no known scheme",
            ),
            ("InterlinkAddress: https://h\nSidecarURL: unix:///a", "InterlinkAddress: https://"),
            ("InterlinkAddress: unix:///a\nSidecarURL: https://h", "SidecarURL: https://"),
            (
                "InterlinkAddress: unix:///a\nSidecarURL: http://h",
                "SidecarURL with SidecarPort: \"http://h\" needs a port",
            ),
            ("InterlinkAddress: unix:///a\nSidecarURL: http://h\nSidecarPort: 0", "SidecarPort 0 is no port"),
            (
                "InterlinkAddress: http://h\nSidecarURL: unix:///a",
                "InterlinkAddress with InterlinkPort: \"http://h\" needs a port",
            ),
            ("InterlinkAddress: unix://rel\nSidecarURL: unix:///a", "absolute"),
        ];
        for (text, part) in cases {
            let sentence = plain(text).unwrap_err();
            assert!(sentence.contains(part), "{text}: {sentence}");
        }
    }

    #[test]
    fn one_socket_for_api_and_tunnel_names_both_keys_and_both_lines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let at = |sub: &str| format!("unix://{}/{sub}/interlink.sock", dir.path().display());
        for other in ["real", "link"] {
            let text = format!("InterlinkAddress: {}\nSidecarURL: {}\n", at("real"), at(other));
            let sentence = plain(&text).unwrap_err();
            for part in [
                "InterlinkAddress and SidecarURL are the same socket",
                "InterlinkAddress: \"unix:///run/interlink/api.sock\"",
                "SidecarURL: \"unix:///run/interlink/plugin.sock\"",
                "-reverse",
                "reverse tunnel",
            ] {
                assert!(sentence.contains(part), "{part}: {sentence}");
            }
        }
    }

    #[test]
    fn what_may_surprise_is_a_warning() {
        let cases = [
            ("TLS:\n  Enabled: true\n", "TLS.Enabled"),
            ("Pprof:\n  Enabled: true\n", "Pprof"),
            ("JobScriptTemplate: /t\n", "JobScriptTemplate"),
        ];
        for (text, part) in cases {
            let warnings = plain(&format!("{BASE}{text}")).unwrap().warnings;
            assert!(warnings.len() == 1 && warnings[0].contains(part), "{warnings:?}");
        }
        let open = plain("InterlinkAddress: http://0.0.0.0\nInterlinkPort: 3000\nSidecarURL: unix:///a").unwrap();
        assert!(open.warnings[0].contains("open to everybody"));
        let builder =
            plain(&format!("{BASE}JobScriptBuildConfig:\n  singularity_hub:\n    master_token: x\n")).unwrap();
        assert!(builder.warnings.is_empty());
    }

    #[test]
    fn addresses_need_a_restart_and_levels_do_not() {
        let base = plain(BASE).unwrap();
        let louder = plain(&format!("{BASE}VerboseLogging: true")).unwrap();
        assert!(need_restart(&base, &louder).is_empty());
        let moved = plain("InterlinkAddress: unix:///x\nSidecarURL: unix:///y").unwrap();
        assert_eq!(need_restart(&base, &moved), ["InterlinkAddress/InterlinkPort", "SidecarURL/SidecarPort"]);
    }
}

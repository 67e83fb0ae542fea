//! The tunnel's environment file, key and host keys, read as ssh-tunnel reads them when its unit starts it.

use std::io;
use std::path::{Path, PathBuf};

use interlink_daemon::Failure;
use interlink_tunnel::config::Origin;
use interlink_tunnel::config::Settings;
use interlink_tunnel::config::flags::Environment;
use interlink_tunnel::credentials::Credentials;

use super::files::{Named, PLACES, Read};

/// The file beside the other programs' configurations.
const FILE: &str = "tunnel.env";

/// Reads it; `None` where there is none, as the tunnel may be started by other means.
#[must_use]
pub fn read(named: &Named) -> Option<Read<Settings>> {
    let places = named.dir.clone().map_or_else(|| PLACES.iter().map(PathBuf::from).collect(), |dir| vec![dir]);
    let path = places.into_iter().map(|place| place.join(FILE)).find(|path| path.exists())?;
    Some(match load(&path) {
        Ok(Some(settings)) => Read::Good(path, settings),
        Ok(None) => Read::Absent(format!("{} or what it names is closed to this user", path.display())),
        Err(failure) => Read::Wrong(failure),
    })
}

/// `None` where only other users may read it.
fn load(path: &Path) -> Result<Option<Settings>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(Failure::config(format!("can't read {}: {error}; correct the file", path.display()))),
    };
    // As in the unit: the account's directory is beside that of the configurations.
    let ssh = path.parent().and_then(Path::parent).unwrap_or(Path::new("/opt/interlink")).join(".ssh");
    let (host_key, mut key) = (ssh.join("host_key"), ssh.join("id_ed25519"));
    let (mut addr, mut user, mut to, mut more) = (String::new(), String::new(), String::new(), String::new());
    for (name, value) in text.lines().filter_map(variable) {
        match name {
            "TUNNEL_ADDR" => addr = value,
            "TUNNEL_USER" => user = value,
            "TUNNEL_KEY" => key = value.into(),
            "TUNNEL_TO" => to = value,
            "TUNNEL_ARGS" => more = value,
            _ => {}
        }
    }
    let denied = |path: &Path| std::fs::File::open(path).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    if denied(&key) || denied(&host_key) {
        return Ok(None);
    }
    for (name, value) in [("TUNNEL_ADDR", &addr), ("TUNNEL_USER", &user), ("TUNNEL_TO", &to)] {
        if value.is_empty() {
            return Err(Failure::config(format!(
                "{} does not set {name}; add the line {name}=… and restart ssh-tunnel",
                path.display()
            )));
        }
    }
    let words = |name: &str, value: &str| {
        shlex::split(value).ok_or_else(|| {
            Failure::config(format!("{}: {name} has a quote that does not end; close it", path.display()))
        })
    };
    let (to, more) = (words("TUNNEL_TO", &to)?, words("TUNNEL_ARGS", &more)?);
    let mut args: Vec<std::ffi::OsString> = vec!["ssh-tunnel".into(), "-addr".into(), addr.into(), "-user".into()];
    args.extend([user.into(), "-keyfile".into(), key.into(), "-hostkeyfile".into(), host_key.into()]);
    args.extend(["-lsock".into(), "/run/interlink/plugin.sock".into()]);
    args.extend(to.into_iter().chain(more).map(Into::into));
    let wrong = |why: &str| Failure::config(format!("{}: {why}", path.display()));
    let settings = Origin::new(args, Environment::default()).read().map_err(|stop| wrong(stop.sentence()))?;
    Credentials::load(&settings)?;
    Ok(Some(settings))
}

/// A line `NAME=value` of a file for systemd's EnvironmentFile=.
fn variable(line: &str) -> Option<(&str, String)> {
    let (name, value) = line.trim().split_once('=').filter(|(name, _)| !name.starts_with(['#', ';']))?;
    let value = value.trim();
    let quoted = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    Some((name.trim(), quoted('"').or_else(|| quoted('\'')).unwrap_or(value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_systemd_reads_them() {
        assert_eq!(variable("TUNNEL_TO=-rexec \"a b\""), Some(("TUNNEL_TO", "-rexec \"a b\"".to_owned())));
        assert_eq!(variable(" A = \"x y\" "), Some(("A", "x y".to_owned())));
        assert_eq!((variable("# A=b"), variable(""), variable("word")), (None, None, None));
    }

    #[test]
    fn what_the_tunnel_would_not_start_with_is_told_in_its_words() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config");
        std::fs::create_dir_all(home.path().join(".ssh")).unwrap();
        std::fs::create_dir_all(&config).unwrap();
        let named = Named { dir: Some(config.clone()), ..Named::default() };
        assert!(read(&named).is_none());
        let sentence = |text: &str| {
            std::fs::write(config.join(FILE), text).unwrap();
            match read(&named) {
                Some(Read::Wrong(failure)) => failure.sentence,
                other => panic!("{other:?}"),
            }
        };
        assert!(sentence("TUNNEL_USER=u\n").contains("does not set TUNNEL_ADDR; add the line TUNNEL_ADDR=…"));
        let whole = "TUNNEL_ADDR=login:22\nTUNNEL_USER=u\nTUNNEL_TO=-rport x\n";
        assert!(sentence(whole).contains("rport"), "{}", sentence(whole));
        let whole = "TUNNEL_ADDR=login:22\nTUNNEL_USER=u\nTUNNEL_TO=-rport 4000\n";
        assert!(sentence(whole).contains("id_ed25519"), "{}", sentence(whole));
        for (more, said) in [("-conections 2", "conections"), ("-logfile \"x", "TUNNEL_ARGS has a quote")] {
            let said_of = sentence(&format!("{whole}TUNNEL_ARGS={more}\n"));
            assert!(said_of.contains(said), "{said_of}");
        }
    }
}

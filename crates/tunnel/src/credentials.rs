//! The key that logs in and the keys that the server may have, read from their files again and again.
//!
//! The first reading must succeed; a later one that fails leaves what was there before and says so once.

use std::sync::Arc;

use interlink_daemon::Failure;

use crate::config::Settings;
use crate::hostkeys::HostKeys;
use crate::identity::Identity;

/// What the files held when they could last be read.
#[derive(Debug)]
pub struct Credentials {
    settings: Settings,
    identity: Identity,
    /// One for each server on the way, in the order of [`Settings::hops`].
    host_keys: Vec<Arc<HostKeys>>,
    /// The last complaint and the last warnings, so that they are not repeated with every attempt.
    said: Vec<String>,
}

impl Credentials {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`Failure`] that a person must mend.
    pub fn load(settings: &Settings) -> Result<Self, Failure> {
        let (identity, host_keys) = read(settings).map_err(Failure::config)?;
        let mut credentials = Self { settings: settings.clone(), identity, host_keys, said: Vec::new() };
        credentials.say(warnings(&credentials.host_keys));
        Ok(credentials)
    }

    /// Reads the files again before an attempt to connect.
    pub async fn refresh(&mut self) {
        let settings = self.settings.clone();
        // The files may lie on a network file system that hangs.
        let found = tokio::task::spawn_blocking(move || read(&settings)).await;
        match found.unwrap_or_else(|err| Err(format!("reading the key files failed ({err})"))) {
            Ok((identity, host_keys)) => {
                self.say(warnings(&host_keys));
                self.identity = identity;
                self.host_keys = host_keys;
            }
            Err(err) => self.say(vec![format!("{err}; going on with what was read before")]),
        }
    }

    /// Reads the files again because a person asked for it, and always says what came of it.
    pub async fn reload(&mut self) {
        self.said.clear();
        self.refresh().await;
        tracing::info!(
            key = self.identity.describe(),
            "read the key and host key files again; they count from the next connection on"
        );
    }

    /// The key that logs in.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The keys that each server on the way may have, in the order of [`Settings::hops`].
    pub fn host_keys(&self) -> impl Iterator<Item = Arc<HostKeys>> {
        self.host_keys.iter().map(Arc::clone)
    }

    fn say(&mut self, words: Vec<String>) {
        for word in words.iter().filter(|w| !self.said.contains(w)) {
            tracing::warn!("{word}");
        }
        self.said = words;
    }
}

/// Each once: several servers may be in one file.
fn warnings(host_keys: &[Arc<HostKeys>]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for warning in host_keys.iter().flat_map(|keys| &keys.warnings) {
        if !all.contains(warning) {
            all.push(warning.clone());
        }
    }
    all
}

fn read(settings: &Settings) -> Result<(Identity, Vec<Arc<HostKeys>>), String> {
    if settings.engine.system().is_some() {
        // The business of ssh, which reads them afresh each time.
        return Ok((Identity::of_ssh(&settings.identity), Vec::new()));
    }
    let identity = Identity::load(&settings.identity).map_err(|err| err.to_string())?;
    let host_keys = settings.hops().map(|hop| HostKeys::load(&settings.host_keys, &hop.server.host, hop.server.port));
    let host_keys: Result<Vec<_>, _> = host_keys.map(|keys| keys.map(Arc::new)).collect();
    let host_keys = host_keys.map_err(|err| err.to_string())?;
    if !settings.jumps.is_empty() && host_keys.iter().any(|keys| keys.nameless()) {
        return Err("the host key file has keys that name no host and so count for every one: behind -proxyjump, a jump host could \
             pass for the server; name the host in each line, as ssh-keyscan prints it"
            .into());
    }
    Ok((identity, host_keys))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    use interlink_transport::Endpoint;

    use super::*;
    use crate::config::{Direction, Engine, Forward, Remote, Server};
    use crate::hostkeys::Source;
    use crate::identity;

    fn settings(dir: &Path) -> Settings {
        let key_file = dir.join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key_file).status();
        assert!(made.unwrap().success());
        fs::copy(dir.join("key.pub"), dir.join("hosts")).unwrap();
        Settings {
            server: Server { host: "login".into(), port: 22 },
            user: "me".into(),
            jumps: Vec::new(),
            engine: Engine::BuiltIn,
            identity: identity::Source { key_file: Some(key_file), ..identity::Source::default() },
            host_keys: Source::File(dir.join("hosts")),
            forwards: vec![Forward {
                name: "tunnel".into(),
                direction: Direction::Forward,
                local: Endpoint::unix(&dir.join("t.sock")).unwrap(),
                remote: Remote::Port(4000),
            }],
            connections: 1,
            metrics: None,
            log_file: None,
            warnings: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            wait: Duration::from_secs(1),
            state_socket: None,
            check: false,
            verbose: false,
            ignored: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_file_that_went_bad_leaves_what_was_read_before() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let mut credentials = Credentials::load(&settings).unwrap();
        let before = credentials.identity().describe();
        fs::write(dir.path().join("key"), "").unwrap();
        fs::write(dir.path().join("hosts"), "").unwrap();
        credentials.reload().await;
        assert_eq!(credentials.identity().describe(), before);
        assert_eq!(credentials.host_keys().next().unwrap().trust().known.len(), 1);
        assert_eq!(Credentials::load(&settings).unwrap_err().code, 78);
    }

    #[tokio::test]
    async fn a_new_key_counts_after_a_reload() {
        let dir = tempfile::tempdir().unwrap();
        let mut credentials = Credentials::load(&settings(dir.path())).unwrap();
        let before = credentials.identity().describe();
        fs::remove_file(dir.path().join("key")).unwrap();
        settings(dir.path());
        credentials.refresh().await;
        assert_ne!(credentials.identity().describe(), before);
    }
}

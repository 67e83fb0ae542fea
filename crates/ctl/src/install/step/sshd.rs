//! sshd's Match block for the account: tested before it is live, reloaded, and what holds read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::file::diff;
use super::{Seen, Site, Step, removed};
use crate::install::atomic;
use crate::install::record::digest;
use crate::install::system::{self, QUICK};
use crate::install::wishes::Via;

/// sshd's configuration.
pub const MAIN: &str = "/etc/ssh/sshd_config";
/// Its directory of fragments, since OpenSSH 8.2.
pub const FRAGMENTS: &str = "/etc/ssh/sshd_config.d";
const BEGIN: &str = "# interlink begins: written by interlinkctl install, removed by interlinkctl uninstall\n";
const END: &str = "# interlink ends\n";

/// Where the block goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of its own.
    Fragment(PathBuf),
    /// The end of the configuration itself, where fragments are not read.
    Appended(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Fragment(path) | Self::Appended(path) => path,
        }
    }
}

/// A Match block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where it goes.
    pub place: Place,
    /// Its text.
    pub text: String,
    /// The account that it is about.
    pub account: String,
    /// What it allows.
    pub via: Via,
}

/// The configuration with the block at its end, in place of an earlier one.
#[must_use]
pub fn appended(main: &str, block: &str) -> String {
    let mut text = without(main);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + BEGIN + block + END
}

/// The configuration without our block.
#[must_use]
pub fn without(main: &str) -> String {
    match (main.find(BEGIN), main.find(END)) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &main[..from], &main[to + END.len()..]),
        _ => main.to_owned(),
    }
}

/// Whether a configuration reads the directory of fragments.
#[must_use]
pub fn reads_fragments(main: &str) -> bool {
    main.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("Include"))
            && words.any(|word| word.trim_matches('"').starts_with(FRAGMENTS))
    })
}

/// What of the block does not hold, by `sshd -T -C user=…`, each with what holds instead.
#[must_use]
pub fn disagreements(block: &str, via: Via, effective: &str) -> Vec<String> {
    let mut holds: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in effective.lines().filter_map(|line| line.split_once(' ')) {
        let all = holds.entry(key.to_ascii_lowercase()).or_default();
        *all = format!("{all} {value}").trim().to_owned();
    }
    let mut wrong = Vec::new();
    for line in block.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with("Match ")) {
        let Some((key, value)) = line.split_once(' ') else { continue };
        // an sshd that does not print it is one that does not tell
        if let Some(found) = holds.get(&key.to_ascii_lowercase()).filter(|found| !found.eq_ignore_ascii_case(value)) {
            wrong.push(format!("{key} is {found} and not {value}"));
        }
    }
    let command = holds.get("forcecommand").map_or("none", String::as_str);
    if via == Via::Rexec && command != "none" {
        wrong.push(format!("ForceCommand {command} wins over the key's own command"));
    }
    if holds.get("pubkeyauthentication").is_some_and(|value| value == "no") {
        wrong.push("PubkeyAuthentication is no, so no key logs in".to_owned());
    }
    wrong
}

impl Match {
    fn there(&self) -> Result<Option<String>, String> {
        match fs::read_to_string(self.place.path()) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} can't be read: {error}", self.place.path().display())),
        }
    }

    fn wanted(&self, there: Option<&str>) -> String {
        match self.place {
            Place::Fragment(_) => self.text.clone(),
            Place::Appended(_) => appended(there.unwrap_or_default(), &self.text),
        }
    }

    /// `sshd -t` on the configuration with the block at its end, before anything is live.
    async fn tested(&self) -> Result<(), String> {
        let main = fs::read_to_string(MAIN).map_err(|e| format!("{MAIN} can't be read: {e}"))?;
        let trial = PathBuf::from("/etc/ssh/.interlink-trial");
        atomic::write(&trial, appended(&without(&main), &self.text).as_bytes(), 0o600, None)?;
        let said = test(&["-t", "-f", "/etc/ssh/.interlink-trial"]).await;
        let _ = fs::remove_file(&trial);
        let said = said?;
        if said.ok() { Ok(()) } else { Err(format!("sshd refuses the Match block: {}", said.why())) }
    }

    async fn effective(&self) -> Result<(), String> {
        let user = format!("user={},host=localhost,addr=127.0.0.1", self.account);
        let said = test(&["-T", "-C", &user]).await?;
        if !said.ok() {
            return Err(format!("what holds for {} can't be read back: sshd -T says {}", self.account, said.why()));
        }
        let wrong = disagreements(&self.text, self.via, &said.out);
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!(
            "sshd has another opinion about {}: {}; another Match block comes first: exclude {0} from it \
             (Match User *,!{0}) and run this again",
            self.account,
            wrong.join("; ")
        ))
    }
}

/// What it has, where it is there.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o7777)
}

async fn test(args: &[&str]) -> Result<system::Said, String> {
    // made by its unit; without it sshd refuses to judge
    let _ = fs::create_dir_all("/run/sshd");
    // it insists on being called by its whole path
    let sshd = system::find("sshd").ok_or("there is no sshd on this machine")?;
    system::run(&sshd.display().to_string(), args, QUICK).await
}

/// Has the running sshd read its configuration again.
///
/// # Errors
/// One sentence that says what to do by hand.
pub async fn reload() -> Result<(), String> {
    for unit in ["ssh.service", "sshd.service"] {
        if system::run("systemctl", ["is-active", "--quiet", unit], QUICK).await?.ok() {
            system::must("systemctl", ["reload", unit], QUICK).await?;
            return Ok(());
        }
    }
    // started for each connection: it reads the file each time
    for unit in ["ssh.socket", "sshd.socket"] {
        if system::run("systemctl", ["is-active", "--quiet", unit], QUICK).await?.ok() {
            return Ok(());
        }
    }
    let pid = fs::read_to_string("/run/sshd.pid").unwrap_or_default().trim().to_owned();
    if fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sshd") {
        return system::must("kill", ["-HUP", &pid], QUICK).await.map(drop);
    }
    Err("sshd runs neither as ssh.service nor as sshd.service: have it read its configuration again (kill -HUP), and run this again".into())
}

#[async_trait]
impl Step for Match {
    fn title(&self) -> String {
        format!("sshd: Match User {} in {}", self.account, self.place.path().display())
    }

    async fn look(&self, site: &Site) -> Result<Seen, String> {
        let there = self.there()?;
        let wanted = self.wanted(there.as_deref());
        Ok(match there {
            Some(there) if there == wanted && site.record.started.get("sshd") == Some(&digest(wanted.as_bytes())) => {
                Seen::AsWanted
            }
            Some(there) if there == wanted => Seen::Differs(vec!["+ reloaded".into()]),
            Some(there) => Seen::Differs(diff(&there, &wanted)),
            None => Seen::Missing(diff("", &wanted)),
        })
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        self.tested().await?;
        let there = self.there()?;
        let wanted = self.wanted(there.as_deref());
        let path = self.place.path();
        // sshd may be told to read a directory that nobody has made yet
        let _ = path.parent().map(fs::create_dir_all);
        let mode = mode(path);
        atomic::write(path, wanted.as_bytes(), mode, Some((0, 0)))?;
        let said = test(&["-t"]).await?;
        if !said.ok() {
            // back to what worked
            match &there {
                Some(there) => atomic::write(path, there.as_bytes(), mode, Some((0, 0)))?,
                None => drop(removed(fs::remove_file(path), path)?),
            }
            return Err(format!("sshd refuses its configuration: {}; mend that and run this again", said.why()));
        }
        site.record.files.insert(path.to_owned(), digest(wanted.as_bytes()));
        reload().await?;
        self.effective().await?;
        site.record.started.insert("sshd".to_owned(), digest(wanted.as_bytes()));
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        site.record.started.remove("sshd");
        // one that was not there before, and whose run died before it could note what it laid down
        let begun = site.record.made.contains(&self.title());
        let appended = matches!(self.place, Place::Appended(_));
        if site.record.files.remove(self.place.path()).is_none() && !begun && !appended {
            return Ok(false);
        }
        let path = self.place.path();
        let gone = match &self.place {
            Place::Fragment(_) => removed(fs::remove_file(path), path)?,
            Place::Appended(_) => {
                let there = self.there()?.unwrap_or_default();
                let rest = without(&there);
                if rest != there {
                    atomic::write(path, rest.as_bytes(), mode(path), Some((0, 0)))?;
                }
                rest != there
            }
        };
        if gone {
            reload().await?;
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::templates;

    #[test]
    fn the_block_at_the_end_replaces_an_earlier_one_and_goes_again() {
        let main = "Port 22\nUsePAM yes";
        let once = appended(main, "Match User a\n    PermitTTY no\n");
        let twice = appended(&once, "Match User b\n");
        assert!(twice.starts_with("Port 22\nUsePAM yes\n# interlink begins") && !twice.contains("User a"), "{twice}");
        assert_eq!(without(&twice), "Port 22\nUsePAM yes\n");
    }

    #[test]
    fn fragments_are_read_where_they_are_included() {
        assert!(reads_fragments("# x\nInclude /etc/ssh/sshd_config.d/*.conf\n"));
        assert!(reads_fragments("include \"/etc/ssh/sshd_config.d/*.conf\"\n"));
        assert!(!reads_fragments("#Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n"));
    }

    #[test]
    fn what_does_not_hold_is_named_with_what_holds() {
        let good = "authenticationmethods publickey\ndisableforwarding yes\npermittty no\npermituserrc no\npermittunnel no\nforcecommand none\npubkeyauthentication yes\n";
        assert_eq!(disagreements(templates::SSHD_REXEC, Via::Rexec, good), [""; 0]);
        for (from, to, said) in [
            ("disableforwarding yes", "disableforwarding no", "DisableForwarding is no and not yes"),
            ("forcecommand none", "forcecommand /bin/x", "ForceCommand /bin/x wins over the key's own command"),
            ("pubkeyauthentication yes", "pubkeyauthentication no", "no key logs in"),
        ] {
            let found = disagreements(templates::SSHD_REXEC, Via::Rexec, &good.replace(from, to));
            assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
        }
    }
}

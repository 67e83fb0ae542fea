//! The SSH server's own keys: named, on record, or asked for once.

use std::path::{Path, PathBuf};

use super::system::{self, QUICK};

/// The keys as lines that ssh-tunnel reads, and where they are from.
///
/// # Errors
/// One sentence: why there are none, and what to do.
pub async fn find(
    named: Option<&str>,
    on_record: &Path,
    server: Option<(String, u16)>,
) -> Result<(String, String), String> {
    if let Some(named) = named {
        let text = match std::fs::read_to_string(named) {
            Ok(text) => text,
            Err(_) if is_key(named) => named.to_owned(),
            Err(error) => return Err(format!("--host-key {named} is neither a key nor a file: {error}")),
        };
        let lines = lines(&text);
        return if lines.is_empty() {
            Err(format!("--host-key {named} holds no key; on the SSH server it is /etc/ssh/ssh_host_ed25519_key.pub"))
        } else {
            Ok((lines, "--host-key".into()))
        };
    }
    if let Ok(text) = std::fs::read_to_string(on_record) {
        return Ok((text, format!("{}, where it was", on_record.display())));
    }
    let Some((host, port)) = server else { return Err("--addr is missing".into()) };
    let name = if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
    for file in known_hosts() {
        let found = system::run("ssh-keygen", ["-F", &name, "-f", &file.display().to_string()], QUICK).await;
        let lines = found.map(|said| lines(&said.out)).unwrap_or_default();
        if !lines.is_empty() {
            return Ok((lines, format!("{}, where it is on record", file.display())));
        }
    }
    let scanned = system::run("ssh-keyscan", ["-T", "10", "-p", &port.to_string(), &host], QUICK).await;
    let lines = scanned.map(|said| lines(&said.out)).unwrap_or_default();
    if lines.is_empty() {
        return Err(format!(
            "the keys of the SSH server {name} are not known, and it does not answer: name them with --host-key \
             (there: /etc/ssh/ssh_host_ed25519_key.pub), or use --remote"
        ));
    }
    let prints = fingerprints(&lines).await;
    Ok((
        lines,
        format!(
            "the server itself, unverified: compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there: {prints}"
        ),
    ))
}

/// The lines that hold keys.
#[must_use]
pub fn lines(text: &str) -> String {
    text.lines().filter(|line| is_key(line)).map(|line| format!("{}\n", line.trim())).collect()
}

fn is_key(line: &str) -> bool {
    !line.trim_start().starts_with('#')
        && line.split_whitespace().any(|word| word.starts_with("ssh-") || word.starts_with("ecdsa-"))
}

/// SHA256 of each key, as `ssh-keygen -l` shows it.
pub async fn fingerprints(lines: &str) -> String {
    let said = system::with_input("ssh-keygen", ["-l", "-f", "-"], lines, QUICK).await.unwrap_or_default();
    let each = said.out.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(format!("{} {}", words.get(1)?, words.last()?))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Of root, of the person behind sudo, and of the machine.
fn known_hosts() -> Vec<PathBuf> {
    let behind = std::env::var("SUDO_USER").ok();
    let behind = behind.and_then(|name| nix::unistd::User::from_name(&name).ok().flatten()).map(|user| user.dir);
    let own = std::env::var_os("HOME").map(PathBuf::from);
    let mut files: Vec<PathBuf> = behind.into_iter().chain(own).map(|home| home.join(".ssh/known_hosts")).collect();
    files.push("/etc/ssh/ssh_known_hosts".into());
    files.retain(|file| file.is_file());
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_keys_count() {
        let text =
            "# host:22 SSH-2.0-OpenSSH_9.2\nhost ssh-ed25519 AAAA\n\n|1|x|y= ecdsa-sha2-nistp256 BBBB\nnothing\n";
        assert_eq!(lines(text), "host ssh-ed25519 AAAA\n|1|x|y= ecdsa-sha2-nistp256 BBBB\n");
    }

    #[tokio::test]
    async fn a_named_key_wins_and_a_named_nothing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("host_key");
        std::fs::write(&record, "ssh-ed25519 OLD\n").unwrap();
        let found = find(Some("ssh-ed25519 NEW x"), &record, None).await.unwrap();
        assert_eq!(found.0, "ssh-ed25519 NEW x\n");
        assert_eq!(find(None, &record, None).await.unwrap().0, "ssh-ed25519 OLD\n");
        std::fs::write(&record, "").unwrap();
        let why = find(record.to_str(), &record, None).await.unwrap_err();
        assert!(why.contains("holds no key"), "{why}");
        assert!(find(Some("/nowhere"), &record, None).await.unwrap_err().contains("neither a key nor a file"));
    }
}

//! What keeps an installation from beginning: each in one sentence with its remedy. Nothing has been changed by then.

use base64::Engine as _;

use super::facts::Facts;
use super::nodes::Nodes;
use super::place::Place;
use super::plan;
use super::step::firewall;
use super::wishes::{Role, Wishes};

/// What an operator must mend first, and what is only to be known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// These keep it from beginning.
    pub refused: Vec<String>,
    /// These don't.
    pub warned: Vec<String>,
}

/// Judges.
#[must_use]
pub fn judge(role: Role, wishes: &Wishes, facts: &Facts, place: &Place) -> Verdict {
    let mut verdict = Verdict::default();
    let mut refuse = |sentence: String| verdict.refused.push(sentence);
    if place.me.is_none() {
        if !facts.root {
            refuse("this needs root: put sudo before it, or install for yourself alone with --user".into());
        }
        if !facts.systemd {
            refuse("systemd does not run this machine: with --user the services run as your own processes".into());
        }
    }
    for file in &facts.missing {
        refuse(format!("the program {} is missing: name the folder with the programs with --bin-dir", file.display()));
    }
    for sentence in &facts.busy {
        refuse(sentence.clone());
    }
    match role {
        Role::Local => local(wishes, facts, &mut verdict),
        Role::Remote => remote(wishes, facts, place, &mut verdict),
    }
    verdict
}

fn local(wishes: &Wishes, facts: &Facts, verdict: &mut Verdict) {
    match (&wishes.addr, wishes.server()) {
        (None, _) => verdict.refused.push(
            "the SSH server is not known: name it with --addr HOST[:PORT], or with --remote USER@HOST, which installs \
             that end too"
                .into(),
        ),
        (Some(addr), None) => verdict.refused.push(format!("--addr {addr} is not HOST or HOST:PORT")),
        (Some(_), Some(_)) if facts.host_keys.is_none() => verdict.refused.push(facts.host_keys_from.clone()),
        (Some(_), Some(_)) => {}
    }
    let name = wishes.nodename();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !name.chars().all(fits) || !ends(name.chars().next()) || !ends(name.chars().last()) || name.len() > 200 {
        verdict.refused.push(format!(
            "--nodename {name:?} is no name for a node: lower case letters, digits, - and ., a letter or digit at each end"
        ));
    }
    if facts.operators_kubeconfig.is_none() {
        if facts.own_kubeconfig {
            verdict.warned.push(
                "without an administrator's kubeconfig (--kubeconfig) the rights in the cluster stay as they are"
                    .into(),
            );
        } else {
            verdict.refused.push(
                "there is no administrator's kubeconfig, with which the virtual kubelet gets its own: name one with --kubeconfig"
                    .into(),
            );
        }
    }
}

fn remote(wishes: &Wishes, facts: &Facts, place: &Place, verdict: &mut Verdict) {
    let account = place.me.as_ref().map_or(wishes.account(), |me| &me.name);
    let jobs = plan::jobs(wishes, place);
    if !jobs.is_absolute() {
        verdict.refused.push(format!("--jobs {} is not an absolute path", jobs.display()));
    }
    // what systemd takes apart in ReadWritePaths=, and YAML in quotes
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\"'\\%$".contains(c);
    if !jobs.to_string_lossy().chars().all(plain) {
        verdict.refused.push(format!(
            "--jobs {:?} can't be written into a unit: name a directory without blanks, quotes, backslashes, % and $",
            jobs.display().to_string()
        ));
    }
    if let Some(key) = wishes.public_key.as_ref().filter(|key| !is_public_key(key)) {
        // not all of it: it may be a private one
        let begins: String = key.chars().take(24).collect();
        verdict
            .refused
            .push(format!("--public-key {begins:?} is no public key: it begins with its type (ssh-ed25519 AAAA…)"));
    }
    if place.me.is_none() && facts.account == Some(0) {
        verdict.refused.push(format!(
            "--account {account} is root, whose logins sshd's Match block would bind to the tunnel: name an account of \
             the services' own"
        ));
    }
    if place.me.is_none() && facts.person.as_deref() == Some(account) {
        verdict.warned.push(format!(
            "--account {account} is your own, and sshd's Match block takes its terminal and its password away: better \
             name an account of the services' own, or install for yourself alone with --user"
        ));
    }
    if let Some(from) = wishes.from.as_ref().filter(|from| !firewall::is_address(from)) {
        verdict.refused.push(format!(
            "--from {from:?} is no address: 192.0.2.7, 192.0.2.0/24 or 2001:db8::7, as the SSH server sees the tunnel come"
        ));
    }
    if place.me.is_none() && facts.sshd.is_none() {
        verdict
            .refused
            .push("there is no sshd here, or /etc/ssh/sshd_config can't be read: the tunnel ends at one".into());
    }
    match &facts.nodes {
        Nodes::NotAsked => {}
        Nodes::Silent(why) => verdict.warned.push(format!(
            "no compute node could be asked whether it knows the account {account} and sees {}: {why}",
            jobs.display()
        )),
        Nodes::Says { node, account: there, sees_jobs } => {
            match (there, facts.account) {
                (None, _) => verdict.refused.push(format!(
                    "the compute node {node} does not know the account {account}: make it there with the same number, \
                     or name one that it knows with --account"
                )),
                (Some(there), Some(here)) if *there != here => verdict.refused.push(format!(
                    "the account {account} is number {there} on the compute node {node} and {here} here: give it one \
                     number, or name another with --account"
                )),
                (Some(there), None) => verdict.refused.push(format!(
                    "the compute node {node} knows the account {account} and this machine does not: make it here with \
                     the same number (useradd --uid {there})"
                )),
                (Some(_), Some(_)) => {}
            }
            if *sees_jobs == Some(false) {
                verdict.refused.push(format!(
                    "the compute node {node} does not see what is written below {}: name a directory on a file system \
                     that all nodes share with --jobs",
                    jobs.display()
                ));
            }
        }
    }
}

/// One line: a type, and what begins with the same type in base64. By its second word the line is found again in
/// authorized_keys, so nothing else may stand there.
fn is_public_key(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let (Some(kind), Some(body), 1) = (words.next(), words.next(), text.lines().count()) else { return false };
    let body = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
    let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
    body.strip_prefix(&length).is_some_and(|rest| rest.starts_with(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me@laptop";

    #[test]
    fn a_public_key_is_one_line_and_no_other_word_is_taken_for_it() {
        for (text, is) in [
            (KEY.to_owned(), true),
            (KEY.trim_end_matches(" me@laptop").to_owned(), true),
            (format!("restrict {KEY}"), false),
            (format!("{KEY}\n{KEY}"), false),
            ("ssh-ed25519 AAAA".to_owned(), false),
            (KEY.replace("ssh-ed25519 ", "ssh-rsa "), false),
        ] {
            assert_eq!(is_public_key(&text), is, "{text}");
        }
    }

    #[test]
    fn a_private_key_given_by_mistake_is_not_shown() {
        let text = "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n-----END OPENSSH PRIVATE KEY-----";
        let wishes = Wishes { public_key: Some(text.into()), ..Wishes::default() };
        let refused = judge(Role::Remote, &wishes, &good(), &Place::system()).refused;
        assert!(refused.len() == 1 && !refused[0].contains("SECRET"), "{refused:?}");
    }

    fn good() -> Facts {
        Facts {
            root: true,
            systemd: true,
            account: Some(990),
            group: "interlink".into(),
            sshd: Some(String::new()),
            host_keys: Some("ssh-ed25519 A\n".into()),
            operators_kubeconfig: Some("/root/.kube/config".into()),
            ..Facts::default()
        }
    }

    fn local_wishes() -> Wishes {
        Wishes { addr: Some("hpc".into()), ..Wishes::default() }
    }

    fn says(account: Option<u32>, sees_jobs: Option<bool>) -> Nodes {
        Nodes::Says { node: "n1".into(), account, sees_jobs }
    }

    #[test]
    fn a_machine_in_order_is_not_refused() {
        let place = Place::system();
        assert_eq!(judge(Role::Local, &local_wishes(), &good(), &place), Verdict::default());
        let facts = Facts { nodes: says(Some(990), Some(true)), ..good() };
        assert_eq!(judge(Role::Remote, &Wishes::default(), &facts, &place), Verdict::default());
    }

    #[test]
    fn each_reason_is_one_sentence_with_its_remedy() {
        type Change = fn(&mut Facts, &mut Wishes);
        let cases: [(Role, Change, &str); 19] = [
            (Role::Local, |f, _| f.root = false, "put sudo before it"),
            (Role::Local, |f, _| f.systemd = false, "--user"),
            (Role::Local, |f, _| f.missing.push("/x/interlink".into()), "--bin-dir"),
            (Role::Local, |f, _| f.busy.push("the TCP port 10250 is in use".into()), "10250"),
            (Role::Local, |_, w| w.addr = None, "--remote USER@HOST"),
            (Role::Local, |_, w| w.addr = Some("me@hpc".into()), "is not HOST or HOST:PORT"),
            (
                Role::Local,
                |f, _| (f.host_keys, f.host_keys_from) = (None, "not known: --host-key".into()),
                "--host-key",
            ),
            (Role::Local, |_, w| w.nodename = Some("My Node".into()), "is no name for a node"),
            (Role::Local, |f, _| f.operators_kubeconfig = None, "--kubeconfig"),
            (Role::Remote, |_, w| w.jobs = Some("jobs".into()), "--jobs jobs is not an absolute path"),
            (Role::Remote, |_, w| w.jobs = Some("/shared/my jobs".into()), "without blanks"),
            (Role::Remote, |_, w| w.public_key = Some("AAAA".into()), "is no public key"),
            // a line of ssh-keyscan, whose second word every other ed25519 key has, too
            (Role::Remote, |_, w| w.public_key = Some(format!("hpc {KEY}")), "is no public key"),
            (Role::Remote, |f, _| f.account = Some(0), "is root"),
            (Role::Remote, |_, w| w.from = Some("hpc to any".into()), "--from \"hpc to any\" is no address"),
            (Role::Remote, |f, _| f.sshd = None, "there is no sshd here"),
            (Role::Remote, |f, _| f.nodes = says(None, None), "n1 does not know the account interlink"),
            (Role::Remote, |f, _| f.nodes = says(Some(5), None), "is number 5 on the compute node n1 and 990 here"),
            (Role::Remote, |f, _| f.nodes = says(Some(990), Some(false)), "with --jobs"),
        ];
        for (role, change, said) in cases {
            let (mut facts, mut wishes) = (good(), local_wishes());
            change(&mut facts, &mut wishes);
            let found = judge(role, &wishes, &facts, &Place::system()).refused;
            assert!(found.len() == 1 && found[0].contains(said), "{said}: {found:?}");
        }
    }

    #[test]
    fn who_would_bind_an_own_login_is_told() {
        let facts = Facts { person: Some("interlink".into()), ..good() };
        let verdict = judge(Role::Remote, &Wishes::default(), &facts, &Place::system());
        assert!(verdict.refused.is_empty() && verdict.warned[0].contains("is your own"), "{verdict:?}");
    }

    #[test]
    fn a_batch_system_that_does_not_answer_is_only_said() {
        let facts = Facts { nodes: Nodes::Silent("no room".into()), ..good() };
        let verdict = judge(Role::Remote, &Wishes::default(), &facts, &Place::system());
        assert!(verdict.refused.is_empty() && verdict.warned[0].contains("no room"), "{verdict:?}");
    }
}

//! From wishes and facts to steps: no I/O here.

mod local;
mod remote;
mod unit;

use std::path::PathBuf;

use super::facts::Facts;
use super::keep::{Kept, Program};
use super::place::Place;
use super::step::Plan;
use super::step::account::{Account, Owner};
use super::step::directory::Directory;
use super::step::file::File;
use super::step::keeper::Keeper;
use super::step::linger::Linger;
use super::step::service::Service;
use super::templates;
use super::wishes::{Role, Wishes};

pub use remote::jobs;
pub(crate) use remote::scheduler;
pub use unit::{at_home, of_account};

/// What is to be planned.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// What is asked for.
    pub wishes: &'a Wishes,
    /// What is known of the machine.
    pub facts: &'a Facts,
    /// Where it goes.
    pub place: &'a Place,
}

/// The steps of a role, in the order in which they are made; they are undone in the reverse order.
#[must_use]
pub fn plan(role: Role, task: Task<'_>) -> Plan {
    match role {
        Role::Local => local::plan(task),
        Role::Remote => remote::plan(task),
    }
}

impl Task<'_> {
    fn name(self) -> String {
        match &self.place.me {
            Some(me) => me.name.clone(),
            None => self.wishes.account().to_owned(),
        }
    }

    /// The role's own directory and the account. The directory comes first: the record is in it.
    fn foundation(self, role: Role) -> Plan {
        let prefix = self.place.prefix(role);
        let mut plan: Plan = vec![Box::new(Directory::new(prefix, 0o755, self.place.root()))];
        if self.place.me.is_none() {
            let login = role == Role::Remote;
            plan.push(Box::new(Account { name: self.name(), home: prefix.to_owned(), login }));
        }
        for folder in ["bin", "config"] {
            plan.push(Box::new(Directory::new(prefix.join(folder), 0o755, self.place.root())));
        }
        if let Some(me) = &self.place.me {
            if me.manager {
                plan.push(Box::new(Directory { strict: false, ..Directory::new(&self.place.units, 0o755, Owner::Us) }));
                plan.push(Box::new(Linger(me.name.clone())));
            } else {
                // the local end has it for the account anyway
                let logs = Directory { strict: false, ..Directory::new(prefix.join("logs"), 0o700, Owner::Us) };
                plan.push(Box::new(logs));
            }
        }
        plan
    }

    /// Units and their services, or one background process where there is no service manager.
    fn services(self, role: Role, units: Vec<File>, services: Vec<Service>, kept: Vec<Program>) -> Plan {
        let mut plan: Plan = Vec::new();
        if self.place.me.as_ref().is_none_or(|me| me.manager) {
            for unit in units {
                plan.push(Box::new(unit));
            }
            for service in services {
                plan.push(Box::new(service));
            }
            return plan;
        }
        let kept = Kept { runtime: self.place.runtime.clone(), programs: kept };
        let text = serde_json::to_string_pretty(&kept).unwrap_or_default() + "\n";
        let file = self.config(role, "keep.json", text);
        let mut files: Vec<PathBuf> = services
            .into_iter()
            .flat_map(|service| service.files)
            .filter(|file| !file.starts_with(&self.place.units))
            .collect();
        files.push(file.path.clone());
        plan.push(Box::new(file));
        plan.push(Box::new(Keeper { dir: self.place.prefix(role).to_owned(), files }));
        plan
    }

    fn program(self, role: Role, from: &str, to: &str) -> File {
        let path = self.place.prefix(role).join("bin").join(to);
        File::program(path, self.facts.bin_dir.join(from), self.place.root())
    }

    fn config(self, role: Role, name: &str, text: String) -> File {
        let path = self.place.prefix(role).join("config").join(name);
        File::text(path, text, 0o640, self.place.readable_by(&self.name()))
    }

    fn unit(self, name: &str, template: &str) -> File {
        let text = match &self.place.me {
            Some(_) => self.place.text(&at_home(template)),
            None => of_account(template, &self.name(), &self.facts.group),
        };
        File::text(self.place.units.join(name), text, 0o644, self.place.root())
    }

    /// Rotation of log files, for who told a program to write one.
    fn logrotate(self) -> Option<File> {
        if !self.facts.logrotate || self.place.me.is_some() {
            return None;
        }
        let both = format!("{} {}", self.name(), self.facts.group);
        let text = templates::LOGROTATE.replace("interlink interlink", &both);
        let path = PathBuf::from("/etc/logrotate.d/interlink-tunneled");
        let mut file = File::text(path, text, 0o644, self.place.root());
        file.common = true;
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::place::Me;
    use crate::install::step::firewall::Firewall;
    use crate::install::wishes::Via;

    fn facts() -> Facts {
        Facts {
            root: true,
            systemd: true,
            group: "interlink".into(),
            bin_dir: "/srv".into(),
            sshd: Some("Include /etc/ssh/sshd_config.d/*.conf\n".into()),
            ssh_port: 22,
            logrotate: true,
            host_keys: Some("hpc ssh-ed25519 AAAA\n".into()),
            operators_kubeconfig: Some("/root/.kube/config".into()),
            ..Facts::default()
        }
    }

    fn wishes() -> Wishes {
        Wishes { addr: Some("hpc".into()), public_key: Some("ssh-ed25519 AAAA".into()), ..Wishes::default() }
    }

    fn me(manager: bool) -> Place {
        Place::of(Me { name: "me".into(), uid: 1000, home: "/home/me".into(), manager })
    }

    fn titles(role: Role, wishes: &Wishes, facts: &Facts, place: &Place) -> Vec<String> {
        plan(role, Task { wishes, facts, place }).iter().map(|step| step.title()).collect()
    }

    #[test]
    fn the_local_end_is_made_in_this_order() {
        let titles = titles(Role::Local, &wishes(), &facts(), &Place::system());
        let wanted = [
            "directory /opt/interlink",
            "account interlink",
            "SSH key /opt/interlink/.ssh/id_ed25519",
            "file /opt/interlink/.ssh/host_key",
            "file /opt/interlink/bin/ssh-tunnel",
            "file /opt/interlink/config/tunnel.env",
            "file /etc/logrotate.d/interlink-tunneled",
            "ClusterRole interlink-interlink-node in the cluster",
            "kubeconfig /opt/interlink/.kube/config",
            "file /etc/systemd/system/interlink-tunnel.service",
            "service interlink-tunnel.service",
            "service interlink-api.service",
            "service interlink-virtual-kubelet.service",
            "service interlink-tunneled-health-check.timer",
        ];
        let places: Vec<_> = wanted.iter().map(|wanted| titles.iter().position(|title| title == wanted)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {titles:#?}");
    }

    #[test]
    fn the_remote_end_is_made_in_this_order() {
        let titles = titles(Role::Remote, &wishes(), &facts(), &Place::system());
        let wanted = [
            "directory /opt/interlink-plugin",
            "account interlink",
            "directory /opt/interlink-plugin/jobs",
            "file /opt/interlink-plugin/bin/plugin",
            "the tunnel's key in /opt/interlink-plugin/.ssh/authorized_keys",
            "sshd: Match User interlink in /etc/ssh/sshd_config.d/interlink.conf",
            "file /etc/systemd/system/interlink-remote-plugin.service",
            "service interlink-remote-plugin.service",
        ];
        let places: Vec<_> = wanted.iter().map(|wanted| titles.iter().position(|title| title == wanted)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {titles:#?}");
    }

    #[test]
    fn a_user_touches_nothing_of_the_machines() {
        for (role, manager) in [(Role::Local, true), (Role::Local, false), (Role::Remote, true), (Role::Remote, false)]
        {
            let facts = Facts { account_home: Some("/home/me".into()), ..facts() };
            let titles = titles(role, &wishes(), &facts, &me(manager));
            for title in &titles {
                assert!(!["/etc", "/opt", "/var", "account ", "sshd"].iter().any(|of| title.contains(of)), "{title}");
            }
            let background = titles.iter().any(|title| title.starts_with("background process"));
            assert_eq!((background, titles.iter().any(|title| title.starts_with("service "))), (!manager, manager));
        }
    }

    #[test]
    fn no_rule_of_any_firewall_opens_the_plugin() {
        let chain = || vec![["inet", "filter", "input"].map(str::to_owned)];
        let firewalls = [Firewall::Ufw, Firewall::Firewalld, Firewall::Nftables { input: chain(), output: chain() }];
        for firewall in firewalls {
            for via in [Via::Rexec, Via::Rport, Via::Rsock] {
                let facts = Facts { firewall: Some(firewall.clone()), ..facts() };
                let wishes = Wishes { via: Some(via), from: Some("192.0.2.7".into()), ..wishes() };
                for role in [Role::Local, Role::Remote] {
                    let plan = plan(role, Task { wishes: &wishes, facts: &facts, place: &Place::system() });
                    let rules: Vec<String> = plan
                        .iter()
                        .map(|step| format!("{step:?}"))
                        .filter(|step| step.starts_with("Opening "))
                        .collect();
                    assert!(!rules.is_empty() && !rules.iter().any(|rule| rule.contains("4000")), "{rules:?}");
                }
            }
        }
    }
}

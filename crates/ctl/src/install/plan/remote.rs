//! The login node: the plugin.

use std::path::{Path, PathBuf};

use super::Task;
use crate::install::keep::Program;
use crate::install::place::Place;
use crate::install::step::Plan;
use crate::install::step::authorized::{Authorized, COMMENT};
use crate::install::step::directory::Directory;
use crate::install::step::firewall::{Opening, Pass};
use crate::install::step::leftover::Leftover;
use crate::install::step::service::Service;
use crate::install::step::sshd::{self, Match, Place as Where};
use crate::install::templates::{self, set, without};
use crate::install::wishes::{Role, Scheduler, Via, Wishes};

const ROLE: Role = Role::Remote;

/// The job directories.
#[must_use]
pub fn jobs(wishes: &Wishes, place: &Place) -> PathBuf {
    wishes.jobs.clone().unwrap_or_else(|| place.remote.join("jobs"))
}

pub(super) fn plan(task: Task<'_>) -> Plan {
    let Task { wishes, facts, place } = task;
    let prefix = &place.remote;
    let own = place.account(&task.name());
    let mut plan = task.foundation(ROLE);
    plan.push(Box::new(Directory::new(jobs(wishes, place), 0o700, own.clone())));
    for dir in [&place.runtime, &place.state] {
        plan.push(Box::new(Leftover(dir.clone())));
    }
    let program = task.program(ROLE, "interlink-plugin", "plugin");
    let operator = task.program(ROLE, "interlinkctl", "interlinkctl");
    let config = task.config(ROLE, "plugin-config.yaml", place.text(&plugin_config(task)));
    let environment = wishes.slurm_conf.as_ref().map(|path| {
        task.config(ROLE, "plugin.env", format!("# What the plugin is started with.\nSLURM_CONF={}\n", path.display()))
    });
    let unit = task.unit("interlink-remote-plugin.service", &plugin_unit(&jobs(wishes, place)));
    let mut service = Service {
        unit: "interlink-remote-plugin.service".into(),
        files: [&unit, &program, &config].map(|file| file.path.clone()).into(),
        manager: place.manager(),
    };
    service.files.extend(environment.as_ref().map(|file| file.path.clone()));
    let mut variables = vec![("PLUGIN_CONFIG", config.path.clone())];
    variables.extend(wishes.slurm_conf.clone().map(|conf| ("SLURM_CONF", conf)));
    let kept = Program {
        name: "plugin".into(),
        command: vec![program.path.display().to_string()],
        environment: variables.into_iter().map(|(key, path)| (key.to_owned(), path.display().to_string())).collect(),
    };
    for file in [program, operator, config].into_iter().chain(environment) {
        plan.push(Box::new(file));
    }
    if let Some(file) = task.logrotate() {
        plan.push(Box::new(Directory::new("/var/log/interlink", 0o750, own.clone())));
        plan.push(Box::new(file));
    }

    if let Some(key) = &wishes.public_key {
        let folder = facts.account_home.clone().unwrap_or_else(|| prefix.clone()).join(".ssh");
        plan.push(Box::new(Directory { strict: false, ..Directory::new(&folder, 0o700, own.clone()) }));
        plan.push(Box::new(Authorized {
            path: folder.join("authorized_keys"),
            line: authorized(wishes.via(), key, place),
            key: key.split_whitespace().nth(1).unwrap_or_default().to_owned(),
            owner: own,
        }));
    }
    if place.me.is_none()
        && let Some(main) = &facts.sshd
    {
        plan.push(Box::new(match_block(wishes.via(), &task.name(), main)));
    }
    if let (Some(from), None) = (&wishes.from, &place.me) {
        let pass = Pass::In { port: facts.ssh_port, from: Some(from.clone()) };
        let (firewall, why) = (facts.firewall.clone(), "SSH for the tunnel to the plugin".into());
        plan.push(Box::new(Opening { firewall, pass, why }));
    }
    let (mut units, mut services) = (vec![unit], vec![service]);
    if scheduler(wishes, facts.slurm.as_deref()) == Scheduler::Local {
        let pod = task.unit("interlink-local-pod@.service", templates::LOCAL_POD_UNIT);
        let socket = task.unit("interlink-local-pod.socket", templates::LOCAL_POD_SOCKET);
        // first: the plugin hands pods over to it
        services.insert(
            0,
            Service {
                unit: "interlink-local-pod.socket".into(),
                files: vec![socket.path.clone()],
                manager: place.manager(),
            },
        );
        units.extend([pod, socket]);
    }
    plan.extend(task.services(ROLE, units, services, vec![kept]));
    plan
}

fn plugin_config(task: Task<'_>) -> String {
    let Task { wishes, facts, place } = task;
    let mut text = templates::PLUGIN_CONFIG.to_owned();
    if wishes.via() == Via::Rport {
        text = set(&without(&without(&text, "Socket:"), "# A private socket"), "SidecarPort", ": ", "4000");
    }
    if let Some(jobs) = &wishes.jobs {
        text = set(&text, "DataRootFolder", ": ", &format!("\"{}/\"", jobs.display()));
    } else {
        text = set(&text, "DataRootFolder", ": ", &format!("\"{}/\"", jobs(wishes, place).display()));
    }
    match scheduler(wishes, facts.slurm.as_deref()) {
        Scheduler::Slurm => {
            for (key, name) in [("Sbatch", "sbatch"), ("Scancel", "scancel"), ("Squeue", "squeue"), ("Sinfo", "sinfo")]
            {
                if let Some(folder) = &facts.slurm {
                    text = set(&text, &format!("{key}Path"), ": ", &format!("\"{}/{name}\"", folder.display()));
                }
            }
        }
        Scheduler::Local => {
            text = set(&text, "Scheduler", ": ", "local");
            for key in ["SbatchPath:", "ScancelPath:", "SqueuePath:", "SinfoPath:"] {
                text = without(&text, key);
            }
        }
    }
    match wishes.runtime.or(facts.runtime) {
        Some(runtime) => set(&text, "ContainerRuntime", ": ", runtime.name()),
        None => text,
    }
}

/// Slurm where its commands are.
pub(crate) fn scheduler(wishes: &Wishes, slurm: Option<&Path>) -> Scheduler {
    wishes.scheduler.unwrap_or(if slurm.is_some() { Scheduler::Slurm } else { Scheduler::Local })
}

/// The unit may write where the jobs are.
fn plugin_unit(jobs: &Path) -> String {
    let place = format!("\nReadWritePaths=-{}\n", jobs.display());
    let mut unit = templates::PLUGIN_UNIT.replace("\nReadWritePaths=-/opt/interlink-plugin/jobs\n", &place);
    if ["/home", "/root", "/run/user"].iter().any(|hidden| jobs.starts_with(hidden)) {
        unit = unit.replace("\nProtectHome=yes\n", "\nProtectHome=no\n");
    }
    unit
}

/// The key's line, with its restriction.
fn authorized(via: Via, key: &str, place: &Place) -> String {
    let template = match via {
        Via::Rexec => templates::KEY_REXEC,
        Via::Rport => templates::KEY_RPORT,
        Via::Rsock => templates::KEY_RSOCK,
    };
    let line = template.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    // a comment would be where ours is
    let bare = key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    debug_assert!(line.ends_with(COMMENT));
    place.text(line).replace("PUBLIC-KEY", &bare)
}

fn match_block(via: Via, account: &str, main: &str) -> Match {
    let template = match via {
        Via::Rexec => templates::SSHD_REXEC,
        Via::Rport => templates::SSHD_RPORT,
        Via::Rsock => templates::SSHD_RSOCK,
    };
    let text = template.replace("\nMatch User interlink\n", &format!("\nMatch User {account}\n"));
    let text = text.replace("user=interlink,", &format!("user={account},"));
    let place = if sshd::reads_fragments(main) {
        Where::Fragment(Path::new(sshd::FRAGMENTS).join("interlink.conf"))
    } else {
        Where::Appended(sshd::MAIN.into())
    };
    Match { place, text, account: account.to_owned(), via }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_own_restriction_and_the_key_alone() {
        let key = "ssh-ed25519 AAAA me@laptop";
        for (via, begins) in [
            (
                Via::Rexec,
                "restrict,command=\"/opt/interlink-plugin/bin/plugin -SlurmConfigpath=/opt/interlink-plugin/config/plugin-config.yaml dial-stdio\" ",
            ),
            (Via::Rport, "restrict,port-forwarding,permitopen=\"localhost:4000\","),
            (Via::Rsock, "restrict,port-forwarding,command=\"/bin/false\" "),
        ] {
            let line = authorized(via, key, &Place::system());
            assert!(line.starts_with(begins) && line.ends_with(" ssh-ed25519 AAAA interlink-tunnel"), "{line}");
        }
    }

    #[test]
    fn job_directories_elsewhere_are_writable_and_below_home_visible() {
        let unit = plugin_unit(Path::new("/shared/jobs"));
        assert!(unit.contains("\nReadWritePaths=-/shared/jobs\n") && unit.contains("ProtectHome=yes"));
        assert!(plugin_unit(Path::new("/home/hpc/jobs")).contains("\nProtectHome=no\n"));
    }

    #[test]
    fn the_match_block_is_a_fragment_where_fragments_are_read() {
        let fragment = match_block(Via::Rexec, "hpc", "Include /etc/ssh/sshd_config.d/*.conf\n");
        assert_eq!(fragment.place, Where::Fragment("/etc/ssh/sshd_config.d/interlink.conf".into()));
        assert!(fragment.text.contains("\nMatch User hpc\n"));
        assert_eq!(match_block(Via::Rexec, "hpc", "").place, Where::Appended("/etc/ssh/sshd_config".into()));
    }
}

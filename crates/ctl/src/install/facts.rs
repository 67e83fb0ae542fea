//! What is known of the machine before anything is changed.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd;

use super::nodes::{self, Nodes};
use super::place::Place;
use super::plan;
use super::step::account;
use super::step::firewall::{self, Firewall};
use super::step::sshd;
use super::system::{self, QUICK};
use super::wishes::{Role, Runtime, Scheduler, Via, Wishes};
use super::{host_keys, keep};

/// The facts that a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether we are root.
    pub root: bool,
    /// Whether systemd runs this machine.
    pub systemd: bool,
    /// The account's number, home and group, where there is one.
    pub account: Option<u32>,
    /// The home of the account, where there is one.
    pub account_home: Option<PathBuf>,
    /// The account's group; its own name where it has yet to be made.
    pub group: String,
    /// Where the programs are.
    pub bin_dir: PathBuf,
    /// Programs that are not there.
    pub missing: Vec<PathBuf>,
    /// The person behind sudo.
    pub person: Option<String>,
    /// The folder of Slurm's commands.
    pub slurm: Option<PathBuf>,
    /// What runs containers here.
    pub runtime: Option<Runtime>,
    /// sshd's configuration, where there is an sshd.
    pub sshd: Option<String>,
    /// The port on which sshd listens.
    pub ssh_port: u16,
    /// The firewall in charge.
    pub firewall: Option<Firewall>,
    /// Whether log files are rotated here.
    pub logrotate: bool,
    /// An administrator's kubeconfig.
    pub operators_kubeconfig: Option<PathBuf>,
    /// Whether the virtual kubelet has its kubeconfig from an earlier time.
    pub own_kubeconfig: bool,
    /// The server's keys, or why they are not known.
    pub host_keys: Option<String>,
    /// Where those are from, or why there are none.
    pub host_keys_from: String,
    /// Ports and sockets that somebody else has: what, and what to do.
    pub busy: Vec<String>,
    /// What a compute node says.
    pub nodes: Nodes,
}

/// What is said beside the wishes, and not remembered.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The folder with the programs.
    pub bin_dir: Option<PathBuf>,
    /// An administrator's kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// The server's keys: a file, or a line.
    pub host_key: Option<String>,
    /// Whether compute nodes are asked.
    pub ask_nodes: bool,
    /// Whether nothing may be written, not even for a moment.
    pub dry: bool,
}

/// Looks at the machine.
///
/// # Errors
/// One sentence where it can't be looked at.
pub async fn gather(role: Role, wishes: &Wishes, place: &Place, around: &Around) -> Result<Facts, String> {
    let name = place.me.as_ref().map_or_else(|| wishes.account().to_owned(), |me| me.name.clone());
    let user = account::user(&name)?;
    let group = user.as_ref().and_then(|user| unistd::Group::from_gid(user.gid).ok().flatten());
    let bin_dir = self::programs(around.bin_dir.as_deref())?;
    let programs: &[&str] = match role {
        Role::Local => &["ssh-tunnel", "interlink", "virtual-kubelet", "interlinkctl"],
        Role::Remote => &["interlink-plugin", "interlinkctl"],
    };
    let slurm = system::find("sbatch").and_then(|file| file.parent().map(Path::to_owned));
    let mut facts = Facts {
        root: unistd::geteuid().is_root(),
        systemd: Path::new("/run/systemd/system").is_dir(),
        account: user.as_ref().map(|user| user.uid.as_raw()),
        account_home: user.map(|user| user.dir),
        group: group.map_or_else(|| name.clone(), |group| group.name),
        missing: programs.iter().map(|name| bin_dir.join(name)).filter(|file| !file.is_file()).collect(),
        bin_dir,
        person: std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()),
        runtime: runtime(wishes, slurm.is_some()),
        slurm,
        ssh_port: 22,
        logrotate: Path::new("/etc/logrotate.d").is_dir(),
        ..Facts::default()
    };
    if place.me.is_none() {
        facts.firewall = firewall::active().await;
    }
    facts.busy = busy(role, wishes, place).await;
    match role {
        Role::Local => {
            facts.own_kubeconfig = place.local.join(".kube/config").is_file();
            facts.operators_kubeconfig = operators_kubeconfig(around.kubeconfig.as_deref());
            let on_record = place.local.join(".ssh/host_key");
            match host_keys::find(around.host_key.as_deref(), &on_record, wishes.server()).await {
                Ok((keys, from)) => (facts.host_keys, facts.host_keys_from) = (Some(keys), from),
                Err(why) => facts.host_keys_from = why,
            }
        }
        Role::Remote => {
            facts.sshd = system::find("sshd").and_then(|_| std::fs::read_to_string(sshd::MAIN).ok());
            facts.ssh_port = ssh_port(facts.sshd.as_deref().unwrap_or_default());
            if around.ask_nodes && plan::scheduler(wishes, facts.slurm.as_deref()) == Scheduler::Slurm {
                let jobs = (!around.dry).then(|| plan::jobs(wishes, place));
                facts.nodes = nodes::ask(&name, jobs.as_deref(), wishes.slurm_conf.as_deref()).await;
            }
        }
    }
    Ok(facts)
}

/// The folder with the programs: named, or this program's own.
///
/// # Errors
/// One sentence where that can't be told.
pub fn programs(named: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(dir) = named {
        return std::path::absolute(dir).map_err(|e| format!("--bin-dir: {e}"));
    }
    let own = std::env::current_exe().map_err(|e| format!("this program's own folder can't be told: {e}"))?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Apptainer or Singularity, where Slurm is; the scheduler `local` has its own default.
fn runtime(wishes: &Wishes, slurm: bool) -> Option<Runtime> {
    if plan::scheduler(wishes, slurm.then_some(Path::new("/"))) == Scheduler::Local {
        return None;
    }
    let found = [("apptainer", Runtime::Apptainer), ("singularity", Runtime::Singularity)];
    found.into_iter().find(|(name, _)| system::has(name)).map(|(_, runtime)| runtime)
}

/// Named, or where an administrator usually has it.
fn operators_kubeconfig(named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let from_environment = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    let usual = ["/etc/kubernetes/admin.conf", "/etc/rancher/k3s/k3s.yaml"].map(PathBuf::from);
    std::env::split_paths(&from_environment).chain(home).chain(usual).find(|path| path.is_file())
}

/// The first `Port` of sshd's configuration.
fn ssh_port(config: &str) -> u16 {
    let ports = config.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|key| key.eq_ignore_ascii_case("Port")).and_then(|_| words.next()?.parse().ok())
    });
    ports.into_iter().next().unwrap_or(22)
}

/// What somebody else than our own services has.
async fn busy(role: Role, wishes: &Wishes, place: &Place) -> Vec<String> {
    let mut busy = Vec::new();
    let sockets: &[(&str, &str)] = match role {
        Role::Local => &[("plugin.sock", "interlink-tunnel"), ("api.sock", "interlink-api")],
        Role::Remote => &[("interlink-plugin.sock", "interlink-remote-plugin")],
    };
    for (socket, unit) in sockets {
        let path = place.runtime.join(socket);
        if UnixStream::connect(&path).is_ok() && !active(place, unit).await {
            busy.push(format!("somebody listens on {} who is not {unit}: stop that program first", path.display()));
        }
    }
    let port = match role {
        Role::Local => Some((wishes.kubelet_port(), "interlink-virtual-kubelet", "choose another with --kubelet-port")),
        Role::Remote if wishes.via() == Via::Rport => {
            Some((4000, "interlink-remote-plugin", "stop that program, or use --via rexec, which needs no port"))
        }
        Role::Remote => None,
    };
    if let Some((port, unit, remedy)) = port
        && std::net::TcpListener::bind(("0.0.0.0", port)).is_err_and(|e| e.kind() == std::io::ErrorKind::AddrInUse)
        && !active(place, unit).await
    {
        busy.push(format!("the TCP port {port} is in use by somebody who is not {unit}: {remedy}"));
    }
    busy
}

async fn active(place: &Place, unit: &str) -> bool {
    if place.me.as_ref().is_some_and(|me| !me.manager) {
        return [&place.local, &place.remote].iter().any(|dir| keep::running(dir).is_some());
    }
    let mut args = vec!["is-active", "--quiet", unit];
    if place.me.is_some() {
        args.insert(0, "--user");
    }
    system::run("systemctl", args, QUICK).await.is_ok_and(|said| said.ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_sshd_is_the_first_one_named() {
        assert_eq!(ssh_port("#Port 1\nport 2222\nPort 22\n"), 2222);
        assert_eq!(ssh_port("PermitRootLogin no\n"), 22);
    }
}

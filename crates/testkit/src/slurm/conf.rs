//! slurm.conf.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// How a cluster differs from the usual one.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many nodes: `n1`, `n2`, …
    pub nodes: usize,
    /// What each node claims to have.
    pub cpus: usize,
    /// What each node claims to have, in MiB.
    pub memory_mb: usize,
    /// How many (pretended) GPUs each node has.
    pub gpus: usize,
    /// How long slurmctld remembers a finished job. Some ten seconds after that it is unknown.
    pub min_job_age: Duration,
    /// More lines of slurm.conf.
    pub lines: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 2, cpus: 4, memory_mb: 8000, gpus: 0, min_job_age: Duration::from_secs(300), lines: Vec::new() }
    }
}

/// The ports of a cluster's daemons.
pub(super) struct Ports {
    pub(super) controller: u16,
    pub(super) nodes: Vec<u16>,
}

/// Scheduling without the delays that suit thousands of jobs; process tracking without cgroups, which tests have
/// no right to.
const FIXED: &str = "\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=50
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldTimeout=10
SlurmdTimeout=15
InactiveLimit=0
KillWait=5
CompleteWait=0
MaxJobCount=20000
MaxArraySize=2000
PropagateResourceLimits=NONE
LaunchParameters=use_interactive_step
JobCompType=jobcomp/filetxt
AccountingStorageType=accounting_storage/none
SlurmctldDebug=info
SlurmdDebug=info
";

/// The text of slurm.conf for a cluster whose files lie in `dir`.
pub(super) fn slurm_conf(dir: &Path, ports: &Ports, options: &Options) -> String {
    let mut conf = FIXED.to_owned();
    let dir = dir.display();
    let age = options.min_job_age.as_secs();
    for line in [
        format!("AuthInfo=socket={dir}/munge/socket"),
        format!("SlurmctldPort={}", ports.controller),
        format!("StateSaveLocation={dir}/state"),
        format!("SlurmdSpoolDir={dir}/spool/%n"),
        format!("SlurmctldPidFile={dir}/slurmctld.pid"),
        format!("SlurmdPidFile={dir}/slurmd-%n.pid"),
        format!("JobCompLoc={dir}/jobcomp.txt"),
        format!("MinJobAge={age}"),
    ] {
        let _ = writeln!(conf, "{line}");
    }
    let gpus = options.gpus;
    if gpus > 0 {
        conf.push_str("GresTypes=gpu\n");
    }
    for line in &options.lines {
        let _ = writeln!(conf, "{line}");
    }
    for (number, port) in (1..).zip(&ports.nodes) {
        let gres = if gpus > 0 { format!(" Gres=gpu:{gpus}") } else { String::new() };
        let _ = writeln!(
            conf,
            "NodeName=n{number} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={} RealMemory={}{gres} \
             State=UNKNOWN",
            options.cpus, options.memory_mb
        );
    }
    let last = options.nodes;
    let _ = writeln!(conf, "PartitionName=batch Nodes=n[1-{last}] Default=YES MaxTime=INFINITE State=UP");
    let _ = writeln!(conf, "PartitionName=short Nodes=n1 MaxTime=1 OverTimeLimit=0 State=UP");
    let _ = writeln!(conf, "PartitionName=hi Nodes=n[1-{last}] PriorityTier=10 PreemptMode=REQUEUE State=UP");
    conf
}

/// gres.conf: any device files that exist do as GPUs, as nobody opens them.
pub(super) fn gres_conf(options: &Options) -> Option<String> {
    let last = options.gpus.checked_sub(1)?;
    let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
    let files = devices.get(..=last).expect("a node has at most six pretended GPUs").join(",");
    Some((1..=options.nodes).map(|node| format!("NodeName=n{node} Name=gpu File={files}\n")).collect())
}

//! One step of the walk along the chain, and which failed step is the cause of which.

use std::time::Duration;

use serde_json::{Value, json};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// The API server's file.
    ApiConfig,
    /// The virtual kubelet's file.
    KubeletConfig,
    /// The tunnel's file, with the keys that it names.
    TunnelConfig,
    /// The plugin's file.
    PluginConfig,
    /// The programs' addresses against one another.
    Agreement,
    /// Whether virtual-kubelet runs.
    KubeletProcess,
    /// Whether interlink runs.
    ApiProcess,
    /// Whether ssh-tunnel runs.
    TunnelProcess,
    /// Whether interlink-plugin runs, where it runs on this machine.
    PluginProcess,
    /// The socket between virtual kubelet and API server.
    ApiSocket,
    /// The socket between API server and tunnel.
    TunnelSocket,
    /// Where the plugin listens.
    PluginSocket,
    /// Who reaches the plugin's port.
    PluginPort,
    /// The tunnel's line in authorized_keys.
    Key,
    /// What sshd lets the tunnel's account do.
    Sshd,
    /// Whether compute nodes see the job directories.
    SharedRoot,
    /// Whose the programs' files are.
    Modes,
    /// The services as systemd has them.
    Units,
    /// The programs' log files.
    Logs,
    /// The SSH connection.
    Link,
    /// What the tunnel says about the service at its far end.
    FarEnd,
    /// A ping to the plugin, past the API server.
    Plugin,
    /// What the plugin says about its scheduler.
    Scheduler,
    /// A ping to the API server, which asks the plugin.
    Ping,
    /// What virtual-kubelet says about the chain.
    KubeletView,
    /// Whether the Kubernetes API server answers.
    Cluster,
    /// The node's condition Ready.
    NodeReady,
    /// The node's conditions about the chain.
    NodeConnectivity,
    /// The kubelet API, asked through the Kubernetes API server.
    KubeletPort,
    /// What the kubeconfig allows.
    Rights,
    /// Pods that wait for the node without tolerating its taints.
    Tolerations,
    /// A real pod.
    TestPod,
}

impl Id {
    /// Its name in the output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiConfig | Self::KubeletConfig | Self::TunnelConfig | Self::PluginConfig => "configuration",
            Self::Agreement => "agreement",
            Self::KubeletProcess | Self::ApiProcess | Self::TunnelProcess | Self::PluginProcess => "process",
            Self::ApiSocket | Self::TunnelSocket | Self::PluginSocket => "socket",
            Self::PluginPort => "plugin port",
            Self::Key => "authorized key",
            Self::Sshd => "effective sshd",
            Self::SharedRoot => "job directory",
            Self::Modes => "file modes",
            Self::Units => "services",
            Self::Logs => "log files",
            Self::Link => "ssh connection",
            Self::FarEnd => "far end",
            Self::Plugin => "plugin ping",
            Self::Scheduler => "scheduler",
            Self::Ping => "chain ping",
            Self::KubeletView => "own word",
            Self::Cluster => "api server",
            Self::NodeReady => "node ready",
            Self::NodeConnectivity => "connectivity",
            Self::KubeletPort => "kubelet port",
            Self::Rights => "rights",
            Self::Tolerations => "tolerations",
            Self::TestPod => "test pod",
        }
    }

    /// What must work for this to work, the likeliest culprit first.
    fn needs(self) -> &'static [Self] {
        match self {
            Self::ApiConfig | Self::KubeletConfig | Self::PluginConfig | Self::Rights | Self::Cluster => &[],
            Self::TunnelConfig | Self::PluginPort | Self::Key | Self::Sshd => &[],
            Self::Modes | Self::Units | Self::Logs => &[],
            Self::PluginProcess | Self::SharedRoot => &[Self::PluginConfig],
            Self::PluginSocket => &[Self::PluginConfig, Self::PluginProcess],
            Self::Agreement => &[Self::ApiConfig, Self::KubeletConfig],
            Self::KubeletProcess => &[Self::KubeletConfig],
            Self::ApiProcess => &[Self::ApiConfig, Self::Agreement],
            Self::TunnelProcess => &[Self::TunnelConfig, Self::ApiConfig, Self::Agreement],
            Self::ApiSocket => &[Self::ApiConfig, Self::ApiProcess],
            Self::TunnelSocket => &[Self::ApiConfig, Self::TunnelProcess],
            Self::Link => &[Self::TunnelProcess, Self::Key, Self::Sshd],
            Self::FarEnd => &[Self::Link, Self::PluginProcess, Self::PluginSocket],
            Self::Plugin => &[
                Self::ApiConfig,
                Self::Agreement,
                Self::TunnelProcess,
                Self::TunnelSocket,
                Self::Link,
                Self::PluginProcess,
                Self::PluginSocket,
                Self::FarEnd,
            ],
            Self::Scheduler => &[Self::Plugin],
            Self::Ping => {
                &[Self::ApiConfig, Self::Agreement, Self::ApiProcess, Self::ApiSocket, Self::Plugin, Self::Scheduler]
            }
            Self::KubeletView => &[Self::KubeletConfig, Self::Agreement, Self::KubeletProcess, Self::Ping],
            Self::NodeReady => &[Self::Cluster, Self::KubeletProcess],
            Self::NodeConnectivity => &[Self::Cluster, Self::NodeReady, Self::KubeletView, Self::Ping],
            Self::KubeletPort => &[Self::Cluster, Self::KubeletProcess, Self::NodeReady],
            Self::Tolerations => &[Self::Cluster, Self::NodeReady],
            Self::TestPod => {
                &[Self::Ping, Self::NodeReady, Self::NodeConnectivity, Self::KubeletPort, Self::SharedRoot]
            }
        }
    }
}

/// How a step came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be; what was seen.
    Good(String),
    /// Not looked at; why.
    Skipped(String),
    /// It works, but somebody should know.
    Warned(Fault),
    /// It doesn't work.
    Failed(Fault),
}

/// One sentence each, without an end stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    /// From its two sentences.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }

    /// From a sentence of a program, which has the remedy behind its first semicolon.
    #[must_use]
    pub fn of_sentence(sentence: &str, otherwise: &str) -> Self {
        match sentence.split_once("; ") {
            Some((cause, remedy)) => Self::new(cause, remedy),
            None => Self::new(sentence, otherwise),
        }
    }
}

/// A step and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub id: Id,
    /// The hop that it is about.
    pub hop: String,
    /// How it came out.
    pub verdict: Verdict,
    /// How long the answer took.
    pub latency: Option<Duration>,
    /// For a failed step: the failed step that explains it.
    pub follows: Option<Id>,
}

impl Step {
    /// A step about `hop`.
    pub fn new(id: Id, hop: &str, verdict: Verdict) -> Self {
        Self { id, hop: hop.to_owned(), verdict, latency: None, follows: None }
    }

    /// As it should be.
    pub fn good(id: Id, hop: &str, seen: impl Into<String>) -> Self {
        Self::new(id, hop, Verdict::Good(seen.into()))
    }

    /// Broken.
    pub fn failed(id: Id, hop: &str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(id, hop, Verdict::Failed(Fault::new(cause, remedy)))
    }

    /// Works, with something to know.
    pub fn warned(id: Id, hop: &str, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(id, hop, Verdict::Warned(Fault::new(cause, remedy)))
    }

    /// Not looked at.
    pub fn skipped(id: Id, hop: &str, why: impl Into<String>) -> Self {
        Self::new(id, hop, Verdict::Skipped(why.into()))
    }

    /// With the time that the answer took.
    #[must_use]
    pub fn took(mut self, latency: Option<Duration>) -> Self {
        self.latency = latency;
        self
    }

    /// What is broken.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match &self.verdict {
            Verdict::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// Broken, and nothing else explains it.
    #[must_use]
    pub fn is_root_cause(&self) -> bool {
        self.fault().is_some() && self.follows.is_none()
    }

    /// As JSON: `step`, `hop`, `ok`, `latency_ms`, `cause`, `remedy`; `seen` of a good step, `skipped`, `warning` and
    /// `follows_from` where they apply.
    #[must_use]
    pub fn json(&self) -> Value {
        let latency = self.latency.map(|latency| latency.as_secs_f64() * 1000.0);
        let mut out = json!({"step": self.id.name(), "hop": self.hop, "ok": self.fault().is_none(),
            "latency_ms": latency.map(|ms| (ms * 10.0).round() / 10.0), "cause": "", "remedy": ""});
        match &self.verdict {
            Verdict::Good(seen) => out["seen"] = json!(seen),
            Verdict::Skipped(why) => out["skipped"] = json!(why),
            Verdict::Warned(fault) | Verdict::Failed(fault) => {
                out["cause"] = json!(fault.cause);
                out["remedy"] = json!(fault.remedy);
            }
        }
        if matches!(self.verdict, Verdict::Warned(_)) {
            out["warning"] = json!(true);
        }
        if let Some(id) = self.follows {
            out["follows_from"] = json!(id.name());
        }
        out
    }
}

/// Marks every failed step that another failed one explains, with the one at the beginning of it all.
pub fn mark_consequences(steps: &mut [Step]) {
    let broken: Vec<Id> = steps.iter().filter(|step| step.fault().is_some()).map(|step| step.id).collect();
    for step in steps.iter_mut().filter(|step| step.fault().is_some()) {
        step.follows = root_of(step.id, &broken);
    }
}

/// What `id` needs, directly or not, that is broken and that nothing else explains. Needs lead one way, so this ends.
fn root_of(id: Id, broken: &[Id]) -> Option<Id> {
    id.needs().iter().find_map(|need| root_of(*need, broken).or(Some(*need).filter(|need| broken.contains(need))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_are_marked_with_what_began_it_all() {
        let bad = |id| Step::failed(id, "h", "c", "r");
        type Marked<'a> = &'a [(Id, Option<Id>)];
        let cases: [(&[Id], Marked<'_>); 6] = [
            (&[Id::Plugin], &[(Id::Plugin, None)]),
            (
                &[Id::TunnelProcess, Id::TunnelSocket, Id::Plugin, Id::Ping, Id::KubeletView],
                &[
                    (Id::TunnelProcess, None),
                    (Id::TunnelSocket, Some(Id::TunnelProcess)),
                    (Id::Plugin, Some(Id::TunnelProcess)),
                    (Id::Ping, Some(Id::TunnelProcess)),
                    (Id::KubeletView, Some(Id::TunnelProcess)),
                ],
            ),
            (&[Id::FarEnd, Id::Plugin], &[(Id::FarEnd, None), (Id::Plugin, Some(Id::FarEnd))]),
            (
                &[Id::ApiConfig, Id::ApiProcess, Id::Ping],
                &[(Id::ApiConfig, None), (Id::ApiProcess, Some(Id::ApiConfig)), (Id::Ping, Some(Id::ApiConfig))],
            ),
            (&[Id::Link, Id::Ping], &[(Id::Link, None), (Id::Ping, Some(Id::Link))]),
            (&[Id::KubeletProcess, Id::Link], &[(Id::KubeletProcess, None), (Id::Link, None)]),
        ];
        for (broken, expected) in cases {
            let mut steps: Vec<Step> = broken.iter().copied().map(bad).collect();
            steps.push(Step::good(Id::Scheduler, "slurm", "up"));
            mark_consequences(&mut steps);
            for (id, follows) in expected {
                let step = steps.iter().find(|step| step.id == *id).unwrap();
                assert_eq!(step.follows, *follows, "{id:?} of {broken:?}");
            }
        }
    }

    #[test]
    fn json_has_the_same_keys_for_every_step() {
        let good = Step::good(Id::Ping, "api", "answers").took(Some(Duration::from_micros(1260)));
        assert_eq!(
            good.json(),
            json!({"step": "chain ping", "hop": "api", "ok": true, "latency_ms": 1.3, "cause": "", "remedy": "", "seen": "answers"})
        );
        let bad = Step::failed(Id::Link, "tunnel", "refused", "start sshd");
        assert_eq!(
            bad.json(),
            json!({"step": "ssh connection", "hop": "tunnel", "ok": false, "latency_ms": null, "cause": "refused", "remedy": "start sshd"})
        );
        assert_eq!(Step::warned(Id::Rights, "kubernetes", "c", "r").json()["ok"], true);
    }

    #[test]
    fn a_programs_sentence_is_taken_apart_at_its_remedy() {
        assert_eq!(Fault::of_sentence("a is b; do c; or d", "x"), Fault::new("a is b", "do c; or d"));
        assert_eq!(Fault::of_sentence("a is b", "x"), Fault::new("a is b", "x"));
    }
}

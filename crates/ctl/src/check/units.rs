//! The services as systemd has them: what a unit of another guide, or an edited one, leads to on the day when something
//! is restarted, rotated or gone.
//!
//! All of it works until then, so these are warnings. Only the machine's own services are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::step::{Id, Step};
use crate::install::system;

/// The services of both ends, and whose hop each is.
const SERVICES: [(&str, &str); 4] = [
    ("interlink-tunnel.service", "tunnel"),
    ("interlink-api.service", "api"),
    ("interlink-virtual-kubelet.service", "virtual-kubelet"),
    ("interlink-remote-plugin.service", "plugin"),
];
/// What looks at them.
const HEALTH: [&str; 2] = ["interlink-tunneled-health-check.service", "interlink-tunneled-health-check.timer"];

/// What is asked for.
const PROPERTIES: &str = "Id,LoadState,Requires,BindsTo,After,Type,ExecReload,StandardOutput,StandardError,Restart,\
                          RestartPreventExitStatus,RuntimeDirectory,RuntimeDirectoryPreserve,FileDescriptorStoreMax,\
                          KillMode,StateDirectory,ProtectSystem,TimeoutStartUSec";

/// A unit's properties, by the names that `systemctl show` has for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    properties: BTreeMap<String, String>,
}

impl Unit {
    fn get(&self, key: &str) -> &str {
        self.properties.get(key).map_or("", String::as_str)
    }

    /// Whether it is said at all: an older systemd does not know every property.
    fn says(&self, key: &str, wanted: impl Fn(&str) -> bool) -> bool {
        self.properties.get(key).is_some_and(|value| wanted(value))
    }

    fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        self.get(key).split_whitespace()
    }

    fn hop(&self) -> Option<&'static str> {
        SERVICES.iter().find(|(unit, _)| *unit == self.get("Id")).map(|(_, hop)| *hop)
    }

    /// Ours that must run for this one to run.
    fn requires(&self) -> Vec<&str> {
        let all = self.words("Requires").chain(self.words("BindsTo"));
        all.filter(|name| is_ours(name) && *name != self.get("Id")).collect()
    }

    /// Its name as people say it.
    fn name(&self) -> &str {
        self.get("Id").strip_suffix(".service").unwrap_or(self.get("Id"))
    }
}

fn is_ours(name: &str) -> bool {
    SERVICES.iter().any(|(unit, _)| *unit == name) || HEALTH.contains(&name)
}

/// Asks systemd. Nothing where there is none, or none of the units.
pub async fn ask(limit: Duration) -> Vec<Unit> {
    let names = SERVICES.iter().map(|(unit, _)| *unit).chain(HEALTH);
    let args = ["show", "--no-pager", "-p", PROPERTIES, "--"].into_iter().chain(names);
    match system::run("systemctl", args, limit).await {
        Ok(said) if said.ok() => read(&said.out),
        _ => Vec::new(),
    }
}

/// Reads what `systemctl show` prints: a paragraph for each unit.
fn read(shown: &str) -> Vec<Unit> {
    let paragraphs = shown.split("\n\n").map(|paragraph| {
        let lines = paragraph.lines().filter_map(|line| line.split_once('='));
        Unit { properties: lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
    });
    paragraphs.filter(|unit| unit.get("LoadState") == "loaded").collect()
}

/// Something that a unit should not say.
struct Rule {
    /// Whether it does; with the words that show it.
    has: fn(&Unit) -> Option<String>,
    /// What comes of it.
    so: &'static str,
    /// The line to write.
    instead: &'static str,
}

/// A rule for those that stay up.
fn service(unit: &Unit, wrong: bool, words: impl Fn() -> String) -> Option<String> {
    (unit.hop().is_some() && wrong).then(words)
}

const RULES: [Rule; 12] = [
    Rule {
        has: |unit| {
            let needs = unit.requires();
            service(unit, !needs.is_empty(), || format!("Requires={}", needs.join(" ")))
        },
        so: "a kill or restart of one ends the others",
        instead: "Wants= and After= in place of Requires=",
    },
    Rule {
        has: |unit| {
            let needs = unit.requires();
            (unit.hop().is_none() && !needs.is_empty()).then(|| format!("Requires={}", needs.join(" ")))
        },
        so: "the timer starts services that an operator has stopped",
        instead: "After= alone",
    },
    Rule {
        has: |unit| {
            let endless = unit.hop().is_none() && unit.get("Type") == "oneshot";
            (endless && unit.get("TimeoutStartUSec") == "infinity").then(|| "no TimeoutStartSec=".to_owned())
        },
        so: "one check that hangs is the last one",
        instead: "TimeoutStartSec=60",
    },
    Rule {
        has: |unit| {
            let waits = unit.words("After").any(|name| name == "network-online.target");
            service(unit, !waits, || "no After=network-online.target".to_owned())
        },
        so: "they start before there is a network",
        instead: "After=network-online.target and Wants=network-online.target",
    },
    Rule {
        has: |unit| service(unit, !unit.get("Type").starts_with("notify"), || format!("Type={}", unit.get("Type"))),
        so: "systemd takes a program for started before it listens, and does not notice one that hangs",
        instead: "Type=notify and WatchdogSec=30",
    },
    Rule {
        has: |unit| {
            let none = unit.says("FileDescriptorStoreMax", |value| value == "0");
            service(unit, none, || "no FileDescriptorStoreMax=".to_owned())
        },
        so: "clients are refused while it restarts",
        instead: "FileDescriptorStoreMax=16",
    },
    Rule {
        has: |unit| {
            let silent = unit.get("ExecReload").is_empty() && unit.get("Type") != "notify-reload";
            service(unit, silent, || "no ExecReload=".to_owned())
        },
        so: "systemctl reload fails, and neither keys nor log files are opened again",
        instead: "ExecReload=/bin/kill -HUP $MAINPID",
    },
    Rule {
        has: |unit| {
            let again = !matches!(unit.get("Restart"), "no" | "");
            let for_ever = again && !unit.words("RestartPreventExitStatus").any(|code| code == "78");
            service(unit, for_ever, || format!("Restart={} without RestartPreventExitStatus=", unit.get("Restart")))
        },
        so: "a wrong configuration is started for ever",
        instead: "RestartPreventExitStatus=2 78",
    },
    Rule {
        has: |unit| {
            let shared = unit.words("RuntimeDirectory").any(|name| name == "interlink");
            let goes = shared && unit.says("RuntimeDirectoryPreserve", |value| value == "no");
            service(unit, goes, || "no RuntimeDirectoryPreserve=".to_owned())
        },
        so: "whichever is stopped takes the sockets of the others along",
        instead: "RuntimeDirectoryPreserve=yes",
    },
    Rule {
        has: |unit| {
            let strict = unit.get("ProtectSystem") == "strict";
            service(unit, strict && unit.get("StateDirectory").is_empty(), || {
                "ProtectSystem=strict without StateDirectory=".to_owned()
            })
        },
        so: "neither certificates nor host keys can be kept",
        instead: "StateDirectory=interlink",
    },
    Rule {
        has: |unit| {
            let plugin = unit.hop() == Some("plugin");
            (plugin && matches!(unit.get("KillMode"), "control-group" | "mixed"))
                .then(|| format!("KillMode={}", unit.get("KillMode")))
        },
        so: "a stop kills a submission in hand",
        instead: "KillMode=process",
    },
    Rule {
        has: |unit| {
            let file = ["StandardOutput", "StandardError"].into_iter().find(|key| {
                ["append", "file", "truncate"].iter().any(|kind| unit.get(key).split(':').next() == Some(*kind))
            });
            file.map(|key| format!("{key}={}", unit.get(key)))
        },
        so: "the journal stays empty, and after logrotate systemd goes on writing into the old file",
        instead: "nothing, for the journal, or start the program with -logfile",
    },
];

/// Judges them; one step, or one for each fault with the units that have it.
#[must_use]
pub fn judge(units: &[Unit]) -> Vec<Step> {
    if units.is_empty() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for rule in &RULES {
        let found: Vec<(&Unit, String)> = units.iter().filter_map(|unit| Some((unit, (rule.has)(unit)?))).collect();
        let Some((first, _)) = found.first() else { continue };
        let said: Vec<String> = found.iter().map(|(unit, words)| format!("{} ({words})", unit.name())).collect();
        steps.push(Step::warned(
            Id::Units,
            first.hop().unwrap_or("chain"),
            format!("by the units of {} {}", said.join(", "), rule.so),
            format!(
                "write {} there, or take the units of interlinkctl install; then systemctl daemon-reload and restart",
                rule.instead
            ),
        ));
    }
    if steps.is_empty() {
        let seen =
            format!("systemd has {} units of ours: each starts, reloads and stops without the others", units.len());
        steps.push(Step::good(Id::Units, "chain", seen));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;
    use crate::install::templates;

    /// What `systemctl show` would say of the text of a unit; the defaults of systemd where it says nothing.
    fn shown(name: &str, text: &str) -> Unit {
        let mut properties: BTreeMap<String, String> = [
            ("Id", name),
            ("LoadState", "loaded"),
            ("Type", "simple"),
            ("Restart", "no"),
            ("FileDescriptorStoreMax", "0"),
            ("RuntimeDirectoryPreserve", "no"),
            ("KillMode", "control-group"),
            ("TimeoutStartUSec", "infinity"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let key = if key == "TimeoutStartSec" { "TimeoutStartUSec" } else { key };
            properties.insert(key.to_owned(), value.to_owned());
        }
        Unit { properties }
    }

    fn ours() -> Vec<Unit> {
        vec![
            shown("interlink-tunnel.service", templates::TUNNEL_UNIT),
            shown("interlink-api.service", templates::API_UNIT),
            shown("interlink-virtual-kubelet.service", templates::KUBELET_UNIT),
            shown("interlink-remote-plugin.service", templates::PLUGIN_UNIT),
            shown(HEALTH[0], templates::HEALTH_UNIT),
            shown(HEALTH[1], templates::HEALTH_TIMER),
        ]
    }

    fn warned(units: &[Unit]) -> Vec<(String, String, String)> {
        let fault = |step: Step| match step.verdict {
            Verdict::Warned(fault) => Some((step.hop, fault.cause, fault.remedy)),
            _ => None,
        };
        judge(units).into_iter().filter_map(fault).collect()
    }

    #[test]
    fn our_units_have_nothing_to_complain_about() {
        let steps = judge(&ours());
        assert!(
            matches!(&steps[..], [Step { verdict: Verdict::Good(seen), .. }] if seen.contains("6 units")),
            "{steps:?}"
        );
        assert!(judge(&[]).is_empty());
    }

    /// The units of the tunneled-deployment guide, line by line where it matters.
    #[test]
    fn each_fault_of_the_guides_units_is_named_with_the_line_to_write() {
        let common = "Type=simple\nRestart=always\nStandardOutput=append:/opt/interlink/logs/x.log\n\
                      ProtectSystem=strict\nPrivateTmp=true\n";
        let reload = "ExecReload=/bin/kill -HUP $MAINPID\n";
        let units = [
            shown("interlink-tunnel.service", &format!("After=network.target\n{common}")),
            shown(
                "interlink-api.service",
                &format!(
                    "After=network.target interlink-tunnel.service\nRequires=interlink-tunnel.service\n{common}{reload}"
                ),
            ),
            shown(
                "interlink-virtual-kubelet.service",
                &format!(
                    "After=network.target interlink-api.service\nRequires=interlink-api.service\n{common}{reload}"
                ),
            ),
            shown("interlink-remote-plugin.service", &format!("After=network.target\n{common}{reload}")),
            shown(HEALTH[0], "Type=oneshot\nRequires=interlink-virtual-kubelet.service\n"),
            shown(HEALTH[1], "Requires=interlink-tunneled-health-check.service\n"),
        ];
        let found = warned(&units);
        let wanted = [
            (
                "api",
                "interlink-api (Requires=interlink-tunnel.service), interlink-virtual-kubelet (Requires=interlink-api.service) a kill or restart of one ends the others",
                "Wants= and After= in place of Requires=",
            ),
            (
                "chain",
                "interlink-tunneled-health-check (Requires=interlink-virtual-kubelet.service), interlink-tunneled-health-check.timer (Requires=interlink-tunneled-health-check.service) the timer starts services that an operator has stopped",
                "write After= alone",
            ),
            (
                "chain",
                "interlink-tunneled-health-check (no TimeoutStartSec=) one check that hangs",
                "TimeoutStartSec=60",
            ),
            (
                "tunnel",
                "(no After=network-online.target) they start before there is a network",
                "Wants=network-online.target",
            ),
            ("tunnel", "interlink-tunnel (Type=simple), interlink-api (Type=simple)", "Type=notify"),
            (
                "tunnel",
                "(no FileDescriptorStoreMax=) clients are refused while it restarts",
                "FileDescriptorStoreMax=16",
            ),
            (
                "tunnel",
                "by the units of interlink-tunnel (no ExecReload=) systemctl reload fails",
                "ExecReload=/bin/kill -HUP $MAINPID",
            ),
            (
                "tunnel",
                "(Restart=always without RestartPreventExitStatus=) a wrong configuration is started for ever",
                "RestartPreventExitStatus=2 78",
            ),
            ("tunnel", "ProtectSystem=strict without StateDirectory=", "StateDirectory=interlink"),
            (
                "plugin",
                "by the units of interlink-remote-plugin (KillMode=control-group) a stop kills a submission",
                "KillMode=process",
            ),
            ("tunnel", "interlink-tunnel (StandardOutput=append:/opt/interlink/logs/x.log)", "-logfile"),
        ];
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for ((hop, cause, remedy), (wanted_hop, wanted_cause, wanted_remedy)) in found.iter().zip(wanted) {
            assert!(
                hop == wanted_hop && cause.contains(wanted_cause) && remedy.contains(wanted_remedy),
                "{cause}; {remedy}"
            );
        }
    }

    #[test]
    fn one_line_that_is_missing_in_a_unit_of_ours_is_one_fault() {
        for (line, cause, remedy) in [
            ("RuntimeDirectoryPreserve=yes", "takes the sockets of the others along", "RuntimeDirectoryPreserve=yes"),
            ("StateDirectory=interlink", "neither certificates nor host keys can be kept", "StateDirectory=interlink"),
            ("RestartPreventExitStatus=2 78", "is started for ever", "RestartPreventExitStatus=2 78"),
            ("FileDescriptorStoreMax=16", "clients are refused", "FileDescriptorStoreMax=16"),
            ("Type=notify", "before it listens", "Type=notify"),
            ("ExecReload=/bin/kill -HUP $MAINPID", "systemctl reload fails", "ExecReload="),
        ] {
            let mut units = ours();
            let text = templates::API_UNIT.replace(&format!("\n{line}\n"), "\n");
            assert_ne!(text, templates::API_UNIT, "{line}");
            units[1] = shown("interlink-api.service", &text);
            let found = warned(&units);
            let [(hop, said, todo)] = found.as_slice() else { panic!("{line}: {found:?}") };
            assert!(hop == "api" && said.contains("interlink-api (") && said.contains(cause), "{said}");
            assert!(todo.contains(remedy) && todo.contains("systemctl daemon-reload"), "{todo}");
        }
    }

    #[test]
    fn what_systemctl_shows_is_read_and_units_that_are_not_there_are_left_out() {
        let text = "Id=interlink-api.service\nLoadState=loaded\nType=notify\nAfter=a b\n\nId=interlink-tunnel.service\nLoadState=not-found\n";
        let units = read(text);
        assert_eq!(units.len(), 1);
        assert_eq!(
            (units[0].name(), units[0].get("Type"), units[0].words("After").count()),
            ("interlink-api", "notify", 2)
        );
        assert!(read("").is_empty());
    }
}

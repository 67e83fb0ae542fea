//! Under load: each service is reloaded, restarted, killed and stopped, and the logs are rotated, while pods keep being
//! created and clients keep asking at every socket. Nobody is refused, the others run on, and each pod runs once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use interlink_e2e::deployed::health::{HEALTH, next_report, programs, reports};
use interlink_e2e::deployed::logs::numbered;
use interlink_e2e::deployed::{Deployed, Form, LOCAL, Options, UNITS};
use interlink_e2e::load::{Client, Question, Tally};
use interlink_e2e::node::NODE;
use interlink_e2e::pods;
use interlink_testkit::kubernetes::{self, ControlPlane, Kubectl};
use interlink_testkit::slurm::{self, Cluster};
use interlink_testkit::systemd::Machine;
use interlink_testkit::wait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(90);
/// One pod each.
const PACE: Duration = Duration::from_millis(600);
// places in UNITS
const KUBELET: usize = 0;
const API: usize = 1;
const TUNNEL: usize = 2;
const PLUGIN: usize = 3;

/// How the check calls those of its own machine: hop and program.
const PROCESSES: [(&str, &str); 3] =
    [("virtual-kubelet", "virtual-kubelet"), ("api", "interlink"), ("tunnel", "ssh-tunnel")];

/// The services that a client's question passes, the owner of its socket first.
const CLIENTS: [(&str, &str, &[usize]); 4] = [
    ("numbered", "api.sock", &[API]),
    ("chain", "api.sock", &[API, TUNNEL, PLUGIN]),
    ("tunnel", "plugin.sock", &[TUNNEL, PLUGIN]),
    ("plugin", "interlink-plugin.sock", &[PLUGIN]),
];
/// Of each kind.
const EACH: usize = 2;

fn clients(machine: &Machine) -> Vec<Client> {
    let paths: [fn(usize, usize) -> String; 4] = [
        |client, number| format!("/numbered/{client}-{number}"),
        |_, _| "/pinglink".to_owned(),
        |_, _| "/status".to_owned(),
        |_, _| "/status".to_owned(),
    ];
    let start = |number: usize| {
        let (name, socket, _) = CLIENTS[number / EACH];
        let good = if number / EACH == 0 { 404 } else { 200 };
        let socket = machine.path("/run/interlink").join(socket);
        Client::start(name, number, Question { socket, path: paths[number / EACH], good })
    };
    (0..CLIENTS.len() * EACH).map(start).collect()
}

/// What is done to a service, and so what its clients may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Nobody may notice.
    Gently,
    /// What the process had in hand is gone: one question of each client that waits for its answer.
    Killed,
    /// Its socket refuses until it is started again, and those in front of it say so.
    Stopped,
}

struct Scene<'a> {
    deployed: &'a Deployed,
    kubectl: &'a Kubectl,
    clients: &'a [Client],
    /// What was not as it should be, in words.
    wrong: Mutex<Vec<String>>,
}

impl Scene<'_> {
    /// Does it, waits until the chain answers again without help, and compares. `changes`: whose process is another then.
    async fn step(&self, what: &str, of: usize, deed: Deed, changes: bool, work: impl Future<Output = ()>) {
        let what = format!("{what} of {}", UNITS[of]);
        let before = self.deployed.pids().await;
        work.await;
        self.deployed.answers().await;
        self.all_go_on().await;
        let after = self.deployed.pids().await;
        for (other, name) in UNITS.into_iter().enumerate() {
            if (before[other] != after[other]) != (changes && other == of) {
                self.blame(format!("{what}: {name}: {before:?} {after:?}"));
            }
        }
        for client in self.clients {
            let seen = client.take();
            let hops = CLIENTS[client.number() / EACH].2;
            let (passes, own) = (hops.contains(&of), hops[0] == of);
            let lost = seen.broken.len() + seen.failed.len();
            let most = match deed {
                Deed::Killed if passes => 1,
                Deed::Stopped if passes => usize::MAX,
                _ => 0,
            };
            let refuses = deed == Deed::Stopped && own;
            if lost > most || refuses == seen.refused.is_empty() {
                self.blame(format!("{what}: a client of {}: {seen:?}", client.name()));
            }
        }
    }

    fn blame(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    async fn all_go_on(&self) {
        for client in self.clients {
            client.goes_on().await;
        }
    }

    /// While it is done to a service that the node's port belongs to, nobody listens there for a moment; while it is done
    /// to another, the cluster asks all the while and gets each answer. It gets one afterwards, too.
    async fn port_answers(&self, unit: usize, work: impl Future<Output = ()>) {
        let path = format!("/api/v1/nodes/{NODE}/proxy/healthz");
        let ask = async || assert_eq!(self.kubectl.ok(["get", "--raw", &path]).await, "ok");
        if unit == KUBELET {
            work.await;
            return ask().await;
        }
        let done = CancellationToken::new();
        let asking = async {
            while !done.is_cancelled() {
                ask().await;
            }
            ask().await;
        };
        tokio::join!(asking, async {
            work.await;
            done.cancel();
        });
    }
}

/// Ended well, and nothing is scheduled that would start it again.
async fn is_stopped(machine: &Machine, unit: &str) {
    let mut state = Vec::new();
    for property in ["ActiveState", "SubState", "Result"] {
        state.push(machine.show(unit, property).await);
    }
    assert_eq!(state, ["inactive", "dead", "success"], "{unit}: {}", machine.journal(unit).await);
    let jobs = machine.systemctl(["list-jobs", "--no-legend"]).await;
    assert!(!jobs.contains(&format!("{unit}.service")), "after the stop of {unit}: {jobs}");
}

/// Everything that is done to one service by itself.
async fn all_of_it(scene: &Scene<'_>, unit: usize) {
    let (deployed, name) = (scene.deployed, UNITS[unit]);
    let machine = &deployed.machine;
    let restart = async { drop(machine.systemctl(["restart", name]).await) };
    scene.step("restart", unit, Deed::Gently, true, scene.port_answers(unit, restart)).await;
    let kill = async {
        let restarts: u32 = machine.show(name, "NRestarts").await.parse().unwrap();
        machine.run(["kill", "-9", &machine.show(name, "MainPID").await]).await;
        machine.shows(name, "NRestarts", &(restarts + 1).to_string(), SOON).await;
        machine.shows(name, "ActiveState", "active", SOON).await;
    };
    scene.step("kill -9", unit, Deed::Killed, true, kill).await;
    let stop_and_start = async {
        machine.systemctl(["stop", name]).await;
        is_stopped(machine, name).await;
        // one may be under way
        let begun = reports(machine).len() + 1;
        let two = wait::until("two more checks", SOON, async || {
            let all = reports(machine);
            if all.len() >= begun + 2 { Ok(all[begun..].to_vec()) } else { Err(all.len()) }
        })
        .await;
        if let Some((hop, program)) = PROCESSES.get(unit) {
            let said = format!("ERROR - {hop} process: {program} is not running");
            assert!(two.iter().all(|report| report.contains(&said)), "no {said} in {two:?}");
        }
        is_stopped(machine, name).await;
        machine.systemctl(["start", name]).await;
    };
    scene.step("stop and start", unit, Deed::Stopped, true, stop_and_start).await;
}

/// The check is a service, too, but nobody's way leads through it.
async fn the_check_itself(scene: &Scene<'_>) {
    let machine = &scene.deployed.machine;
    let work = async {
        wait::until("a check to be killed in its middle", SOON, async || {
            let script =
                format!("systemctl start --no-block {HEALTH}; systemctl kill --kill-whom=all -s KILL {HEALTH}");
            machine.run(["sh", "-c", &script]).await;
            let result = machine.show(HEALTH, "Result").await;
            if result == "signal" { Ok(()) } else { Err(result) }
        })
        .await;
        machine.systemctl(["stop", HEALTH]).await;
        next_report(machine, "a check after one that was killed", |report| !report.contains("ERROR")).await;
        machine.shows(HEALTH, "Result", "success", SOON).await;
    };
    scene.step("kill of the check, as seen", KUBELET, Deed::Gently, false, work).await;
}

/// Creates pods, the next as soon as it may be, until told to stop; each says once that it ran, and ends with a code of
/// its own. Gives their names and codes.
async fn create(kubectl: &Kubectl, ran: &Path, stop: CancellationToken) -> BTreeMap<String, u64> {
    let mut created = BTreeMap::new();
    while !stop.is_cancelled() {
        let number = created.len() as u64;
        let (name, code) = (format!("p{number:04}"), number % 5);
        let script = format!("echo {name} >> {}; sleep {}; exit {code}", ran.display(), number % 3);
        kubectl.apply(&pods::pod(&name, &["/bin/sh", "-c", &script], true).to_string()).await;
        created.insert(name, code);
        tokio::time::sleep(PACE).await;
    }
    created
}

/// Waits for the end of each pod and compares it with what it was to be.
async fn have_ended(kubectl: &Kubectl, created: &BTreeMap<String, u64>) {
    let ended = wait::until("all pods to end", SOON, async || {
        let list = kubectl.json(["get", "pods"]).await;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let left: Vec<String> = pods
            .iter()
            .filter(|pod| !["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default()))
            .map(|pod| format!("{} {}", pod["metadata"]["name"], pod["status"]))
            .collect();
        if left.is_empty() { Ok(pods) } else { Err(format!("{} left: {}", left.len(), left[0])) }
    })
    .await;
    let codes: BTreeMap<String, Value> = ended
        .iter()
        .map(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            let end = json!([container["state"]["terminated"]["exitCode"], container["restartCount"]]);
            (pod["metadata"]["name"].as_str().unwrap().to_owned(), end)
        })
        .collect();
    let wanted: BTreeMap<String, Value> = created.iter().map(|(name, code)| (name.clone(), json!([code, 0]))).collect();
    assert_eq!(codes, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_and_each_pod_runs_once_whatever_is_done_to_one_service() {
    let cluster = ControlPlane::start(kubernetes::Options::default()).await;
    let slurm = Cluster::start(slurm::Options { nodes: 1, cpus: 32, ..slurm::Options::default() }).await;
    let options = Options { cluster: Some(&cluster), slurm: Some(&slurm), ..Options::alone(Form::Rexec) };
    let programs = programs();
    let deployed = Deployed::with_programs(options, programs.path()).await;
    let machine = &deployed.machine;
    deployed.log_to_files().await;
    deployed.health("*:*:*").await;
    deployed.start().await;
    machine.systemctl(["start", &format!("{HEALTH}.timer")]).await;
    for pair in LOCAL.windows(2) {
        let dependencies = machine.systemctl(["list-dependencies", "--plain", pair[0]]).await;
        assert!(dependencies.contains(pair[1]), "{dependencies}");
    }
    let ran = deployed.jobs().join("ran");
    std::fs::write(&ran, "").unwrap();
    std::fs::set_permissions(&ran, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();

    let (clients, stop) = (clients(machine), CancellationToken::new());
    let scene = Scene { deployed: &deployed, kubectl: cluster.kubectl(), clients: &clients, wrong: Mutex::default() };
    let deeds = async {
        scene.all_go_on().await;
        for unit in 0..UNITS.len() {
            all_of_it(&scene, unit).await;
            if unit > 0 {
                let rotate = async {
                    machine.systemctl(["reload"].into_iter().chain(UNITS)).await;
                    deployed.rotate_logs().await;
                };
                scene.step("rotation, as seen", KUBELET, Deed::Gently, false, rotate).await;
            }
        }
        the_check_itself(&scene).await;
        stop.cancel();
    };
    let (created, ()) = tokio::join!(create(cluster.kubectl(), &ran, stop.clone()), deeds);
    assert_eq!(*scene.wrong.lock().unwrap(), [""; 0]);

    have_ended(cluster.kubectl(), &created).await;
    let ran = std::fs::read_to_string(&ran).unwrap();
    let mut names: Vec<&str> = ran.lines().collect();
    names.sort_unstable();
    assert_eq!(names, created.keys().map(String::as_str).collect::<Vec<_>>(), "each pod once");
    let jobs = slurm.submitted().await;
    assert_eq!(jobs.len(), created.len(), "Slurm has seen {jobs:?}");

    let mut asked = 0;
    let mut wanted = BTreeSet::new();
    for client in clients {
        let (name, number) = (client.name().to_owned(), client.number());
        let Tally { asked: questions, unanswered } = client.end().await;
        asked += questions;
        if name == CLIENTS[0].0 {
            wanted.extend((0..questions).filter(|n| !unanswered.contains(n)).map(|n| format!("{number}-{n}")));
        }
    }
    let logged = numbered(machine).await;
    let missing: Vec<&String> = wanted.iter().filter(|number| !logged.contains_key(*number)).collect();
    let doubled: Vec<_> = logged.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty() && doubled.is_empty(), "missing {missing:?}, doubled {doubled:?}");
    eprintln!("{} pods, {asked} questions, {} numbered lines", created.len(), wanted.len());
}

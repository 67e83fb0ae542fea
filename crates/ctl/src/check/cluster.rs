//! The Kubernetes side: the node, its conditions, the way back to the kubelet, and what the kubeconfig allows.

use std::path::Path;
use std::time::{Duration, Instant};

use interlink_kubelet::kubernetes::tolerations::{Offer, missing};
use interlink_kubelet::node::Taint;
use interlink_wire::Object;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::step::{Id, Step};

/// The hop of these steps.
const HOP: &str = "kubernetes";
/// Waiting pods that are looked at.
const PODS: usize = 500;

/// What the cluster said.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The node's name.
    pub name: String,
    /// The node, `None` where there is none of that name; or why it can't be told.
    pub node: Result<Option<Value>, String>,
    /// How long that took.
    pub latency: Duration,
    /// The kubelet's `/healthz`, through the API server.
    pub healthz: Result<Duration, String>,
    /// Whether everything is allowed.
    pub all_allowed: Option<bool>,
    /// Pods that no node has yet.
    pub waiting: Vec<Value>,
}

/// Asks the cluster of `kubeconfig` about the node `name`.
pub async fn ask(kubeconfig: &Path, name: &str, limit: Duration) -> Facts {
    let failed = |why: String| Facts {
        name: name.to_owned(),
        node: Err(why),
        latency: Duration::ZERO,
        healthz: Err(String::new()),
        all_allowed: None,
        waiting: Vec::new(),
    };
    let client = match client(kubeconfig, limit).await {
        Ok(client) => client,
        Err(why) => return failed(format!("the kubeconfig {} can't be used: {why}", kubeconfig.display())),
    };
    let started = Instant::now();
    let node = match get(&client, &format!("/api/v1/nodes/{name}"), limit).await {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| format!("it answers with no JSON: {e}")),
        Err(Trouble { code: Some(404), .. }) => Ok(None),
        Err(trouble) => Err(trouble.words),
    };
    let latency = started.elapsed();
    if !matches!(node, Ok(Some(_))) {
        return Facts { node, latency, ..failed(String::new()) };
    }
    let healthz = async {
        let started = Instant::now();
        let path = format!("/api/v1/nodes/{name}/proxy/healthz");
        get(&client, &path, limit).await.map(|_| started.elapsed()).map_err(|trouble| trouble.words)
    };
    let waiting = async {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D,status.phase%3DPending&limit={PODS}");
        // Those rights may be missing; then nothing can be told of pods.
        let text = get(&client, &path, limit).await.map_err(|trouble| trouble.words)?;
        let list: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok::<_, String>(list["items"].as_array().cloned().unwrap_or_default())
    };
    let (healthz, all_allowed, waiting) = tokio::join!(healthz, all_allowed(&client, limit), waiting);
    Facts { name: name.to_owned(), node, latency, healthz, all_allowed, waiting: waiting.unwrap_or_default() }
}

/// A client. A kubeconfig may name a program that logs in, which is waited for on a thread of its own.
///
/// # Errors
/// Why it can't be had.
pub async fn client(path: &Path, limit: Duration) -> Result<kube::Client, String> {
    let (path, runtime) = (path.to_owned(), tokio::runtime::Handle::current());
    let making = tokio::task::spawn_blocking(move || {
        // Whoever was first in this process has installed the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(&path).map_err(|e| chain(&e))?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options);
        let mut config = runtime.block_on(config).map_err(|e| chain(&e))?;
        config.connect_timeout = Some(limit);
        let _inside = runtime.enter();
        kube::Client::try_from(config).map_err(|e| chain(&e))
    });
    match tokio::time::timeout(limit, making).await {
        Ok(Ok(made)) => made,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("what it logs in with did not answer within {} s", limit.as_secs())),
    }
}

struct Trouble {
    code: Option<u16>,
    words: String,
}

async fn get(client: &kube::Client, path: &str, limit: Duration) -> Result<String, Trouble> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|e| Trouble { code: None, words: e.to_string() })?;
    answer(client.request_text(request), limit).await
}

/// Whether the kubeconfig may do anything at all, as an administrator's may.
async fn all_allowed(client: &kube::Client, limit: Duration) -> Option<bool> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"group": "*", "resource": "*", "verb": "*"}}});
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())
        .ok()?;
    let text = answer(client.request_text(request), limit).await.ok()?;
    serde_json::from_str::<Value>(&text).ok()?["status"]["allowed"].as_bool()
}

async fn answer(call: impl Future<Output = kube::Result<String>>, limit: Duration) -> Result<String, Trouble> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(kube::Error::Api(status))) => Err(Trouble { code: Some(status.code), words: status.message.clone() }),
        Ok(Err(error)) => Err(Trouble { code: None, words: chain(&error) }),
        Err(_) => Err(Trouble { code: None, words: format!("no answer within {} s", limit.as_secs()) }),
    }
}

/// An error with its causes, where they say more.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

/// Judges what the cluster said.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Step> {
    let name = &facts.name;
    let node = match &facts.node {
        Err(why) => {
            let remedy = "see whether the cluster is up and --kubeconfig leads to it";
            let cause = format!("the node {name} can't be asked for: {why}");
            return vec![Step::failed(Id::Cluster, HOP, cause, remedy)];
        }
        Ok(node) => node,
    };
    let mut steps = vec![Step::good(Id::Cluster, HOP, "the API server answers").took(Some(facts.latency))];
    let Some(node) = node else {
        let cause = format!("there is no node {name}");
        let remedy = "start virtual-kubelet, which registers it, or correct --nodename";
        steps.push(Step::failed(Id::NodeReady, HOP, cause, remedy));
        return steps;
    };
    steps.push(ready(name, node));
    steps.extend(connectivity(node));
    steps.push(match &facts.healthz {
        // The rights of a virtual kubelet don't have it.
        Err(why) if why.contains("forbidden") && why.contains("nodes/proxy") => {
            let why = "this kubeconfig may not ask through the API server (get of nodes/proxy)";
            Step::skipped(Id::KubeletPort, HOP, why)
        }
        Ok(latency) => {
            Step::good(Id::KubeletPort, HOP, "the API server reaches the kubelet's port").took(Some(*latency))
        }
        Err(why) => {
            let address = address(node).unwrap_or_else(|| "no address".into());
            let cause =
                format!("the API server does not reach the kubelet's port ({address}), so logs can't be read: {why}");
            let remedy =
                "set POD_IP to an address of this machine that the API server reaches, and open KUBELET_PORT for it";
            Step::failed(Id::KubeletPort, HOP, cause, remedy)
        }
    });
    if facts.all_allowed == Some(true) {
        let cause = "this kubeconfig has an administrator's rights, which virtual-kubelet doesn't need";
        let remedy = "if virtual-kubelet runs with it, give it a ServiceAccount with the rights it needs and a kubeconfig of its own";
        steps.push(Step::warned(Id::Rights, HOP, cause, remedy));
    }
    steps.push(tolerations(name, node, &facts.waiting));
    steps
}

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// By the condition's status: "NotReady" has "Ready" in it.
fn ready(name: &str, node: &Value) -> Step {
    let failed = |cause: String, remedy: &str| Step::failed(Id::NodeReady, HOP, cause, remedy);
    let Some(condition) = condition(node, "Ready") else {
        return failed(format!("the node {name} has no condition Ready"), "start virtual-kubelet, which sets it");
    };
    let why = condition["message"].as_str().unwrap_or_default();
    match condition["status"].as_str() {
        Some("True") => Step::good(Id::NodeReady, HOP, format!("the node {name} is Ready")),
        Some("Unknown") => failed(
            format!("the node {name} is NotReady: Kubernetes has not heard of virtual-kubelet for a while ({why})"),
            "start virtual-kubelet, or see whether it reaches the cluster",
        ),
        _ => failed(format!("the node {name} is NotReady: {why}"), "look at virtual-kubelet's log"),
    }
}

fn connectivity(node: &Value) -> Vec<Step> {
    let remedy = "look at the hop that the sentence names; pods go on, and new ones stay away meanwhile";
    let is = |kind: &str, bad: &str| condition(node, kind).filter(|condition| condition["status"] == bad);
    let faulty = is("InterlinkConnectivity", "False").or_else(|| is("NetworkUnavailable", "True"));
    vec![match faulty {
        Some(condition) => {
            let words = condition["message"].as_str().unwrap_or_default();
            let kind = condition["type"].as_str().unwrap_or_default();
            let status = condition["status"].as_str().unwrap_or_default();
            Step::failed(Id::NodeConnectivity, HOP, format!("the node has {kind}={status}: {words}"), remedy)
        }
        None if condition(node, "InterlinkConnectivity").is_none() => {
            Step::skipped(Id::NodeConnectivity, HOP, "the node has no condition InterlinkConnectivity")
        }
        None => Step::good(Id::NodeConnectivity, HOP, "InterlinkConnectivity=True, NetworkUnavailable=False"),
    }]
}

fn address(node: &Value) -> Option<String> {
    let addresses = node["status"]["addresses"].as_array()?;
    let address = addresses.iter().find(|address| address["type"] == "InternalIP")?["address"].as_str()?;
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    Some(format!("{address}:{port}"))
}

fn tolerations(name: &str, node: &Value, waiting: &[Value]) -> Step {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let taints = Taint::list(node);
    let offer = Offer {
        node: name.to_owned(),
        labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        // What Kubernetes sets by itself during an outage is no pod's fault.
        taints: taints.into_iter().filter(|taint| !taint.key.starts_with("node.kubernetes.io/")).collect(),
    };
    let pods = waiting.iter().filter_map(|pod| Object::from_value(pod.clone()));
    let mut stuck =
        pods.filter_map(|pod| Some((format!("{}/{}", pod.namespace(), pod.name()), missing(&pod, &offer)?)));
    match stuck.next() {
        Some((pod, sentence)) => {
            let (cause, remedy) = sentence.split_once("; ").unwrap_or((&sentence, "add the toleration"));
            Step::warned(Id::Tolerations, HOP, format!("the pod {pod} waits for ever: {cause}"), remedy)
        }
        None => {
            let needed: Vec<&str> = offer.taints.iter().map(|taint| taint.key.as_str()).collect();
            let needed = if needed.is_empty() { "nothing".to_owned() } else { needed.join(", ") };
            Step::good(Id::Tolerations, HOP, format!("no pod waits for want of one; pods must tolerate {needed}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::step::Verdict;

    fn node(conditions: &[(&str, &str)]) -> Value {
        let list: Vec<Value> =
            conditions.iter().map(|(kind, status)| json!({"type": kind, "status": status, "message": "why"})).collect();
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "n"}},
            "spec": {"taints": [{"key": "virtual-node.interlink/no-schedule", "value": "true", "effect": "NoSchedule"}]},
            "status": {"conditions": list, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 5820}}}})
    }

    fn facts(node: Result<Option<Value>, String>) -> Facts {
        let latency = Duration::from_millis(2);
        Facts { name: "n".into(), node, latency, healthz: Ok(latency), all_allowed: Some(false), waiting: vec![] }
    }

    const WELL: [(&str, &str); 3] =
        [("Ready", "True"), ("NetworkUnavailable", "False"), ("InterlinkConnectivity", "True")];

    #[test]
    fn a_healthy_node_has_no_fault() {
        let steps = judge(&facts(Ok(Some(node(&WELL)))));
        assert!(steps.iter().all(|step| matches!(step.verdict, Verdict::Good(_))), "{steps:?}");
        assert!(
            matches!(&steps[4].verdict, Verdict::Good(seen) if seen.contains("virtual-node.interlink/no-schedule"))
        );
    }

    #[test]
    fn a_node_is_ready_by_its_conditions_status_alone() {
        type Conditions<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Conditions<'_>, Option<&str>); 5] = [
            (&[("Ready", "True")], None),
            (&[("Ready", "False")], Some("NotReady: why")),
            (&[("Ready", "Unknown")], Some("has not heard of virtual-kubelet")),
            (&[("NotReady", "True")], Some("no condition Ready")),
            (&[], Some("no condition Ready")),
        ];
        for (conditions, cause) in cases {
            let steps = judge(&facts(Ok(Some(node(conditions)))));
            let found = steps.iter().find(|step| step.id == Id::NodeReady).unwrap().fault();
            assert_eq!(found.is_some(), cause.is_some(), "{conditions:?}");
            assert!(found.is_none_or(|fault| fault.cause.contains(cause.unwrap())), "{found:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let outage = node(&[("Ready", "True"), ("NetworkUnavailable", "True"), ("InterlinkConnectivity", "False")]);
        let mut unreachable = facts(Ok(Some(node(&WELL))));
        unreachable.healthz = Err("dial tcp 10.0.0.1:5820: connect: connection refused".into());
        let cases = [
            (
                facts(Err("connection refused".into())),
                Id::Cluster,
                "can't be asked for: connection refused",
                "--kubeconfig",
            ),
            (facts(Ok(None)), Id::NodeReady, "there is no node n", "--nodename"),
            (facts(Ok(Some(outage))), Id::NodeConnectivity, "InterlinkConnectivity=False: why", "look at the hop"),
            (unreachable, Id::KubeletPort, "kubelet's port (10.0.0.1:5820)", "POD_IP"),
        ];
        for (facts, id, cause, remedy) in cases {
            let steps = judge(&facts);
            let faults: Vec<&Step> = steps.iter().filter(|step| step.fault().is_some()).collect();
            let [step] = faults.as_slice() else { panic!("{faults:?}") };
            let fault = step.fault().unwrap();
            assert!(step.id == id && fault.cause.contains(cause) && fault.remedy.contains(remedy), "{step:?}");
        }
    }

    #[test]
    fn a_kubeconfig_that_may_not_ask_the_kubelet_is_no_fault() {
        let mut facts = facts(Ok(Some(node(&WELL))));
        facts.healthz =
            Err("nodes \"n\" is forbidden: User \"u\" cannot get resource \"nodes/proxy\" in API group".into());
        let port = judge(&facts).into_iter().find(|step| step.id == Id::KubeletPort).unwrap();
        assert!(matches!(port.verdict, Verdict::Skipped(_)), "{port:?}");
    }

    #[test]
    fn too_many_rights_and_a_missing_toleration_are_warned_about() {
        let mut facts = facts(Ok(Some(node(&WELL))));
        facts.all_allowed = Some(true);
        facts.waiting = vec![json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": "n"}, "containers": [{"name": "c", "image": "i"}]}})];
        let warned: Vec<Step> =
            judge(&facts).into_iter().filter(|step| matches!(step.verdict, Verdict::Warned(_))).collect();
        assert_eq!(warned.iter().map(|step| step.id).collect::<Vec<_>>(), [Id::Rights, Id::Tolerations]);
        let Verdict::Warned(fault) = &warned[1].verdict else { panic!("{warned:?}") };
        assert!(
            fault.cause.contains("the pod d/p waits for ever") && fault.remedy.contains("tolerations:"),
            "{fault:?}"
        );
    }
}

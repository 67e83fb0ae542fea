use std::collections::HashMap;

use super::*;

fn read(yaml: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Config, Failure> {
    let (file, _) = interlink_daemon::config::parse::<File>(yaml, &[]).map_err(Failure::config)?;
    let args = std::iter::once("virtual-kubelet").chain(args.iter().copied()).map(Into::into);
    let flags: Flags = interlink_daemon::flags::try_parse(args).unwrap();
    let env: HashMap<&str, &str> = env.iter().copied().collect();
    resolve(&flags, |name| env.get(name).map(|v| (*v).to_owned()), &file)
}

const URL: &str = "InterlinkURL: unix:///run/interlink/api.sock\n";

fn of(yaml: &str) -> Config {
    read(&format!("{URL}{yaml}"), &["-nodename", "n"], &[]).unwrap_or_else(|f| panic!("{yaml}: {f}"))
}

fn wrong(yaml: &str) -> String {
    let failure = read(&format!("{URL}{yaml}"), &["-nodename", "n"], &[]).unwrap_err();
    assert_eq!(failure.code, 78, "{failure}");
    failure.sentence
}

#[test]
fn the_guides_file_and_command_line_work() {
    let yaml = "InterlinkURL: \"unix:///tmp/interlink.sock\"\nInterlinkPort: \"\"\nVerboseLogging: true\nErrorsOnlyLogging: false\n\
        NodeName: \"my-interlink-node\"\nNodeLabels:\n  \"interlink.cern.ch/provider\": \"remote-hpc\"\n";
    let config =
        read(yaml, &["--provider", "interlink", "--nodename", "interlink-node", "--config", "x"], &[]).unwrap();
    assert_eq!((config.node.as_str(), config.level), ("interlink-node", Level::Debug));
    assert_eq!(config.labels, [("interlink.cern.ch/provider".to_owned(), "remote-hpc".to_owned())].into());
    assert_eq!(
        config.warnings,
        ["the key NodeName says \"my-interlink-node\", but -nodename says \"interlink-node\", which wins"]
    );
    assert_eq!(config.resources["memory"], "3000G");
    assert_eq!(config.listen, ("0.0.0.0".to_owned(), 5820));
}

#[test]
fn the_node_has_one_name() {
    let yaml = format!("{URL}NodeName: c\n");
    let name = |args: &[&str], env: &[(&str, &str)]| read(&yaml, args, env).unwrap();
    assert_eq!(name(&["-nodename=a"], &[("NODENAME", "b")]).node, "a");
    assert_eq!(name(&["-nodename=a"], &[("NODENAME", "b")]).warnings.len(), 2);
    assert_eq!(name(&["-nodename="], &[("NODENAME", "b")]).node, "b");
    assert_eq!(name(&[], &[("NODENAME", "")]).node, "c");
    let nameless = read(URL, &[], &[]).unwrap_err();
    assert_eq!((nameless.code, nameless.sentence.contains("-nodename")), (2, true));
    assert_eq!(read(URL, &["-nodename", "Not_A_Name"], &[]).unwrap_err().code, 78);
    assert_eq!(read(URL, &["-nodename", "a", "--provider", "aws"], &[]).unwrap_err().code, 2);
}

#[test]
fn files_of_every_release_are_read() {
    let flat =
        of("CPU: 10\nMemory: 1Gi\nPods: \"20\"\nnvidia.com/gpu: 4\nSidecarURL: http://x\nHTTP: {Insecure: true}\n");
    let expected = [("cpu", "10"), ("memory", "1Gi"), ("pods", "20"), ("nvidia.com/gpu", "4")];
    assert_eq!(flat.resources, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let named = of(
        "Resources:\n  CPU: 10\n  Accelerators:\n  - {ResourceType: nvidia.com/gpu, Model: \"a 100\", Available: 3}\n  - {ResourceType: nvidia.com/gpu, Available: \"5\"}\n  - {ResourceType: amd.com/gpu}\n  - {ResourceType: gpu, Available: 1}\n",
    );
    assert_eq!(named.resources["nvidia.com/gpu"], "8");
    assert!(!named.resources.contains_key("amd.com/gpu"));
    assert_eq!(named.labels["nvidia-gpu-type"], "a-100");
    assert_eq!(named.warnings.len(), 2, "{:?}", named.warnings);
    let lists = of(
        "NodeLabels: [\"a=b\", nonsense]\nNodeTaints:\n- {Key: k, Value: v, Effect: Odd}\n- {Key: x/y, Effect: NoExecute}\nPodCIDR: {Subnet: 10.0.0.0/24, MaxIP: 100}\n",
    );
    assert_eq!(lists.taints.iter().map(ToString::to_string).collect::<Vec<_>>(), ["k=v:NoSchedule", "x/y:NoExecute"]);
    assert_eq!(lists.pod_cidr, "10.0.0.0/24");
    assert_eq!(lists.warnings.len(), 2, "{:?}", lists.warnings);
}

#[test]
fn mistakes_are_named_with_their_key() {
    let cases = [
        ("CPU: lots\n", "CPU: \"lots\" is not a Kubernetes quantity"),
        ("Resources: {Memory: -1Gi}\n", "Resources.Memory \"-1Gi\" must not be negative"),
        ("Resources: {Pods: 1.5}\n", "Resources.Pods \"1.5\" must be a whole number"),
        ("Resources:\n  Accelerators: [{ResourceType: nvidia.com/gpu, Available: x}]\n", "Accelerators[0].Available"),
        ("NodeLabels: 7\n", "key NodeLabels"),
        ("NodeLabels: {a: \"b c\"}\n", "NodeLabels value \"b c\" of a"),
        ("NodeLabels: [a=b=c]\n", "NodeLabels value \"b=c\" of a"),
        ("NodeLabels: {\"a//b\": c}\n", "NodeLabels key"),
        ("NodeTaints: [{Value: v}]\n", "NodeTaints[0]"),
        ("TLS: {Enabled: true}\n", "TLS.Enabled"),
        ("KubeletCertFile: /c\n", "belong together"),
        ("NodeOwner: ../secrets\n", "NodeOwner \"../secrets\" is not the name of a ClusterRole"),
        ("VerboseLogging: maybe\n", "line 2, key VerboseLogging"),
    ];
    for (yaml, part) in cases {
        let sentence = wrong(yaml);
        assert!(sentence.contains(part), "{yaml}: {sentence}");
    }
    assert!(read("{}", &["-nodename", "n"], &[]).unwrap_err().sentence.contains("InterlinkURL is not set"));
    assert!(read("InterlinkURL: plugin\n", &["-nodename", "n"], &[]).unwrap_err().sentence.contains("no known scheme"));
}

#[test]
fn the_environment_places_the_kubelet_api() {
    let of = |env: &[(&str, &str)]| read(URL, &["-nodename", "n"], env);
    let config = of(&[("KUBELET_URL", "10.0.0.1"), ("KUBELET_PORT", "10250"), ("POD_IP", "10.0.0.2")]).unwrap();
    assert_eq!((config.listen, config.pod_ip), (("10.0.0.1".to_owned(), 10250), Some("10.0.0.2".parse().unwrap())));
    let config = of(&[("KUBELET_URL", ""), ("POD_IP", "rubbish")]).unwrap();
    assert_eq!((config.listen.0.as_str(), config.pod_ip, config.warnings.len()), ("0.0.0.0", None, 1));
    assert!(of(&[("KUBELET_PORT", "many")]).unwrap_err().sentence.contains("KUBELET_PORT"));
}

#[test]
fn what_is_not_served_is_said_once() {
    let config = of(
        "Network: {EnableTunnel: true, FullMesh: true, WgToolURL: x}\nPprof: {Enabled: yes}\nKubernetesApiAddr: a\nKubernetesApiPort: 6443\n",
    );
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
    assert_eq!(config.kubernetes_api.unwrap().port, "6443");
}

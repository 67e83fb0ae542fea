//! `KUBERNETES_*`: where a container finds the API server of the cluster.

/// The API server as containers on the batch machine reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesApi {
    /// `KubernetesApiAddr`: address or name.
    pub address: String,
    /// `KubernetesApiPort`.
    pub port: String,
}

/// The variables, in the order of the existing virtual kubelet. The `443` in the names is fixed.
pub(super) fn variables(api: &KubernetesApi) -> [(&'static str, String); 8] {
    let KubernetesApi { address, port } = api;
    let bracketed = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let url = format!("tcp://{bracketed}:{port}");
    [
        ("KUBERNETES_PORT", url.clone()),
        ("KUBERNETES_SERVICE_PORT", port.clone()),
        ("KUBERNETES_PORT_443_TCP_ADDR", address.clone()),
        ("KUBERNETES_PORT_443_TCP_PORT", port.clone()),
        ("KUBERNETES_PORT_443_TCP_PROTO", "tcp".to_owned()),
        ("KUBERNETES_PORT_443_TCP", url),
        ("KUBERNETES_SERVICE_PORT_HTTPS", port.clone()),
        ("KUBERNETES_SERVICE_HOST", address.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_bracketed_in_urls_only() {
        let vars = variables(&KubernetesApi { address: "fd00::1".into(), port: "6443".into() });
        assert_eq!(vars[0], ("KUBERNETES_PORT", "tcp://[fd00::1]:6443".to_owned()));
        assert_eq!(vars[7], ("KUBERNETES_SERVICE_HOST", "fd00::1".to_owned()));
    }
}

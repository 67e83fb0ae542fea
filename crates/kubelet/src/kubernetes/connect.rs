//! Finding the API server, and the address by which it finds us.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use interlink_daemon::Failure;
use kube::config::Config;

/// Connects to the cluster that `KUBECONFIG` (several files and relative paths are fine), `~/.kube/config` or, inside of a
/// pod, its ServiceAccount names. Nothing is sent yet.
///
/// # Errors
/// [`Failure`] with exit code 78: a person must mend it.
pub async fn connect() -> Result<(kube::Client, Config), Failure> {
    let mut config = Config::infer().await.map_err(|e| {
        let named = std::env::var("KUBECONFIG").unwrap_or_default();
        let named =
            if named.is_empty() { "KUBECONFIG is not set".to_owned() } else { format!("KUBECONFIG is {named:?}") };
        Failure::config(format!(
            "there is no way to a cluster: {}; {named}; name a kubeconfig file, or use --pod-manifest-path",
            super::api::chain(&e)
        ))
    })?;
    config.connect_timeout = Some(Duration::from_secs(10));
    let client = kube::Client::try_from(config.clone())
        .map_err(|e| Failure::config(format!("the kubeconfig can't be used: {}", super::api::chain(&e))))?;
    Ok((client, config))
}

/// The address that packets to the API server leave from. Nothing is sent.
pub async fn own_address(config: &Config) -> Option<IpAddr> {
    let uri = &config.cluster_url;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let look = tokio::net::lookup_host((host, port));
    let addresses = tokio::time::timeout(Duration::from_secs(5), look).await.ok()?.ok()?;
    let mut found = None;
    for address in addresses {
        found = found.or(route(address).await);
    }
    match found {
        // An API server on this machine refuses to call kubelets on loopback addresses; its own address will do.
        Some(ip) if ip.is_loopback() => route(ELSEWHERE).await.or(found),
        other => other,
    }
}

/// An address that is nobody's (TEST-NET-2 of RFC 5737): the way to it is the default route.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9);

async fn route(to: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = tokio::net::UdpSocket::bind(any).await.ok()?;
    socket.connect(to).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_own_address_is_the_one_of_the_route() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 6443));
        assert_eq!(route(loopback).await, Some(loopback.ip()));
        let config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        let elsewhere = route(ELSEWHERE).await;
        assert_eq!(own_address(&config).await, elsewhere.or(Some(loopback.ip())));
    }
}

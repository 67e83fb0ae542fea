//! What we show.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::{Access, Serving, Tls};
use super::authority::{Authority, get};
use super::next_hop::Stage;

fn own(dir: &Path, node: &str, address: &str) -> Serving {
    let addresses: Vec<IpAddr> = vec![address.parse().unwrap()];
    Serving::SelfSigned { node: node.into(), addresses, directory: Some(dir.to_owned()) }
}

#[tokio::test]
async fn our_own_certificate_names_the_node() {
    let stage = Stage::set(Access::default()).await;
    let shown = get(stage.port, "/healthz", Some(&stage.api_server())).await.unwrap().certificate;
    let (_, certificate) = X509Certificate::from_der(&shown).unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=system:node:site, O=system:nodes");
    let names = format!("{:?}", certificate.subject_alternative_name().unwrap().unwrap().value.general_names);
    assert!(names.contains("site") && names.contains("127, 0, 0, 1"), "{names}");
    assert!(certificate.extended_key_usage().unwrap().unwrap().value.server_auth);
    let days = (certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp()) / 86_400;
    assert_eq!(days, 366);
    stage.clear().await;
}

#[test]
fn our_own_certificate_is_kept_private_and_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubelet-serving.pem");
    let read = || fs::read(&file).unwrap();
    Tls::new(own(dir.path(), "site", "127.0.0.1"), None).unwrap();
    let first = read();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    Tls::new(own(dir.path(), "site", "127.0.0.1"), None).unwrap().refresh();
    assert_eq!(read(), first);
    // Another address, another name or a damaged file need a new one.
    Tls::new(own(dir.path(), "site", "192.0.2.1"), None).unwrap();
    let second = read();
    assert_ne!(second, first);
    Tls::new(own(dir.path(), "other", "192.0.2.1"), None).unwrap();
    assert_ne!(read(), second);
    fs::write(&file, "damaged").unwrap();
    Tls::new(own(dir.path(), "other", "192.0.2.1"), None).unwrap();
    assert!(CertificateDer::from_pem_slice(&read()).is_ok());
}

#[test]
fn without_a_place_to_keep_it_we_still_have_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    Tls::new(own(&dir.path().join("missing"), "site", "127.0.0.1"), None).unwrap();
    Tls::new(Serving::SelfSigned { node: "site".into(), addresses: vec![], directory: None }, None).unwrap();
}

#[tokio::test]
async fn the_operators_files_are_shown_and_read_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let ca_file = dir.path().join("ca.crt");
    let authority = Authority::new();
    let (first, second) = (authority.sign("first", &[]), authority.sign("second", &[]));
    let serving = Serving::Files { certificate: certificate.clone(), key: key.clone() };
    let missing = Tls::new(serving.clone(), None).unwrap_err();
    assert!(missing.starts_with("can't read KubeletCertFile ") && missing.contains("tls.crt"), "{missing}");
    fs::write(&certificate, &first.certificate).unwrap();
    fs::write(&key, &second.key).unwrap();
    assert!(Tls::new(serving.clone(), None).unwrap_err().contains("don't belong together"));
    fs::write(&key, &first.key).unwrap();
    let missing = Tls::new(serving.clone(), Some(ca_file.clone())).unwrap_err();
    assert!(missing.starts_with("can't read ClientCAFile "), "{missing}");
    fs::write(&ca_file, &authority.pem).unwrap();
    let tls = Tls::new(serving, Some(ca_file)).unwrap();

    assert_eq!(tls.shown(), der(&first.certificate));
    // In the middle of a change the pair does not fit: the old one stays.
    fs::write(&certificate, &second.certificate).unwrap();
    tls.refresh();
    assert_eq!(tls.shown(), der(&first.certificate));
    fs::write(&key, &second.key).unwrap();
    tls.refresh();
    assert_eq!(tls.shown(), der(&second.certificate));
    fs::remove_file(&certificate).unwrap();
    tls.refresh();
    assert_eq!(tls.shown(), der(&second.certificate));
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

//! The certificates of one cluster: a CA and what it signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The names that the API server is called by.
const API_SERVER_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// A cluster's CA, with a directory that holds what it has signed.
pub(super) struct Pki {
    dir: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Who a certificate says its owner is.
pub(super) struct Identity {
    /// The certificate, PEM.
    pub(super) certificate: String,
    /// Its key, PEM (PKCS #8).
    pub(super) key: String,
}

impl Pki {
    /// Makes the CA and writes `ca.crt` and `ca.key`, and `sa.key` and `sa.pub` for service account tokens.
    pub(super) fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a test's own directory must be writable");
        let mut params = params("interlink-test-ca", None, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = key();
        let ca_pem = params.self_signed(&key).expect("a CA signs itself").pem();
        write(&dir.join("ca.crt"), &ca_pem);
        write(&dir.join("ca.key"), &key.serialize_pem());
        let tokens = self::key();
        write(&dir.join("sa.key"), &tokens.serialize_pem());
        write(&dir.join("sa.pub"), &tokens.public_key_pem());
        Self { dir, ca_pem, issuer: Issuer::new(params, key) }
    }

    /// The file of that name (`"ca.crt"`).
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The CA's certificate, PEM.
    pub(super) fn ca(&self) -> &str {
        &self.ca_pem
    }

    /// Signs a certificate for a user, a member of `group`, and for servers of those names.
    pub(super) fn sign(&self, user: &str, group: Option<&str>, names: &[&str]) -> Identity {
        let key = key();
        let mut params = params(user, group, names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("the CA signs what it is given").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Writes `apiserver.crt`, `kubelet-client.crt` and their keys.
    pub(super) fn write_api_server_files(&self) {
        for (name, identity) in [
            ("apiserver", self.sign("kube-apiserver", None, &API_SERVER_NAMES)),
            ("kubelet-client", self.sign("kube-apiserver-kubelet-client", Some("system:masters"), &[])),
        ] {
            write(&self.file(&format!("{name}.crt")), &identity.certificate);
            write(&self.file(&format!("{name}.key")), &identity.key);
        }
    }
}

fn params(user: &str, group: Option<&str>, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("the names are plain ASCII");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the random source of the machine works")
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).expect("a test's own directory must be writable");
}

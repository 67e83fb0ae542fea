//! The certificate that we show: the operator's files, or one of our own making.
//!
//! One of our own is enough for the API server, which by default does not verify kubelets. It is kept in the state
//! directory, so that it stays the same over restarts, and renewed a month before it ends.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a certificate of our own lasts, in days.
const LASTS_DAYS: i64 = 365;
/// A certificate of our own is renewed when it ends within so many days.
const RENEW_DAYS: i64 = 30;
/// Its file in the state directory: certificate and key.
const FILE: &str = "kubelet-serving.pem";

/// Where the serving certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// `KubeletCertFile` and `KubeletKeyFile`: PEM.
    Files {
        /// Certificate, then intermediates.
        certificate: PathBuf,
        /// Key.
        key: PathBuf,
    },
    /// Made by ourselves.
    SelfSigned {
        /// Node name: a DNS name in the certificate, and its user `system:node:<node>`.
        node: String,
        /// Addresses of the node.
        addresses: Vec<IpAddr>,
        /// Where it is kept, or `None` to make a new one at every start.
        directory: Option<PathBuf>,
    },
}

/// Certificate and key as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pem {
    /// What rustls shows to clients; an error when the two don't belong together.
    pub(super) fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| format!("the serving certificate is not PEM: {e}"))?;
        if chain.is_empty() {
            return Err("the serving certificate's file holds no certificate".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| format!("the serving key is not PEM: {e}"))?;
        CertifiedKey::from_der(chain, key, provider)
            .map_err(|e| format!("serving certificate and key don't belong together: {e}"))
    }
}

impl Serving {
    /// The certificate as it should be now: files are read anew, one of our own is made or renewed where needed.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub(super) fn load(&self, known: Option<&Pem>, provider: &CryptoProvider) -> Result<Pem, String> {
        match self {
            Self::Files { certificate, key } => {
                let read = |what: &str, path: &Path| {
                    fs::read(path).map_err(|e| format!("can't read {what} {}: {e}", path.display()))
                };
                Ok(Pem { certificate: read("KubeletCertFile", certificate)?, key: read("KubeletKeyFile", key)? })
            }
            Self::SelfSigned { node, addresses, directory } => {
                let good = |pem: &Pem| pem.certified(provider).is_ok() && fits(&pem.certificate, node, addresses);
                if let Some(pem) = known.filter(|pem| good(pem)) {
                    return Ok(pem.clone());
                }
                let file = directory.as_ref().map(|d| d.join(FILE));
                if let Some(pem) = file.as_deref().and_then(stored).filter(good) {
                    return Ok(pem);
                }
                let pem = generate(node, addresses).map_err(|e| format!("can't make a serving certificate: {e}"))?;
                if let Some(file) = file
                    && let Err(error) = store(&file, &pem)
                {
                    tracing::warn!(file = %file.display(), err = %error, "can't keep the serving certificate; after a restart there will be another");
                }
                Ok(pem)
            }
        }
    }
}

/// Whether a certificate of our own still lasts and names the node as it is now.
fn fits(pem: &[u8], node: &str, addresses: &[IpAddr]) -> bool {
    let Some(Ok(der)) = CertificateDer::pem_slice_iter(pem).next() else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
    let now = Timestamp::now().as_second();
    let validity = certificate.validity();
    let lasts = validity.not_before.timestamp() <= now && now + RENEW_DAYS * 86_400 < validity.not_after.timestamp();
    let named: Vec<GeneralName<'_>> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| names.value.general_names.clone())
        .unwrap_or_default();
    let octets = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let has_ip = |ip: &IpAddr| named.iter().any(|n| matches!(n, GeneralName::IPAddress(b) if *b == octets(ip)));
    let has_name = named.iter().any(|n| matches!(n, GeneralName::DNSName(name) if *name == node));
    lasts && has_name && addresses.iter().all(has_ip)
}

fn generate(node: &str, addresses: &[IpAddr]) -> Result<Pem, rcgen::Error> {
    let names: Vec<String> =
        std::iter::once(node.to_owned()).chain(addresses.iter().map(ToString::to_string)).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // From yesterday on: clocks differ.
    let (year, month, date) = day(-1);
    params.not_before = rcgen::date_time_ymd(year, month, date);
    let (year, month, date) = day(LASTS_DAYS);
    params.not_after = rcgen::date_time_ymd(year, month, date);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pem { certificate: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
}

/// Year, month and day so many days from now, as rcgen takes them.
fn day(from_now: i64) -> (i32, u8, u8) {
    let date = Offset::UTC.to_datetime(Timestamp::now()).date().saturating_add(from_now.days());
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

/// A certificate of an earlier run. Whatever is wrong with it, a new one is made.
fn stored(file: &Path) -> Option<Pem> {
    let both = fs::read(file).ok()?;
    Some(Pem { certificate: both.clone(), key: both })
}

/// Keeps it for this user alone; a crash leaves the old file or the new one.
fn store(file: &Path, pem: &Pem) -> io::Result<()> {
    let temporary = file.with_extension("tmp");
    // What a crash left behind may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    out.write_all(&pem.certificate)?;
    out.write_all(&pem.key)?;
    out.sync_all()?;
    fs::rename(&temporary, file)
}

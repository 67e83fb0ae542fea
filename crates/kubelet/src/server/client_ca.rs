//! Whom we verify: the certificate authorities of the cluster's clients.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// A verifier for the authorities in `pem`. A client without a certificate passes here, to be answered 401 in words;
/// a certificate of another authority ends the handshake.
pub(super) fn verifier(pem: &str, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|e| format!("the client CA is not PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("the client CA holds a certificate that can't be read: {e}"))?;
    }
    if roots.is_empty() {
        return Err("the client CA holds no certificate; expected PEM with BEGIN CERTIFICATE".to_owned());
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|e| format!("the client CA can't be used: {e}"))
}

//! Who a client certificate belongs to, as Kubernetes reads it: the common name is the user, organizations are groups.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Common name.
    pub user: String,
    /// Organizations.
    pub groups: Vec<String>,
}

impl Subject {
    /// Reads a certificate that is already verified. `None` when it names no user.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let name = certificate.subject();
        // As Go: of several common names the last one counts.
        let user = name.iter_common_name().last()?.as_str().ok()?.to_owned();
        let groups = name.iter_organization().map(|o| o.as_str().map(str::to_owned)).collect::<Result<_, _>>().ok()?;
        (!user.is_empty()).then_some(Self { user, groups })
    }
}

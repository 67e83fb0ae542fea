//! Signs: with a key at hand, or by asking an SSH agent that keeps it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use russh::AgentAuthError;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;

use super::{Identity, Secret};

/// One thing to log in with.
#[derive(Debug, Clone)]
pub struct Offer {
    /// What is shown to the server.
    pub shown: Shown,
    /// As what the agent knows the key.
    signs: AgentIdentity,
}

/// What is shown to the server.
#[derive(Debug, Clone)]
pub enum Shown {
    /// The key alone.
    Key(PublicKey),
    /// A certificate for it.
    Certificate(Box<Certificate>),
}

impl Offer {
    fn key(key: &PublicKey) -> Self {
        Self { shown: Shown::Key(key.clone()), signs: key.clone().into() }
    }

    /// A certificate is shown first: the bare key may be let in too, but for what the certificate allows it was made.
    fn with_certificate(key: &PublicKey, certificate: Option<&Certificate>) -> Vec<Self> {
        let shown =
            certificate.map(|c| Self { shown: Shown::Certificate(Box::new(c.clone())), signs: key.clone().into() });
        shown.into_iter().chain([Self::key(key)]).collect()
    }

    /// Whether it signs with RSA, where a hash must be chosen.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        match &self.shown {
            Shown::Key(key) => key.algorithm().is_rsa(),
            Shown::Certificate(certificate) => certificate.algorithm().is_rsa(),
        }
    }
}

/// What signs, at work.
pub struct Pen {
    hand: Hand,
    signs: Option<AgentIdentity>,
}

enum Hand {
    Key(Arc<PrivateKey>),
    Agent(AgentClient<UnixStream>),
}

/// Why an agent is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens on its socket.
    #[error("it can't be connected to ({0})")]
    Away(io::Error),
    /// It does not speak as agents do.
    #[error("it gives no list of its keys ({0})")]
    Speechless(russh::keys::Error),
    /// It does not have the key, or none at all.
    #[error("it does not have {0}")]
    Missing(String),
}

impl Pen {
    /// Takes up the pen: what signs, and everything that can be offered to a server.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn take(identity: &Identity) -> Result<(Self, Vec<Offer>), AgentError> {
        let certificate = identity.certificate.as_ref();
        match &identity.secret {
            Secret::Key(key) => {
                let offers = Offer::with_certificate(key.public_key(), certificate);
                Ok((Self { hand: Hand::Key(Arc::clone(key)), signs: None }, offers))
            }
            Secret::Ssh => Err(AgentError::Missing("a key of its own: ssh_config names it".into())),
            Secret::Agent { socket, only } => {
                let (agent, held) = ask(socket).await?;
                let offers = match only {
                    Some(key) => only_key(key, certificate, held)?,
                    None => held.into_iter().map(as_held).collect(),
                };
                if offers.is_empty() {
                    return Err(AgentError::Missing("any key (ssh-add -l lists them)".into()));
                }
                Ok((Self { hand: Hand::Agent(agent), signs: None }, offers))
            }
        }
    }

    /// Says for which offer the next signature is.
    pub fn point_at(&mut self, offer: &Offer) {
        self.signs = Some(offer.signs.clone());
    }

    /// Tells the agent which server it signs for: keys that are constrained to servers need that.
    pub async fn bind(&mut self, binding: &russh::keys::agent::AgentSessionBinding) {
        if let Hand::Agent(agent) = &mut self.hand
            && let Err(err) = agent.bind_session(binding, false).await
        {
            tracing::debug!(%err, "the SSH agent does not bind its signatures to a session");
        }
    }
}

async fn ask(socket: &Path) -> Result<(AgentClient<UnixStream>, Vec<AgentIdentity>), AgentError> {
    let stream = UnixStream::connect(socket).await.map_err(AgentError::Away)?;
    let mut agent = AgentClient::connect(stream);
    let held = agent.request_identities().await.map_err(AgentError::Speechless)?;
    Ok((agent, held))
}

fn as_held(held: AgentIdentity) -> Offer {
    match held {
        AgentIdentity::PublicKey { ref key, .. } => Offer { shown: Shown::Key(key.clone()), signs: held },
        AgentIdentity::Certificate { ref certificate, .. } => {
            Offer { shown: Shown::Certificate(Box::new(certificate.clone())), signs: held }
        }
    }
}

/// The agent may have the key alone, its certificate alone, or both.
fn only_key(
    key: &PublicKey,
    certificate: Option<&Certificate>,
    held: Vec<AgentIdentity>,
) -> Result<Vec<Offer>, AgentError> {
    let (mut bare, mut certified) = (false, Vec::new());
    for identity in held {
        match &identity {
            AgentIdentity::PublicKey { key: held, .. } => bare |= held.key_data() == key.key_data(),
            AgentIdentity::Certificate { certificate, .. } if certificate.public_key() == key.key_data() => {
                certified.push(as_held(identity));
            }
            AgentIdentity::Certificate { .. } => {}
        }
    }
    match (bare, certified.is_empty()) {
        (true, _) => Ok(certified.into_iter().chain(Offer::with_certificate(key, certificate)).collect()),
        (false, false) => Ok(certified),
        (false, true) => Err(AgentError::Missing(format!(
            "{} (ssh-add -l lists what it has)",
            crate::hostkeys::verify::describe(key)
        ))),
    }
}

impl russh::Signer for Pen {
    type Error = AgentAuthError;

    /// Returns what was to be signed with the signature at its end, as the library's own agent does.
    async fn auth_sign(
        &mut self,
        shown: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        match &mut self.hand {
            Hand::Agent(agent) => {
                agent.sign_request(self.signs.as_ref().unwrap_or(shown), hash, to_sign).await.map_err(Into::into)
            }
            Hand::Key(key) => {
                let signed = match key.key_data() {
                    KeypairData::Rsa(pair) => (pair, hash).try_sign(&to_sign),
                    other => other.try_sign(&to_sign),
                };
                let failed = |err| AgentAuthError::Key(russh::keys::Error::SshKey(err));
                let signature = Vec::<u8>::try_from(signed.map_err(|err| failed(err.into()))?).map_err(failed)?;
                let length = u32::try_from(signature.len()).unwrap_or(u32::MAX);
                to_sign.extend_from_slice(&length.to_be_bytes());
                to_sign.extend_from_slice(&signature);
                Ok(to_sign)
            }
        }
    }
}

/// The signature of an RSA key: SHA-2 only, by what the server announced (RFC 8308). `None` = the
/// server knows SHA-1 signatures alone.
#[must_use]
pub fn rsa_hash(announced: Option<Option<HashAlg>>) -> Option<HashAlg> {
    match announced {
        // Servers from before RFC 8308 that know SHA-2 at all know both.
        None => Some(HashAlg::Sha512),
        Some(best) => best,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_sign_with_sha2_or_not_at_all() {
        assert_eq!(rsa_hash(None), Some(HashAlg::Sha512));
        assert_eq!(rsa_hash(Some(Some(HashAlg::Sha256))), Some(HashAlg::Sha256));
        assert_eq!(rsa_hash(Some(None)), None);
    }
}

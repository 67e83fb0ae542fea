//! Logging in: every key that the identity has is shown to the server, certificates first, until one is let in.

use russh::client::{AuthResult, Handle};
use russh::{AgentAuthError, MethodSet};

use super::fault::Fault;
use super::gatekeeper::Gatekeeper;
use super::step::Step;
use crate::config::Hop;
use crate::identity::Identity;
use crate::identity::pen::{Offer, Pen, Shown, rsa_hash};

/// Servers end the session after six refusals (`MaxAuthTries`) unless told otherwise, and an agent may have many keys.
const MOST_OFFERS: usize = 6;

/// Logs in at `hop`.
pub(super) async fn log_in(hop: &Hop, identity: &Identity, handle: &mut Handle<Gatekeeper>) -> Result<(), Fault> {
    let server = &hop.server;
    let ended = |err: &russh::Error| Fault { step: Step::Login, ..Fault::handshake(server, err) };
    let (mut pen, offers) = Pen::take(identity).await.map_err(|err| Fault::agent(identity, &err))?;
    if let Some(binding) = handle.agent_session_binding().cloned() {
        pen.bind(&binding).await;
    }
    let mut refused = None;
    let mut unsigned = None;
    let mut too_old = false;
    for offer in offers.iter().take(MOST_OFFERS) {
        let hash = if offer.is_rsa() {
            let announced = handle.best_supported_rsa_hash().await.map_err(|err| ended(&err))?;
            let Some(hash) = rsa_hash(announced) else {
                too_old = true;
                continue;
            };
            Some(hash)
        } else {
            None
        };
        pen.point_at(offer);
        match show(hop, offer, hash, &mut pen, handle).await {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure { partial_success: true, .. }) => {
                return Err(Fault::second_factor(hop, identity));
            }
            // The library reports the end of the session as a failure without methods.
            Ok(AuthResult::Failure { remaining_methods, .. })
                if remaining_methods == MethodSet::empty() && handle.is_closed() =>
            {
                if refused.is_none() {
                    return Err(ended(&russh::Error::HUP));
                }
                break;
            }
            Ok(AuthResult::Failure { remaining_methods, .. }) => refused = Some(remaining_methods),
            Err(AgentAuthError::Key(err)) => unsigned = Some(err),
            Err(AgentAuthError::Send(_)) => return Err(ended(&russh::Error::HUP)),
        }
    }
    Err(match (unsigned, refused, too_old) {
        (Some(err), _, _) => Fault::unsigned(identity, &err),
        (None, Some(accepts), _) => Fault::login(hop, identity, offers.len(), &accepts),
        (None, None, true) => Fault::rsa_sha1(server, identity),
        (None, None, false) => Fault::login(hop, identity, offers.len(), &MethodSet::empty()),
    })
}

async fn show(
    hop: &Hop,
    offer: &Offer,
    hash: Option<russh::keys::HashAlg>,
    pen: &mut Pen,
    handle: &mut Handle<Gatekeeper>,
) -> Result<AuthResult, AgentAuthError> {
    match &offer.shown {
        Shown::Key(key) => handle.authenticate_publickey_with(&hop.user, key.clone(), hash, pen).await,
        Shown::Certificate(certificate) => {
            handle.authenticate_certificate_with(&hop.user, (**certificate).clone(), hash, pen).await
        }
    }
}

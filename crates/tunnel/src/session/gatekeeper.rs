//! Our side of the SSH session's callbacks: who the server is, and what it may ask of us (nothing).

use std::sync::Arc;

use jiff::Timestamp;
use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::conduit::Conduit;
use super::fault::end_in_words;
use crate::config::Remote;
use crate::hostkeys::verify::{Refusal, describe};
use crate::hostkeys::{HostKeys, Judgement};

/// Why a session ended or never began.
#[derive(Debug)]
pub(super) enum Broken {
    /// The protocol or the network.
    Ssh(russh::Error),
    /// The server is not who it should be.
    HostKey(Refusal),
}

impl From<russh::Error> for Broken {
    fn from(err: russh::Error) -> Self {
        Self::Ssh(err)
    }
}

/// A connection that the server accepted for us and wants to hand over.
pub struct Incoming {
    /// Where the server accepted it.
    pub at: Remote,
    /// The connection itself.
    pub handed: Handed,
}

/// How it is handed over.
pub enum Handed {
    /// As a channel, to be accepted or rejected.
    Channel {
        /// The channel, once accepted.
        channel: Channel<Msg>,
        /// Accepts or rejects it.
        reply: ChannelOpenHandle,
    },
    /// By `ssh`, which has accepted it.
    Stream(UnixStream),
}

impl Incoming {
    /// Takes it over.
    pub async fn accept(self) -> Conduit {
        match self.handed {
            Handed::Channel { channel, reply } => {
                reply.accept().await;
                Conduit::Channel(channel)
            }
            Handed::Stream(stream) => Conduit::Local(stream),
        }
    }

    /// Turns it away.
    pub async fn reject(self, reason: ChannelOpenFailure) {
        match self.handed {
            Handed::Channel { reply, .. } => reply.reject(reason).await,
            // Closed when dropped.
            Handed::Stream(_) => {}
        }
    }
}

/// Judges the server and reports the end of the session.
pub(super) struct Gatekeeper {
    /// What is known of the server.
    pub(super) host_keys: Arc<HostKeys>,
    /// Told once why the session ended.
    pub(super) ended: Option<oneshot::Sender<String>>,
    /// Where connections go that the server accepts for us; `None` unless it was asked to listen.
    pub(super) incoming: Option<mpsc::Sender<Incoming>>,
}

impl Gatekeeper {
    /// Never waits: the session stands still while this runs.
    async fn hand_over(&self, at: Remote, channel: Channel<Msg>, reply: ChannelOpenHandle) -> Result<(), Broken> {
        let Some(incoming) = &self.incoming else { return reject(reply).await };
        if let Err(refused) = incoming.try_send(Incoming { at, handed: Handed::Channel { channel, reply } }) {
            refused.into_inner().reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn admit_new(&self, key: &russh::keys::PublicKey) -> Result<bool, Broken> {
        let (host_keys, offered) = (Arc::clone(&self.host_keys), key.clone());
        let recorded = tokio::task::spawn_blocking(move || host_keys.record(&offered)).await;
        match recorded {
            Ok(Ok(path)) => {
                tracing::info!(
                    key = describe(key),
                    "{} is new: its host key is now on record in {}; compare the fingerprint with the site's",
                    self.host_keys.trust().name,
                    path.display()
                );
                Ok(true)
            }
            Ok(Err(refusal)) => Err(Broken::HostKey(refusal)),
            Err(err) => Err(Broken::Ssh(russh::Error::IO(std::io::Error::other(err)))),
        }
    }
}

impl Handler for Gatekeeper {
    type Error = Broken;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        let (judgement, key) = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => (self.host_keys.judge(key), Some(key)),
            PublicKeyOrCertificate::Certificate(certificate) => {
                (self.host_keys.judge_certificate(certificate, Timestamp::now()), None)
            }
        };
        match (judgement, key) {
            (Judgement::Trusted, _) => Ok(true),
            (Judgement::Refused(refusal), _) => Err(Broken::HostKey(refusal)),
            (Judgement::New, Some(key)) => self.admit_new(key).await,
            // Certificates are trusted or not.
            (Judgement::New, None) => Ok(false),
        }
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Broken> {
        tracing::debug!(banner = banner.trim(), "the server greets");
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Broken> {
        tracing::debug!(?reason, description, "the server did not open a channel");
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        let (words, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => (format!("the server said: {}", info.message), Ok(())),
            DisconnectReason::Error(Broken::Ssh(err)) => (end_in_words(&err), Err(Broken::Ssh(err))),
            DisconnectReason::Error(Broken::HostKey(refusal)) => (refusal.cause(), Err(Broken::HostKey(refusal))),
        };
        if let Some(ended) = self.ended.take() {
            // The other end is gone only when nobody wants to know any more.
            let _ = ended.send(words);
        }
        result
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        // No such port was asked for.
        let Ok(port) = u16::try_from(port) else { return reject(reply).await };
        self.hand_over(Remote::Port(port), channel, reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        self.hand_over(Remote::Socket(path.to_owned()), channel, reply).await
    }

    // A server may also open channels to its client for agent and X11 forwarding. Neither was asked for, so each is
    // rejected; russh accepts most of them by default.

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        reject(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        reject(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        reject(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        reject(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        reject(reply).await
    }
}

async fn reject(reply: ChannelOpenHandle) -> Result<(), Broken> {
    tracing::warn!("the server opened a channel to us, which nobody asked for: rejected");
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

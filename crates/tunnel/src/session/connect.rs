//! From nothing to a session that is logged in: dial, shake hands, log in.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult};
use russh::keys::PrivateKeyWithHashAlg;
use russh::{MethodSet, Preferred, SshId, cipher, compression};
use tokio::io::BufReader;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::dial::dial;
use super::fault::Fault;
use super::gatekeeper::{Broken, Gatekeeper, Incoming};
use super::live::{Cut, Live};
use super::step::Step;
use crate::config::Settings;
use crate::hostkeys::HostKeys;
use crate::hostkeys::verify::Trust;
use crate::identity::{Identity, rsa_hash};

/// What the server may send on one channel before we acknowledge: a link of 100 MB/s and 40 ms round-trip full.
const WINDOW: u32 = 4 << 20;
/// Taken from the server's connection at once: two packets.
const READ: usize = 64 << 10;
/// The largest packet asked for; what OpenSSH uses.
const PACKET: u32 = 32 << 10;
/// Messages of one channel that may wait in the library. Ours are taken out at once, see [`crate::forward`].
const CHANNEL_MESSAGES: usize = 32;
/// An idle connection is asked for a sign of life this often …
const KEEPALIVE: Duration = Duration::from_secs(10);
/// … and given up when this many go unanswered: 40 seconds after the last sign of life.
const KEEPALIVES: usize = 3;
/// The last resort, also during a key exchange, when no keepalives are sent.
const SILENCE: Duration = Duration::from_secs(44);

/// Establishes a session. The receiver tells why it ended, in words.
pub(crate) async fn connect(
    settings: &Settings,
    identity: &Identity,
    host_keys: Arc<HostKeys>,
    incoming: Option<mpsc::Sender<Incoming>>,
) -> Result<(Arc<Live>, oneshot::Receiver<String>), Fault> {
    let (server, limit) = (&settings.server, settings.connect_timeout);
    let (stream, peer) = dial(server, limit).await?;
    let late = |step| Fault::timeout(server, step, limit);
    let broken = |err| Fault::tcp(server, Some(peer), &err);
    // The server speaks first; waiting for it tells a server that bans us from one that speaks something else.
    let mut first = [0; 4];
    let ssh = match timeout(limit, stream.peek(&mut first)).await.map_err(|_| late(Step::Greeting))? {
        Ok(0) => return Err(Fault::no_banner(server, &io::ErrorKind::UnexpectedEof.into())),
        Ok(n) => b"SSH-".starts_with(&first[..n]),
        Err(err) => return Err(Fault::no_banner(server, &err)),
    };
    let stream = stream.into_std().map_err(broken)?;
    let link = Cut::new(stream.try_clone().map_err(broken)?);
    // The library reads each packet in two pieces.
    let stream = BufReader::with_capacity(READ, tokio::net::TcpStream::from_std(stream).map_err(broken)?);

    let config = Arc::new(client_config(host_keys.trust()));
    let (ended, end) = oneshot::channel();
    let gatekeeper = Gatekeeper { host_keys, ended: Some(ended), incoming };
    let mut handle = timeout(limit, client::connect_stream(config, stream, gatekeeper))
        .await
        .map_err(|_| late(Step::Handshake))?
        .map_err(|broken| match broken {
            // Other words may come before a server's banner, but then it came.
            Broken::Ssh(russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_)) if !ssh => {
                Fault::handshake(server, &russh::Error::Version)
            }
            Broken::Ssh(err) => Fault::handshake(server, &err),
            Broken::HostKey(refusal) => Fault::host_key(&refusal),
        })?;
    timeout(limit, log_in(settings, identity, &mut handle)).await.map_err(|_| late(Step::Login))??;

    Ok((Arc::new(Live::new(handle, peer, link)), end))
}

fn client_config(trust: &Trust) -> client::Config {
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-interlink_", env!("CARGO_PKG_VERSION")))),
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_MESSAGES,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        inactivity_timeout: Some(SILENCE),
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(trust.algorithms()),
            host_key_certificates: Cow::Owned(trust.certificate_algorithms()),
            cipher: Cow::Borrowed(ciphers()),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// AES-GCM first where the processor computes it, ChaCha20-Poly1305 first elsewhere.
fn ciphers() -> &'static [cipher::Name] {
    const GCM_FIRST: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let fast = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let fast = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = false;
    if fast { GCM_FIRST } else { &PLAIN_FIRST }
}

const PLAIN_FIRST: [cipher::Name; 5] =
    [cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_256_CTR, cipher::AES_192_CTR, cipher::AES_128_CTR];

async fn log_in(
    settings: &Settings,
    identity: &Identity,
    handle: &mut client::Handle<Gatekeeper>,
) -> Result<(), Fault> {
    let ended = |err: &russh::Error| Fault { step: Step::Login, ..Fault::handshake(&settings.server, err) };
    let hash = if identity.key.algorithm().is_rsa() {
        let announced = handle.best_supported_rsa_hash().await.map_err(|err| ended(&err))?;
        Some(rsa_hash(announced).ok_or_else(|| Fault::rsa_sha1(settings))?)
    } else {
        None
    };
    if let Some(certificate) = &identity.certificate {
        let shown = handle.authenticate_openssh_cert(&settings.user, Arc::clone(&identity.key), certificate.clone());
        match shown.await.map_err(|err| ended(&err))? {
            AuthResult::Success => return Ok(()),
            // As ssh does: the bare key may be let in.
            AuthResult::Failure { .. } if !handle.is_closed() => {}
            AuthResult::Failure { .. } => return Err(ended(&russh::Error::HUP)),
        }
    }
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&identity.key), hash);
    match handle.authenticate_publickey(&settings.user, key).await.map_err(|err| ended(&err))? {
        AuthResult::Success => Ok(()),
        // The library reports the end of the session as a failure without methods.
        AuthResult::Failure { remaining_methods, .. }
            if remaining_methods == MethodSet::empty() && handle.is_closed() =>
        {
            Err(ended(&russh::Error::HUP))
        }
        AuthResult::Failure { remaining_methods, partial_success } => {
            Err(Fault::login(settings, &identity.describe(), &remaining_methods, partial_success))
        }
    }
}

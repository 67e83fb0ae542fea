//! From nothing to a session that is logged in: dial, shake hands, log in.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::{Preferred, SshId, cipher, compression};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::acknowledge::Acknowledging;
use super::dial::dial;
use super::fault::Fault;
use super::gatekeeper::{Broken, Gatekeeper, Incoming};
use super::jump::{Jump, Line, end_of_all, through};
use super::live::{Cut, Live};
use super::login::log_in;
use super::openssh::Supervised;
use super::step::Step;
use crate::config::{Hop, Server, Settings};
use crate::credentials::Credentials;
use crate::hostkeys::HostKeys;
use crate::hostkeys::verify::Trust;
use crate::identity::Identity;

/// What the server may send on one channel before we acknowledge: a link of 100 MB/s and 40 ms round-trip full.
const WINDOW: u32 = 4 << 20;
/// Taken from the server's connection at once: eight packets.
const READ: usize = 256 << 10;
/// The largest packet asked for; what OpenSSH uses.
const PACKET: u32 = 32 << 10;
/// Messages of one channel that may wait in the library. Ours are taken out at once, see [`crate::forward`]; where they
/// are not, because a client reads nothing, this many packets stay in memory.
const CHANNEL_MESSAGES: usize = 4;
/// An idle connection is asked for a sign of life this often …
const KEEPALIVE: Duration = Duration::from_secs(10);
/// … and given up when this many go unanswered: 40 seconds after the last sign of life.
const KEEPALIVES: usize = 3;
/// The last resort, also during a key exchange, when no keepalives are sent.
const SILENCE: Duration = Duration::from_secs(44);

/// Establishes a session, through the jump hosts if there are any. The receiver tells why it ended, in words.
pub(crate) async fn connect(
    settings: &Settings,
    credentials: &Credentials,
    incoming: Option<mpsc::Sender<Incoming>>,
) -> Result<(Arc<Live>, oneshot::Receiver<String>), Fault> {
    if settings.engine.system().is_some() {
        let (supervised, end) = Supervised::new(incoming);
        return Ok((Arc::new(Live::of_ssh(supervised)), end));
    }
    let limit = settings.connect_timeout;
    let mut jumps: Vec<Jump> = Vec::new();
    let mut way: Option<(Cut, SocketAddr)> = None;
    for (position, (hop, host_keys)) in settings.hops().zip(credentials.host_keys()).enumerate() {
        let last = position == settings.jumps.len();
        let at = |fault: Fault| if last { fault } else { fault.at_jump(position, &hop.server) };
        let line = match jumps.last() {
            Some(jump) => through(&jump.server, &jump.handle, &hop.server, limit).await.map_err(at)?,
            None => {
                let (link, peer, line) = first_line(&hop.server, limit).await.map_err(at)?;
                way = Some((link, peer));
                line
            }
        };
        // What the server accepts for us, it accepts; jump hosts are not asked to.
        let incoming = if last { incoming.clone() } else { None };
        let (handle, end) = enter(&hop, line, host_keys, credentials.identity(), incoming, limit).await.map_err(at)?;
        match way.take_if(|_| last) {
            Some((link, peer)) => return Ok((Arc::new(Live::new(handle, peer, link)), end_of_all(jumps, end))),
            None => jumps.push(Jump { server: hop.server, handle, end }),
        }
    }
    Err(Fault::lost(&settings.server, "there is no server to connect to"))
}

/// A TCP connection to the first server.
async fn first_line(server: &Server, limit: Duration) -> Result<(Cut, SocketAddr, Box<dyn Line>), Fault> {
    let (stream, peer) = dial(server, limit).await?;
    let broken = |err| Fault::tcp(server, Some(peer), &err);
    let stream = stream.into_std().map_err(broken)?;
    let link = Cut::new(stream.try_clone().map_err(broken)?);
    Ok((link, peer, Box::new(Acknowledging(TcpStream::from_std(stream).map_err(broken)?))))
}

/// Shakes hands with the server at the other end of the line, and logs in.
async fn enter(
    hop: &Hop,
    line: Box<dyn Line>,
    host_keys: Arc<HostKeys>,
    identity: &Identity,
    incoming: Option<mpsc::Sender<Incoming>>,
    limit: Duration,
) -> Result<(Handle<Gatekeeper>, oneshot::Receiver<String>), Fault> {
    let server = &hop.server;
    let late = |step| Fault::timeout(server, step, limit);
    // The library reads each packet in two pieces.
    let mut line = BufReader::with_capacity(READ, line);
    // The server speaks first; waiting for it tells a server that bans us from one that speaks something else.
    let ssh = match timeout(limit, line.fill_buf()).await.map_err(|_| late(Step::Greeting))? {
        Ok([]) => return Err(Fault::no_banner(server, &io::ErrorKind::UnexpectedEof.into())),
        Ok(first) => b"SSH-".starts_with(&first[..first.len().min(4)]),
        Err(err) => return Err(Fault::no_banner(server, &err)),
    };
    let config = Arc::new(client_config(host_keys.trust()));
    let (ended, end) = oneshot::channel();
    let gatekeeper = Gatekeeper { host_keys, ended: Some(ended), incoming };
    let mut handle = timeout(limit, client::connect_stream(config, line, gatekeeper))
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
    timeout(limit, log_in(hop, identity, &mut handle)).await.map_err(|_| late(Step::Login))??;
    Ok((handle, end))
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

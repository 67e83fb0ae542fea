//! An SSH server that can do one thing: carry connections to one Unix socket for one key. For machines without sshd.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use interlink_daemon::Failure;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelOpenFailure, MethodKind, MethodSet};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::sshd::read;

/// How long a client may be silent. The tunnel asks for a sign of life more often than that.
const SILENCE: Duration = Duration::from_secs(60);

/// Serves on 127.0.0.1:`port` until the process is ended.
///
/// # Errors
/// [`Failure`] where a key can't be read or the port is taken.
pub async fn serve(port: u16, host_key: &Path, allowed: &Path, socket: PathBuf) -> Result<(), Failure> {
    let wrong = |file: &Path, e| Failure::config(format!("{}: {e}", file.display()));
    let key = PrivateKey::from_openssh(read(host_key)?).map_err(|e| wrong(host_key, e))?;
    let allowed = PublicKey::from_openssh(read(allowed)?.trim()).map_err(|e| wrong(allowed, e))?;
    let config = Arc::new(Config {
        keys: vec![key],
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_secs(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: Some(SILENCE),
        nodelay: true,
        ..Config::default()
    });
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|e| Failure::failed(format!("can't listen on 127.0.0.1:{port}: {e}")))?;
    let client = Client { allowed: Arc::new(allowed), socket };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(session(config.clone(), stream, client.clone()))),
            Err(error) => {
                eprintln!("sshd: can't accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn session(config: Arc<Config>, stream: TcpStream, client: Client) {
    let ended = match russh::server::run_stream(config, stream, client).await {
        Ok(running) => running.await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        eprintln!("sshd: a session ended: {error}");
    }
}

/// One client, as long as it is connected.
#[derive(Clone)]
struct Client {
    allowed: Arc<PublicKey>,
    socket: PathBuf,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.allowed.key_data() == key.public_key.key_data() { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if Path::new(path) != self.socket {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        let socket = self.socket.clone();
        tokio::spawn(async move {
            match UnixStream::connect(&socket).await {
                Ok(mut plugin) => {
                    reply.accept().await;
                    let mut channel = channel.into_stream();
                    // Either end may break off; the other learns of it by the closed connection.
                    let _ = tokio::io::copy_bidirectional(&mut channel, &mut plugin).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }
}

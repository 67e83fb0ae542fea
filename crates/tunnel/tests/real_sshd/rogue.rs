//! A server that opens channels which nobody asked for: each is rejected, and the tunnel goes on.

use std::sync::Arc;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::ports::free_port;
use interlink_testkit::sshd::{KeyPair, KeyType};
use russh::keys::load_secret_key;
use russh::server::{Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session, VerifiedPublicKey, run_stream};
use russh::{Channel, ChannelOpenFailure};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::rig::{Habit, SOON, Service, Tunnel, flags, me};

/// What came of each channel that the server opened.
type Outcomes = Vec<(&'static str, Result<(), russh::Error>)>;

/// Lets everybody in, echoes what it is asked to forward, listens when asked (so it says), and lies in wait.
struct Rogue {
    logged_in: mpsc::UnboundedSender<Handle>,
}

impl Handler for Rogue {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        let _ = self.logged_in.send(session.handle());
        Ok(())
    }

    async fn tcpip_forward(&mut self, _: &str, _: &mut u32, _: &mut Session) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(channel.into_stream());
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
        });
        Ok(())
    }
}

/// The server's port, and its end of each session that is logged in.
async fn rogue(key: &KeyPair) -> (u16, mpsc::UnboundedReceiver<Handle>) {
    let keys = vec![load_secret_key(key.private(), None).expect("ssh-keygen has just written it")];
    let config = Arc::new(Config { keys, ..Config::default() });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let (logged_in, sessions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, handler) = (Arc::clone(&config), Rogue { logged_in: logged_in.clone() });
            tokio::spawn(async move {
                if let Ok(session) = run_stream(config, stream, handler).await {
                    let _ = session.await;
                }
            });
        }
    });
    (port, sessions)
}

/// Opens one channel of each kind towards the client.
async fn open_all(server: &Handle, port: u32) -> Outcomes {
    let unit = |opened: Result<Channel<Msg>, russh::Error>| opened.map(drop);
    vec![
        ("forwarded-tcpip", unit(server.channel_open_forwarded_tcpip("localhost", port, "192.0.2.1", 9).await)),
        ("forwarded-tcpip of a port beyond all", unit(server.channel_open_forwarded_tcpip("x", 1 << 20, "x", 9).await)),
        ("forwarded-streamlocal", unit(server.channel_open_forwarded_streamlocal("/run/x.sock").await)),
        ("x11", unit(server.channel_open_x11("192.0.2.1", 9).await)),
        ("auth-agent", unit(server.channel_open_agent().await)),
        ("session", unit(server.channel_open_session().await)),
        ("direct-tcpip", unit(server.channel_open_direct_tcpip("localhost", 22, "192.0.2.1", 9).await)),
        ("direct-streamlocal", unit(server.channel_open_direct_streamlocal("/run/x.sock").await)),
    ]
}

fn tunnel(dir: &TestDir, host: &KeyPair, user: &KeyPair, port: u16, more: &[String]) -> Tunnel {
    let hosts = dir.write("hosts", host.public()).display().to_string();
    Tunnel::start(|own| {
        let all = flags(&[
            ("addr", &format!("127.0.0.1:{port}")),
            ("user", &me()),
            ("keyfile", &user.private().display().to_string()),
            ("state", &own.join("t.state").display().to_string()),
            ("hostkeyfile", &hosts),
        ]);
        let lsock = flags(&[("lsock", &own.join("t.sock").display().to_string())]);
        let lsock = if more.iter().any(|flag| flag.starts_with("-lsock")) { Vec::new() } else { lsock };
        [all, lsock, more.to_vec()].concat()
    })
}

#[tokio::test]
async fn channels_that_nobody_asked_for_are_rejected_and_the_tunnel_lives_on() {
    let dir = TestDir::new();
    let (host, user) =
        (KeyPair::generate(dir.join("host"), KeyType::Ed25519), KeyPair::generate(dir.join("user"), KeyType::Ed25519));
    let (port, mut sessions) = rogue(&host).await;
    let service = Service::tcp(Habit::Echo).await;
    let listens = free_port();
    let reverse =
        ["-reverse".to_owned(), format!("-rport={listens}"), service.flag.replace("-rport=", "-lsock=localhost:")];
    for more in [&["-rport=4000".to_owned()][..], &reverse] {
        let tunnel = tunnel(&dir, &host, &user, port, more);
        let server = timeout(SOON, sessions.recv()).await.unwrap().unwrap();
        tunnel.up().await;
        // In reverse too only the port counts that was asked for.
        let outcomes = timeout(SOON, open_all(&server, u32::from(listens) + 1)).await.unwrap();
        for (kind, outcome) in outcomes {
            let Err(russh::Error::ChannelOpenFailure(reason)) = outcome else { panic!("{kind}: {outcome:?}") };
            assert_eq!(reason, ChannelOpenFailure::AdministrativelyProhibited, "{kind}");
        }
        let state = tunnel.up().await;
        assert_eq!(state.details["reconnects"], 0);
        if more.len() == 1 {
            assert_eq!(tunnel.ask("hello").await, "hello");
        } else {
            let asked = timeout(SOON, server.channel_open_forwarded_tcpip("localhost", listens.into(), "192.0.2.1", 9));
            let channel = asked.await.unwrap().unwrap();
            assert_eq!(crate::rig::ask(channel.into_stream(), "hello").await, "hello");
        }
    }
}

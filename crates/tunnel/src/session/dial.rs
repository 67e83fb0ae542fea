//! A TCP connection to the first address of the server that answers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::fault::Fault;
use super::step::Step;
use crate::config::Server;

/// How much later each further address is tried (RFC 8305, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// How long written bytes may stay unacknowledged. With the keepalives of the SSH session it bounds the time until
/// a silent drop is noticed: they find it on an idle connection, this finds it under load.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Resolves and connects within `limit` for each of the two.
pub(super) async fn dial(server: &Server, limit: Duration) -> Result<(TcpStream, SocketAddr), Fault> {
    let found = timeout(limit, lookup_host((server.host.as_str(), server.port)))
        .await
        .map_err(|_| Fault::timeout(server, Step::Name, limit))?
        .map_err(|err| Fault::resolve(server, &err))?;
    let mut attempts = JoinSet::new();
    for (delay, addr) in (0u32..).map(|n| STAGGER * n).zip(found) {
        attempts.spawn(async move {
            sleep(delay).await;
            (addr, connect(addr, limit).await)
        });
    }
    let mut first_fault = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok((addr, Ok(stream))) => return Ok((stream, addr)),
            Ok((addr, Err(err))) => {
                first_fault.get_or_insert(Fault::tcp(server, Some(addr), &err));
            }
            Err(err) => {
                first_fault.get_or_insert(Fault::tcp(server, None, &io::Error::other(err)));
            }
        }
    }
    Err(first_fault.unwrap_or_else(|| Fault::resolve(server, &io::Error::other("the name has no address"))))
}

async fn connect(addr: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = timeout(limit, TcpStream::connect(addr))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")))??;
    stream.set_nodelay(true)?;
    let millis = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&stream, sockopt::TcpUserTimeout, &millis)?;
    Ok(stream)
}

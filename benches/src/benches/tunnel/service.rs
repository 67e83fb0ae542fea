//! What the tunnels lead to: a service that does as its client says.
//!
//! A connection begins with [`HEADER`] bytes: what to do, and how many bytes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread::{self, JoinHandle};

use interlink_testkit::network::Namespace;
use nix::sys::socket::{self, shutdown};

/// Bytes of an order.
pub(super) const HEADER: usize = 9;

/// Written and read at once in bulk.
const CHUNK: usize = 256 << 10;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Everything sent back.
    Echo,
    /// That many bytes taken, then one byte sent.
    Take(u64),
    /// That many bytes sent.
    Give(u64),
}

impl Order {
    /// The words of the order.
    pub(super) fn header(self) -> [u8; HEADER] {
        let (verb, count) = match self {
            Self::Echo => (b'e', 0),
            Self::Take(count) => (b't', count),
            Self::Give(count) => (b'g', count),
        };
        let mut header = [verb; HEADER];
        header[1..].copy_from_slice(&count.to_be_bytes());
        header
    }

    fn read(header: [u8; HEADER]) -> Option<Self> {
        let [verb, count @ ..] = header;
        let count = u64::from_be_bytes(count);
        match verb {
            b'e' => Some(Self::Echo),
            b't' => Some(Self::Take(count)),
            b'g' => Some(Self::Give(count)),
            _ => None,
        }
    }
}

/// Where bulk goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// To the service.
    Up,
    /// From the service.
    Down,
}

impl Way {
    /// The order that a connection begins with.
    pub(super) fn order(self, bytes: u64) -> Order {
        match self {
            Self::Up => Order::Take(bytes),
            Self::Down => Order::Give(bytes),
        }
    }

    /// The client's part of it; returns when all bytes have arrived.
    pub(super) fn carry(self, stream: &mut (impl Read + Write), bytes: u64) -> io::Result<()> {
        match self {
            Self::Up => {
                give(stream, bytes)?;
                take(stream, 1)
            }
            Self::Down => take(stream, bytes),
        }
    }
}

/// Threads that block, so that it adds as little as possible to what is measured. Dropped, it no longer listens;
/// connections end with their clients.
#[derive(Debug)]
pub(super) struct Service {
    port: u16,
    listener: TcpListener,
    listening: Option<JoinHandle<()>>,
}

impl Service {
    /// On loopback, at a port that the kernel chooses.
    pub(super) fn start() -> io::Result<Self> {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
    }

    /// In another network, at all of its addresses.
    pub(super) fn at(namespace: &Namespace) -> io::Result<Self> {
        Self::on(namespace.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?)
    }

    fn on(listener: TcpListener) -> io::Result<Self> {
        let port = listener.local_addr()?.port();
        let accepting = listener.try_clone()?;
        let listening = thread::spawn(move || {
            while let Ok((client, _)) = accepting.accept() {
                // A client that is gone is no concern of a service like this.
                thread::spawn(move || drop(serve(client)));
            }
        });
        Ok(Self { port, listener, listening: Some(listening) })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Wakes the thread, whose accept fails from now on.
        let woken = shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let (Ok(()), Some(listening)) = (woken, self.listening.take()) {
            let _ = listening.join();
        }
    }
}

fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut header = [0; HEADER];
    client.read_exact(&mut header)?;
    match Order::read(header).ok_or(io::ErrorKind::InvalidData)? {
        Order::Echo => {
            let mut buffer = [0; 4096];
            loop {
                match client.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => client.write_all(&buffer[..length])?,
                }
            }
        }
        Order::Take(count) => {
            take(&mut client, count)?;
            client.write_all(&[0])
        }
        Order::Give(count) => give(&mut client, count),
    }?;
    client.shutdown(Shutdown::Write)
}

/// Sends `count` bytes.
fn give(to: &mut impl Write, count: u64) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = count;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        to.write_all(&chunk[..length])?;
        left -= length as u64;
    }
    Ok(())
}

/// Reads `count` bytes.
fn take(from: &mut impl Read, count: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = count;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        match from.read(&mut chunk[..wanted])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => left -= length as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(service: &Service, order: Order) -> TcpStream {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, service.port())).unwrap();
        client.write_all(&order.header()).unwrap();
        client
    }

    #[test]
    fn it_does_as_it_is_told() {
        let service = Service::start().unwrap();
        let mut answer = [0; 2];
        let mut echo = ask(&service, Order::Echo);
        echo.write_all(b"hi").unwrap();
        echo.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hi");

        let mut taker = ask(&service, Order::Take(300_000));
        give(&mut taker, 300_000).unwrap();
        take(&mut taker, 1).unwrap();

        let mut giver = ask(&service, Order::Give(300_000));
        take(&mut giver, 300_000).unwrap();
        assert!(take(&mut giver, 1).is_err());
    }
}

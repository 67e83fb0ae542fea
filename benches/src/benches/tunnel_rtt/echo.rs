//! A service on loopback that sends back what it gets.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Threads that block, so that it adds as little as possible to what is measured. Dropped, it no longer listens;
/// connections end with their clients.
#[derive(Debug)]
pub(super) struct Echo {
    port: u16,
    stopping: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Echo {
    /// Listens on a port that the kernel chooses.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let listening = thread::spawn(move || {
            for client in listener.incoming().take_while(|_| !stop.load(Ordering::SeqCst)).flatten() {
                // A client that is gone is no concern of a service like this.
                thread::spawn(move || drop(echo(client)));
            }
        });
        Ok(Self { port, stopping, listening: Some(listening) })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is to stop.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let (Ok(_), Some(listening)) = (woken, self.listening.take()) {
            let _ = listening.join();
        }
    }
}

fn echo(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            length => client.write_all(&buffer[..length])?,
        }
    }
}

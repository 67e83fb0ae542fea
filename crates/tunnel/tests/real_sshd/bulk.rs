//! Much data, unchanged, across many key exchanges. `INTERLINK_SOAK=1` moves a GiB each way.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::rig::{Site, soak};

/// Much longer than the machine needs for a GiB.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes that differ wherever one is lost, doubled or moved (xorshift64*, by Marsaglia and Vigna).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

fn send(to: &mut impl io::Write, seed: u64, mebibytes: u64) -> io::Result<()> {
    let (mut noise, mut buffer) = (Noise(seed), vec![0; 1 << 20]);
    for _ in 0..mebibytes {
        noise.fill(&mut buffer);
        to.write_all(&buffer)?;
    }
    Ok(())
}

/// Reads to the end.
fn compare(from: &mut impl io::Read, seed: u64, mebibytes: u64) -> io::Result<()> {
    let (mut noise, mut expected, mut received) = (Noise(seed), vec![0; 1 << 20], vec![0; 1 << 20]);
    for number in 0..mebibytes {
        noise.fill(&mut expected);
        from.read_exact(&mut received)?;
        if received != expected {
            return Err(io::Error::other(format!("the {number}th MiB of {seed} differs")));
        }
    }
    match from.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came than was sent")),
    }
}

/// The server's key exchanges so far, the first of each session included.
fn exchanges(site: &Site) -> usize {
    site.sshd.log().matches("SSH2_MSG_NEWKEYS received").count()
}

#[tokio::test]
async fn every_byte_arrives_both_ways_at_once_across_key_exchanges() {
    let (mebibytes, limit, at_least) = if soak() { (1024, 16, 60) } else { (64, 4, 12) };
    let site = Site::with("", &[&format!("RekeyLimit {limit}M")]).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let tunnel = site.tunnel(&format!("-rport={}", listener.local_addr().unwrap().port())).await;
    let socket = tunnel.dir.join("t.sock");
    let before = exchanges(&site);
    tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            // The tunnel's own probe, which ends at once, comes before our connection does.
            let service = scope.spawn(|| -> io::Result<()> {
                loop {
                    let (mut stream, _): (TcpStream, _) = listener.accept()?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    if stream.read(&mut [0])? == 0 {
                        continue;
                    }
                    let mut sender = stream.try_clone()?;
                    let sending = scope.spawn(move || {
                        send(&mut sender, 2, mebibytes)?;
                        sender.shutdown(Shutdown::Write)
                    });
                    compare(&mut stream, 1, mebibytes)?;
                    return sending.join().map_err(|_| io::Error::other("the sender panicked"))?;
                }
            });
            let mut stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut sender = stream.try_clone()?;
            let sending = scope.spawn(move || {
                sender.write_all(&[7])?;
                send(&mut sender, 1, mebibytes)?;
                sender.shutdown(Shutdown::Write)
            });
            compare(&mut stream, 2, mebibytes)?;
            sending.join().map_err(|_| io::Error::other("the sender panicked"))??;
            service.join().map_err(|_| io::Error::other("the service panicked"))?
        })
    })
    .await
    .unwrap()
    .unwrap();
    let exchanged = exchanges(&site) - before;
    assert!(exchanged >= at_least, "{exchanged} key exchanges");
    assert_eq!(tunnel.state().await.unwrap().details["reconnects"], 0);
}

//! The side that opens connections.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::driver::{Request, drive};
use super::greeting::{self, printable};
use super::stream::MuxStream;
use super::{CONNECTED, STREAMS, WANT_ABORT, WANT_SERVICE};

/// Requests that wait for the driver.
const REQUESTS: usize = 64;

/// Why a connection did not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The answerer can't reach its service, for this reason.
    #[error("{0}")]
    Refused(String),
    /// What carries the connections is gone.
    #[error("the carrying stream ended")]
    Lost,
}

/// Opens connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Opener {
    requests: mpsc::Sender<Request>,
    lost: CancellationToken,
    permits: Arc<Semaphore>,
}

/// Greets back over `io`, whose other end has greeted, and opens connections for as long as the returned future is
/// polled. It ends with the stream, and says in words what was wrong with it, if anything was.
pub fn opener<T>(mut io: T) -> (Opener, impl Future<Output = Option<String>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (requests, asked) = mpsc::channel(REQUESTS);
    let lost = CancellationToken::new();
    let opener = Opener { requests, lost: lost.clone(), permits: Arc::new(Semaphore::new(STREAMS)) };
    let driver = async move {
        if let Err(err) = greet(&mut io).await {
            lost.cancel();
            return Some(err.to_string());
        }
        drive(io, yamux::Mode::Client, Some(asked), drop, lost).await
    };
    (opener, driver)
}

pub(super) async fn greet(io: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    io.write_all(format!("{}\n", greeting::LINE).as_bytes()).await?;
    io.flush().await
}

impl Opener {
    /// Opens a connection to the answerer's service. The caller bounds the time.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self) -> Result<MuxStream, OpenError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| OpenError::Lost)?;
        let mut stream = MuxStream::new(self.stream().await?, self.lost.clone(), Some((self.clone(), permit)));
        let asked = async {
            // The library tells the other side of a stream only with its first bytes.
            stream.write_all(&[WANT_SERVICE]).await?;
            if stream.read_u8().await? == CONNECTED {
                return Ok(None);
            }
            let mut why = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut why).await?;
            Ok::<_, std::io::Error>(Some(printable(&why)))
        };
        match asked.await {
            Ok(None) => Ok(stream),
            Ok(Some(why)) => Err(OpenError::Refused(why)),
            Err(_) => Err(OpenError::Lost),
        }
    }

    /// Has the answerer end a connection.
    pub(super) async fn abort(&self, number: u32) {
        if let Ok(stream) = self.stream().await {
            let mut stream = MuxStream::new(stream, self.lost.clone(), None);
            let [a, b, c, d] = number.to_be_bytes();
            // Fails only when nothing is carried any more.
            if stream.write_all(&[WANT_ABORT, a, b, c, d]).await.is_ok() {
                let _ = stream.shutdown().await;
            }
        }
    }

    async fn stream(&self) -> Result<yamux::Stream, OpenError> {
        let (answer, opened) = oneshot::channel();
        self.requests.send(answer).await.map_err(|_| OpenError::Lost)?;
        opened.await.map_err(|_| OpenError::Lost)
    }

    /// Whether what carries the connections is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

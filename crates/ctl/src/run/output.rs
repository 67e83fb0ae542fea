//! The pod's output on stdout: one task writes, so that lines of several containers never mix.

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::prefix::Prefixer;

/// Pieces of output under way; more wait at the container they come from.
const UNDER_WAY: usize = 16;

/// A piece of one container's output.
#[derive(Debug)]
pub struct Piece {
    /// Position of the container, init containers first.
    pub container: usize,
    /// The bytes; `None` at its end.
    pub bytes: Option<Bytes>,
}

/// Where followers send what they get.
pub type Sender = mpsc::Sender<Piece>;

/// Starts writing to `to`; ends when every sender is gone. One container's output is written as it is, that of
/// several with their names before each line.
pub fn start(
    containers: &[String],
    mut to: impl AsyncWrite + Unpin + Send + 'static,
) -> (Sender, tokio::task::JoinHandle<()>) {
    let several = containers.len() > 1;
    let mut prefixers: Vec<_> = containers.iter().map(|name| Prefixer::new(several.then_some(name.as_str()))).collect();
    let (sender, mut pieces) = mpsc::channel::<Piece>(UNDER_WAY);
    let task = tokio::spawn(async move {
        // A reader who went away (`| head`) does not end the pod.
        let mut read = true;
        while let Some(piece) = pieces.recv().await {
            let Some(prefixer) = prefixers.get_mut(piece.container) else { continue };
            let bytes = match piece.bytes {
                Some(bytes) => prefixer.push(bytes),
                None => prefixer.finish(),
            };
            if read && !bytes.is_empty() {
                read = to.write_all(&bytes).await.is_ok() && to.flush().await.is_ok();
            }
        }
    });
    (sender, task)
}

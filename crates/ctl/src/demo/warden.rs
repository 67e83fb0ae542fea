//! What ends a demo whose own program was killed: a small process that waits at the other end of a pipe.
//!
//! The pipe closes however the demo's program dies. If the demo's directory is still there then, the warden stops the
//! demo as `interlinkctl demo --stop` does.

use std::path::Path;
use std::process::Stdio;

use interlink_daemon::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::place::Place;
use crate::run::signal::Interrupts;

/// The word that lets the demo live on.
const KEEP: &[u8] = b"keep";

/// The other end of the pipe.
#[derive(Debug)]
pub struct Warden {
    child: Child,
}

impl Warden {
    /// Starts the warden of the demo in `place`.
    ///
    /// # Errors
    /// [`Failure`] where it can't be started.
    pub fn start(place: &Place) -> Result<Self, Failure> {
        let child = Command::new(super::own_file()?)
            .args(["internal", "warden"])
            .arg(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(|e| Failure::failed(format!("can't start the demo's warden: {e}")))?;
        Ok(Self { child })
    }

    /// The demo is over, or is to live on.
    pub async fn dismiss(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _ = pipe.write_all(KEEP).await;
        }
        let _ = self.child.wait().await;
    }
}

/// The warden's own work.
///
/// # Errors
/// [`Failure`] where signals can't be handled.
pub async fn watch(dir: &Path) -> Result<(), Failure> {
    let place = Place::find(dir)?;
    // It outlives its terminal, and a signal to all of the user's processes.
    let mut interrupts = Interrupts::install().map_err(|e| Failure::failed(format!("can't handle signals: {e}")))?;
    let mut word = Vec::new();
    let mut pipe = tokio::io::stdin();
    let mut reading = std::pin::pin!(pipe.read_to_end(&mut word));
    loop {
        tokio::select! {
            _ = &mut reading => break,
            _ = interrupts.next() => {}
        }
    }
    if word != KEEP {
        super::stop(&place).await;
        place.remove(false);
    }
    Ok(())
}

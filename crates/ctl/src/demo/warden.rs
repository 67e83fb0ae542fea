//! What ends a demo whose own program was killed: a small process that waits at the other end of a pipe.
//!
//! It makes the demo's directory, so that there is none without a warden. The pipe closes however the demo's program
//! dies; then the warden stops the demo as `interlinkctl demo --stop` does, and removes the directory. Neither its
//! arguments nor its variables name the place of the programs: who ends all that does, ends the demo, not its warden.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use interlink_daemon::Failure;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::place::Place;
use super::processes;
use crate::run::signal::Interrupts;

/// The word that lets the demo live on.
const KEEP: &[u8] = b"keep";

/// How long the warden may take to come up.
const COMES_UP: Duration = Duration::from_secs(20);

/// A program that was being started when its starter was killed shows itself within this time.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// How many times in a row nothing may show itself before nothing will.
const CALM: u32 = 3;

/// The most looks.
const LOOKS: u32 = 20;

/// The other end of the pipe.
#[derive(Debug)]
pub struct Warden {
    child: Child,
}

impl Warden {
    /// Starts the warden of a demo, and has it make the demo's place.
    ///
    /// # Errors
    /// [`Failure`] where either can't be had.
    pub async fn start() -> Result<(Self, Place), Failure> {
        let failed = |why: &dyn std::fmt::Display| Failure::failed(format!("can't start the demo's warden: {why}"));
        let mut child = Command::new("/proc/self/exe")
            .arg0("interlinkctl")
            .args(["internal", "warden"])
            // A cluster that was joined is noted in the demo's directory.
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(|e| failed(&e))?;
        let mut said = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            let mut pipe = BufReader::new(pipe);
            match tokio::time::timeout(COMES_UP, pipe.read_until(b'\n', &mut said)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(failed(&error)),
                Err(_) => return Err(failed(&"it does not answer")),
            }
        }
        let said = OsString::from_vec(said.trim_ascii_end().to_vec());
        match said.as_bytes() {
            [b'/', ..] => Ok((Self { child }, Place::find(Path::new(&said))?)),
            [] => Err(failed(&"it ended")),
            _ => Err(Failure::failed(said.to_string_lossy())),
        }
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
pub async fn watch() -> Result<(), Failure> {
    // It outlives its terminal, and a signal to all of the user's processes.
    let mut interrupts = Interrupts::install().map_err(|e| Failure::failed(format!("can't handle signals: {e}")))?;
    let made = Place::make();
    let mut said = match &made {
        Ok(place) => place.path().as_os_str().as_bytes().to_vec(),
        Err(failure) => failure.sentence.clone().into_bytes(),
    };
    said.push(b'\n');
    // If nobody reads it, the demo's program is gone, which the other pipe tells.
    let mut out = tokio::io::stdout();
    let _ = out.write_all(&said).await;
    let _ = out.flush().await;
    let Ok(place) = made else { return Ok(()) };
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
        clear(&place).await;
    }
    Ok(())
}

/// Ends and removes everything, and what comes up while that is done.
async fn clear(place: &Place) {
    let mut calm = 0;
    for _ in 0..LOOKS {
        if place.path().exists() || !processes::of(place.path()).is_empty() {
            calm = 0;
            super::stop(place).await;
            place.remove(false);
        } else {
            calm += 1;
        }
        if calm == CALM {
            return;
        }
        tokio::time::sleep(AFTERWARDS).await;
    }
}

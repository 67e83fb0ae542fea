//! One command at the server that carries all connections, where forwarding is forbidden.
//!
//! Its stdout may begin with what login shells print; see [`interlink_transport::mux`]. What never greets is most often
//! not our command at all: a ForceCommand, or the command= of a key, runs in its place.

use std::io::Cursor;
use std::time::Duration;

use interlink_transport::mux::{self, Greeting, GreetingError, Opener};
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::fault::{Fault, Silence};
use super::gatekeeper::Gatekeeper;
use super::step::Step;
use crate::config::Settings;

/// How long a command may take to greet, beyond the time limit of a step: login shells read modules and quotas.
pub(super) const PROFILE: Duration = Duration::from_secs(20);

/// Words of stderr that an error may need.
const STDERR: usize = 4096;

/// How long the request to end a command that is of no use may take.
const REFUSED: Duration = Duration::from_millis(500);

/// A command that greeted.
pub(super) struct Running {
    /// Opens connections over it.
    pub(super) opener: Opener,
    /// Tells why it ended.
    pub(super) ended: oneshot::Receiver<String>,
    /// Moves its bytes; without it the command is told to end.
    pub(super) driver: AbortHandle,
}

/// Runs `command` and waits for its greeting.
pub(super) async fn start(settings: &Settings, command: &str, handle: &Handle<Gatekeeper>) -> Result<Running, Fault> {
    let server = &settings.server;
    let opened = async {
        let channel = handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        Ok(channel)
    };
    let mut channel = match tokio::time::timeout(settings.connect_timeout, opened).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(russh::Error::ChannelOpenFailure(_))) => return Err(Fault::no_session(server)),
        Ok(Err(err)) => return Err(Fault::lost(server, &super::fault::end_in_words(&err))),
        Err(_) => return Err(Fault::timeout(server, Step::Forwarding, settings.connect_timeout)),
    };
    let deadline = Instant::now() + settings.connect_timeout + PROFILE;
    let rest = match timeout_at(deadline, greeted(&mut channel)).await {
        Ok(Ok(rest)) => rest,
        silent => {
            // The session may live on for other forwards; a command that is of no use must not.
            let _ = tokio::time::timeout(REFUSED, channel.close()).await;
            let silence = match silent {
                Ok(Err(silence)) => silence,
                Ok(Ok(_)) | Err(_) => Silence::Waits,
            };
            return Err(Fault::no_greeting(settings, command, &silence));
        }
    };
    let (reader, writer) = tokio::io::split(channel.into_stream());
    let (opener, driver) = mux::opener(tokio::io::join(Cursor::new(rest).chain(reader), writer));
    let (tell, ended) = oneshot::channel();
    let command = command.to_owned();
    let driver = tokio::spawn(async move {
        let why = driver.await;
        // Nobody wants to know when the tunnel has stopped.
        let _ = tell.send(why.map_or_else(|| format!("`{command}` ended"), |why| format!("`{command}`: {why}")));
    });
    Ok(Running { opener, ended, driver: driver.abort_handle() })
}

/// Reads until the greeting is complete; what came behind it.
async fn greeted(channel: &mut Channel<Msg>) -> Result<Vec<u8>, Silence> {
    let mut greeting = Greeting::default();
    let mut stderr: Vec<u8> = Vec::new();
    let mut status = None;
    let silence = loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => match greeting.feed(&data) {
                Ok(Some(rest)) => return Ok(rest),
                Ok(None) => {}
                Err(GreetingError::Version(version)) => return Err(Silence::Version(version)),
                Err(GreetingError::Foreign(words)) => return Err(Silence::Talks(words)),
            },
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                let room = STDERR.saturating_sub(stderr.len());
                stderr.extend(data.iter().take(room));
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => status = Some(exit_status),
            Some(ChannelMsg::Failure) => return Err(Silence::Refused),
            Some(ChannelMsg::Close) | None => break status,
            Some(_) => {}
        }
    };
    let said = [greeting.words(), mux::greeting::printable(&stderr)].join(" ").trim().to_owned();
    Err(Silence::Ended { status: silence, said })
}

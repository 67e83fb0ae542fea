//! An `ssh` that runs one command at the server, which carries all connections over its stdin and stdout.

use std::io::Cursor;

use interlink_transport::mux::{self, Greeting, GreetingError};
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::child::{Child, Files};
use super::words::Said;
use crate::config::{Forward, Settings, System};
use crate::session::exec::{PROFILE, Running};
use crate::session::fault::{Fault, Silence};

/// The exit status of `ssh` for its own failures.
const OWN: i32 = 255;

/// Runs the command of `forward` and waits for its greeting.
pub(in crate::session) async fn run(
    settings: &Settings,
    system: &System,
    forward: &Forward,
    command: &str,
) -> Result<Running, Fault> {
    let files = Files::make(settings, system).map_err(|why| Fault::ssh_unusable(&why))?;
    let started = Child::start(settings, system, forward, files, true)
        .map_err(|err| Fault::ssh_unusable(&format!("{} can't be started ({err})", system.program.display())));
    let mut child = started?;
    let Some((mut stdout, stdin)) = child.pipes() else {
        return Err(Fault::ssh_unusable("it has no stdin and stdout"));
    };
    let mut said = Said::default();
    let deadline = Instant::now() + settings.connect_timeout * 3 + PROFILE;
    let rest = match timeout_at(deadline, greeted(&mut stdout, &mut child, &mut said)).await {
        Ok(Ok(rest)) => rest,
        Ok(Err(silence)) => {
            child.end().await;
            let own =
                matches!(&silence, Silence::Ended { status: Some(status), .. } if i32::try_from(*status) == Ok(OWN));
            return Err(match said.authenticated() {
                false => said.fault(settings, forward),
                true if own && said.all().is_empty() => Fault::lost(&settings.server, &said.last()),
                true => Fault::no_greeting(settings, command, &silence),
            });
        }
        Err(_) => {
            child.end().await;
            return Err(match said.authenticated() {
                false => Fault::timeout(&settings.server, said.step(), settings.connect_timeout * 3),
                true => Fault::no_greeting(settings, command, &Silence::Waits),
            });
        }
    };
    let (opener, driver) = mux::opener(tokio::io::join(Cursor::new(rest).chain(stdout), stdin));
    let (tell, ended) = oneshot::channel();
    let command = command.to_owned();
    // Its owner ends it by ending the task, and ssh with it.
    let driver = tokio::spawn(async move {
        tokio::pin!(driver);
        let mut talks = true;
        let broke = loop {
            tokio::select! {
                broke = &mut driver => break broke,
                line = child.says(), if talks => match line {
                    Some(line) => drop(said.hear(&line)),
                    None => talks = false,
                },
            }
        };
        child.end().await;
        let why = broke.map_or_else(String::new, |why| format!(" ({why})"));
        // Nobody wants to know when the tunnel has stopped.
        let _ = tell.send(format!("`{command}` ended{why}; {}", said.last()));
    });
    Ok(Running { opener, ended, driver: driver.abort_handle() })
}

/// Reads until the greeting is complete; what came behind it.
async fn greeted(stdout: &mut ChildStdout, child: &mut Child, said: &mut Said) -> Result<Vec<u8>, Silence> {
    let mut greeting = Greeting::default();
    let mut piece = vec![0; 8 << 10];
    let mut talks = true;
    loop {
        let read = tokio::select! {
            read = stdout.read(&mut piece) => read,
            line = child.says(), if talks => {
                match line {
                    Some(line) => drop(said.hear(&line)),
                    None => talks = false,
                }
                if said.unrecorded() && !said.authenticated() {
                    return Err(Silence::Refused);
                }
                continue;
            }
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(n) => match greeting.feed(&piece[..n]) {
                Ok(Some(rest)) => return Ok(rest),
                Ok(None) => {}
                Err(GreetingError::Version(version)) => return Err(Silence::Version(version)),
                Err(GreetingError::Foreign(words)) => return Err(Silence::Talks(words)),
            },
        }
    }
    while let Some(line) = child.says().await {
        said.hear(&line);
    }
    let status = child.ended().await.and_then(|status| u32::try_from(status).ok());
    let words = [greeting.words(), said.all()].join(" ").trim().to_owned();
    Err(Silence::Ended { status, said: words })
}

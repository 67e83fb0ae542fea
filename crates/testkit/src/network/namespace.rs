//! A network of its own.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

use crate::users::is_root;

/// A network namespace. It lives as long as one of its clones, or a process or socket inside.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// Makes one with a loopback interface that is up, and nothing else.
    ///
    /// # Panics
    /// When the test is not root's, or the kernel refuses.
    #[expect(clippy::new_without_default, reason = "making a namespace is no default")]
    pub fn new() -> Self {
        assert!(is_root(), "a network of its own needs root");
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        // a namespace is entered for good: by a thread that ends
        let made = std::thread::scope(|scope| scope.spawn(make).join());
        let file = made.expect("the thread does not panic").expect("root may make a network namespace");
        let namespace = Self { file: Arc::new(file) };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Calls `inside` in the namespace. Sockets made there stay there, wherever they are used afterwards.
    ///
    /// # Panics
    /// When `inside` does.
    pub fn within<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace of its own");
            inside()
        };
        match std::thread::scope(|scope| scope.spawn(enter).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A file that names it while this process lives, for `nsenter --net=…`.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// A command inside; the caller adds arguments.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).args(["--", program]);
        command
    }

    /// `ip ARGS` inside, which must succeed.
    ///
    /// # Panics
    /// When it fails, or is missing.
    pub fn ip(&self, args: &[&str]) {
        let output =
            self.command("ip").args(args).output().expect("nsenter is missing: run scripts/setup once as root");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {}: {}", args.join(" "), said.trim());
    }
}

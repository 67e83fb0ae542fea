//! What `run` tells a person, on stderr: its own words, never the pod's output.

use std::io::Write;
use std::sync::Mutex;

use interlink_wire::{Fault, HopState};
use jiff::Timestamp;

use super::outage::Outage;

/// The lines of one pod. Shared by everything that talks to the chain, so that an outage is told once.
#[derive(Debug)]
pub struct Screen {
    pod: String,
    outage: Mutex<Outage>,
}

impl Screen {
    /// For the pod named `pod`.
    #[must_use]
    pub fn new(pod: &str) -> Self {
        Self { pod: pod.to_owned(), outage: Mutex::default() }
    }

    /// One line about the pod.
    pub fn say(&self, line: &str) {
        // Nobody may be reading; the pod goes on.
        let _ = writeln!(std::io::stderr().lock(), "run: pod {}: {line}", self.pod);
    }

    /// A call failed for a reason that may pass.
    pub fn down(&self, fault: &Fault, hops: &[HopState]) {
        if let Some(line) = self.outage().begins(fault, hops, Timestamp::now()) {
            self.say(&line);
        }
    }

    /// A call went through.
    pub fn up(&self) {
        if let Some(line) = self.outage().ends(Timestamp::now()) {
            self.say(&line);
        }
    }

    fn outage(&self) -> std::sync::MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

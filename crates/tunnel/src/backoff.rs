//! How long to wait before the next attempt to connect.
//!
//! Two temperaments. The network's faults heal by themselves, so the first retry comes at once and the
//! pauses grow to ten seconds. What a person must mend (a changed host key, a rejected login) is
//! retried too, because a site may roll back, but slowly: `fail2ban` and its like ban hosts that keep
//! failing to log in.

use std::time::Duration;

/// The pause before the second attempt; every further one doubles it.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause while the network is at fault: as long as a client waits for us by default.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest pause while a person must act: servers punish clients that keep failing to log in
/// (`fail2ban`, `PerSourcePenalties` of OpenSSH 9.8), and one attempt a minute stays below that.
const PATIENT: Duration = Duration::from_secs(60);

/// What kind of fault the last attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The network, or a server that is restarting: heals by itself.
    Eager,
    /// A person must mend it.
    Patient,
}

/// Counts failures in a row.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Forgets the failures: the connection has held for a while.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts have failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause before the next attempt. `jitter` in `0.0..1.0` spreads the clients of one server,
    /// which all lost it in the same instant.
    pub fn next(&mut self, pace: Pace, jitter: f64) -> Duration {
        let step = self.failures;
        self.failures = self.failures.saturating_add(1);
        match (pace, step) {
            (Pace::Eager, 0) => FIRST.mul_f64(jitter * 0.2),
            (Pace::Eager, n) => {
                let ceiling = FIRST.saturating_mul(1 << (n - 1).min(16)).min(LONGEST);
                ceiling.mul_f64(0.5 + jitter * 0.5)
            }
            (Pace::Patient, _) => PATIENT.mul_f64(0.5 + jitter * 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(pace: Pace, jitter: f64, n: usize) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..n).map(|_| backoff.next(pace, jitter).as_millis()).collect()
    }

    #[test]
    fn the_first_retry_is_immediate_and_the_pauses_grow_to_ten_seconds() {
        assert_eq!(pauses(Pace::Eager, 0.0, 9), [0, 125, 250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(pauses(Pace::Eager, 1.0, 9), [50, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn what_a_person_must_mend_is_retried_every_thirty_to_sixty_seconds() {
        assert_eq!(pauses(Pace::Patient, 0.0, 2), [30_000, 30_000]);
        assert_eq!(pauses(Pace::Patient, 1.0, 2), [60_000, 60_000]);
    }

    #[test]
    fn a_connection_that_held_starts_afresh() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.next(Pace::Eager, 0.5);
        }
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.next(Pace::Eager, 0.5) < Duration::from_millis(50));
    }
}

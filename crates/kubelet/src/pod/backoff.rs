//! When to try again: twice as late each time, a little at random, at most so late.

use std::time::Duration;

use tokio::time::Instant;

/// The pace of one kind of call for one pod.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    next: Instant,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0, next: Instant::now() }
    }

    /// No call before this.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.next = Instant::now();
    }

    pub(super) fn not_before(&mut self, time: Instant) {
        self.next = time;
    }

    pub(super) fn failed(&mut self) {
        let pause = self.first.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        // Pods that failed together must not come back together.
        self.next = Instant::now() + pause.mul_f64(rand::random_range(0.8..1.2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_a_limit_and_start_afresh() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            backoff.failed();
            pauses.push(backoff.next() - Instant::now());
        }
        assert!(pauses[0] <= Duration::from_millis(1200) && pauses[3] >= Duration::from_millis(6400));
        assert!(pauses.iter().all(|p| *p <= Duration::from_secs(72)) && pauses[39] >= Duration::from_secs(48));
        backoff.succeeded();
        assert_eq!(backoff.next(), Instant::now());
    }
}

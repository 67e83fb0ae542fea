//! What the server sent and the client has not taken yet.
//!
//! russh acknowledges the data of a channel when it arrives, not when it was taken (its `adjust_window` has no effect
//! on clients), so the server never learns that one client is slow. The bytes pile up here instead, up to [`LIMIT`]:
//! then nothing more is taken from the session until the client has read on. That slows every connection, for they share
//! the session; so a client that reads nothing at all for [`STALL`] in that state loses its connection. While
//! all backlogs together exceed [`Budget::BYTES`], a small one ([`SHARE`]) counts as full: many such clients at once must
//! not fill the memory.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes};

/// Bytes that may wait for one client: more than the window, so that a client which reads at all is never the brake.
pub const LIMIT: usize = 8 << 20;

/// How long a client may read nothing while its backlog is full.
pub const STALL: Duration = Duration::from_secs(2);

/// Bytes that may wait for one client while the budget is spent.
pub const SHARE: usize = 64 << 10;

/// What waits for all clients.
#[derive(Debug, Default)]
pub struct Budget {
    spent: AtomicUsize,
}

impl Budget {
    /// Bytes that may wait for all clients before each of them gets less.
    pub const BYTES: usize = 16 << 20;

    /// Nothing waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { spent: AtomicUsize::new(0) }
    }
}

/// Chunks handed to the kernel at once.
const SLICES: usize = 16;

/// Bytes in the order of their arrival.
#[derive(Debug)]
pub struct Backlog {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    budget: &'static Budget,
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.budget.spent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Backlog {
    /// Empty.
    #[must_use]
    pub fn new(budget: &'static Budget) -> Self {
        Self { chunks: VecDeque::new(), bytes: 0, budget }
    }

    /// Adds what arrived.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            self.budget.spent.fetch_add(chunk.len(), Ordering::Relaxed);
            self.chunks.push_back(chunk);
        }
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether no more should be accepted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= LIMIT || (self.bytes >= SHARE && self.budget.spent.load(Ordering::Relaxed) >= Budget::BYTES)
    }

    /// The next bytes, ready for one system call.
    pub(super) fn slices(&self) -> [IoSlice<'_>; SLICES] {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
        }
        slices
    }

    /// Removes `taken` bytes from the front.
    pub fn advance(&mut self, taken: usize) {
        let mut taken = taken.min(self.bytes);
        self.bytes -= taken;
        self.budget.spent.fetch_sub(taken, Ordering::Relaxed);
        while let Some(front) = self.chunks.front_mut() {
            if taken < front.len() {
                front.advance(taken);
                return;
            }
            taken -= front.len();
            self.chunks.pop_front();
        }
        if self.chunks.capacity() > 64 {
            // A connection that was busy once must not hold the memory of its busiest moment.
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> &'static Budget {
        Box::leak(Box::default())
    }

    #[test]
    fn many_backlogs_share_what_there_is() {
        let budget = budget();
        let filled = |bytes: usize| {
            let mut backlog = Backlog::new(budget);
            backlog.push(vec![0; bytes].into());
            backlog
        };
        let (small, large) = (filled(SHARE - 1), filled(SHARE));
        assert!(!small.is_full() && !large.is_full());
        let many: Vec<Backlog> = (0..5).map(|_| filled(LIMIT - 1)).collect();
        assert!(!small.is_full() && large.is_full());
        drop(many);
        assert!(!large.is_full());
        drop((small, large));
        assert_eq!(budget.spent.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_leave_in_the_order_they_came_however_they_are_taken() {
        for step in 1..12 {
            let mut backlog = Backlog::new(budget());
            for chunk in ["ab", "", "cde", "f", "ghijk"] {
                backlog.push(Bytes::from_static(chunk.as_bytes()));
            }
            let mut seen = Vec::new();
            while !backlog.is_empty() {
                let flat: Vec<u8> = backlog.slices().iter().flat_map(|s| s.to_vec()).collect();
                let taken = flat.len().min(step);
                seen.extend_from_slice(&flat[..taken]);
                backlog.advance(taken);
            }
            assert_eq!(seen, b"abcdefghijk", "steps of {step}");
        }
    }

    #[test]
    fn it_is_full_at_its_limit_and_not_before() {
        let mut backlog = Backlog::new(budget());
        backlog.push(vec![0; LIMIT - 1].into());
        assert!(!backlog.is_full());
        backlog.push(vec![0].into());
        assert!(backlog.is_full());
        backlog.advance(1);
        assert!(!backlog.is_full());
    }
}

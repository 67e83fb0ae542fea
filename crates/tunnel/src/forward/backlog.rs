//! What the server sent and the client has not taken yet.
//!
//! russh acknowledges the data of a channel when it arrives, not when it was taken (its `adjust_window` has no effect
//! on clients), so the server never learns that one client is slow. The bytes pile up here instead, up to [`LIMIT`]:
//! then nothing more is taken from the session until the client has read on. That slows every connection, for they share
//! the session; so a client that reads nothing at all for [`STALL`] in that state loses its connection.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf as _, Bytes};

/// Bytes that may wait for one client: more than the window, so that a client which reads at all is never the brake.
pub const LIMIT: usize = 8 << 20;

/// How long a client may read nothing while its backlog is full.
pub const STALL: Duration = Duration::from_secs(2);

/// Chunks handed to the kernel at once.
const SLICES: usize = 16;

/// Bytes in the order of their arrival.
#[derive(Debug, Default)]
pub struct Backlog {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl Backlog {
    /// Adds what arrived.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
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
        self.bytes >= LIMIT
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
    pub fn advance(&mut self, mut taken: usize) {
        self.bytes = self.bytes.saturating_sub(taken);
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

    #[test]
    fn bytes_leave_in_the_order_they_came_however_they_are_taken() {
        for step in 1..12 {
            let mut backlog = Backlog::default();
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
        let mut backlog = Backlog::default();
        backlog.push(vec![0; LIMIT - 1].into());
        assert!(!backlog.is_full());
        backlog.push(vec![0].into());
        assert!(backlog.is_full());
        backlog.advance(1);
        assert!(!backlog.is_full());
    }
}

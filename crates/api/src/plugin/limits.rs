//! How long each kind of call may take, and how many of a kind may be at the plugin at once.
//!
//! Every kind has its own number, so that slow creates never keep a ping, or followers of logs a status, from passing.

use std::time::Duration;

/// Times and numbers, by kind of call.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A ping: every 30 s a kubelet asks, ours gives up after 10 s, and a person at the terminal waits for it.
    pub ping: Duration,
    /// A status, a list, the first byte of logs, and silence in the middle of logs that are not followed: below the
    /// 120 s of the existing kubelet.
    pub read: Duration,
    /// The same for our kubelet, below its 30 s.
    pub short_read: Duration,
    /// A create with all its repeats: below the 120 s after which the existing kubelet gives up and fails the pod.
    pub create: Duration,
    /// A delete with all its repeats, likewise.
    pub delete: Duration,
    /// The same for our kubelet, below its 60 s.
    pub short_delete: Duration,
    /// How long a create or delete of a foreign kubelet goes on while nothing can be sent: it would not try again
    /// itself but fail the pod, or leak the job.
    pub patience: Duration,
    /// The same for our kubelet, which tries again itself and shows the reason meanwhile.
    pub short_patience: Duration,
    /// The pause between two tries.
    pub pause: Duration,
    /// Creates and deletes at once. A login node is shared; `sbatch` is a process each.
    pub writes: usize,
    /// Pings at once.
    pub pings: usize,
    /// Statuses and lists at once.
    pub reads: usize,
    /// Logs at once; a follower holds its place for hours.
    pub follows: usize,
    /// Pods asked one by one at once, at plugins that answer only one.
    pub singles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(8),
            read: Duration::from_secs(110),
            short_read: Duration::from_secs(25),
            create: Duration::from_secs(110),
            delete: Duration::from_secs(110),
            short_delete: Duration::from_secs(50),
            patience: Duration::from_secs(30),
            short_patience: Duration::from_secs(3),
            pause: Duration::from_millis(500),
            writes: 64,
            pings: 16,
            reads: 32,
            follows: 1024,
            singles: 8,
        }
    }
}

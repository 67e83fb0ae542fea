//! Waiting for something to become true.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How often [`until`] looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Calls `probe` until it answers `Ok` and returns that value.
///
/// `Err` carries what was seen instead; the last one is part of the message when time is up. `what` completes
/// the sentence "waited for …".
///
/// # Panics
/// When `timeout` has passed, in the middle of a probe that hangs, too.
pub async fn until<T, D: Display>(what: &str, timeout: Duration, mut probe: impl AsyncFnMut() -> Result<T, D>) -> T {
    let deadline = Instant::now() + timeout;
    let mut seen = None;
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(other)) => seen = Some(other.to_string()),
            Err(_) => give_up(what, timeout, seen.as_deref()),
        }
        if Instant::now() + INTERVAL > deadline {
            give_up(what, timeout, seen.as_deref());
        }
        sleep(INTERVAL).await;
    }
}

fn give_up(what: &str, timeout: Duration, seen: Option<&str>) -> ! {
    match seen {
        Some(seen) => panic!("waited {timeout:?} for {what}; last seen: {seen}"),
        None => panic!("waited {timeout:?} for {what}; not one look came to an end"),
    }
}

//! A task that panics is begun again: one pod's fault, or one answer that nobody thought of, must not leave that pod (or
//! every pod, where it is the poll) without anybody who looks after it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// The pause before it is begun again: long enough that a fault which stays costs nothing.
const PAUSE: Duration = Duration::from_secs(10);

/// Runs what `begin` makes until it ends by itself or `shutdown`. Each panic is logged, by the `name` of the task, and
/// followed by a new beginning after 10 s. What the task holds must be such that a crash of the whole process would do
/// no harm either.
pub(super) async fn survive<F>(name: String, shutdown: CancellationToken, begin: impl Fn() -> F)
where
    F: Future<Output = ()>,
{
    while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
        tracing::error!(task = name, "a fault in this program; what it did here is begun again in {PAUSE:?}");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_followed_by_a_new_beginning_and_an_end_by_nothing() {
        let begun = AtomicU32::new(0);
        survive("test".into(), CancellationToken::new(), || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) >= 2, "planted");
        })
        .await;
        assert_eq!(begun.into_inner(), 3);
    }

    #[tokio::test]
    async fn nothing_is_begun_again_after_the_shutdown() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        survive("test".into(), shutdown, || async { std::panic::panic_any("planted") }).await;
    }
}

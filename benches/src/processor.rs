//! One processor for all that takes part in a measurement.
//!
//! Where a request wakes one process after the other, the scheduler's choice of a processor for each counts more than
//! what the programs do: waking one elsewhere takes as long as a whole round trip, and the choice sticks for seconds.

use std::marker::PhantomData;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// While it lives this thread, and every process and thread that it starts, share one processor.
#[derive(Debug)]
pub(crate) struct OneProcessor {
    before: CpuSet,
    /// A thread's property: it must be given up where it was taken.
    _of_this_thread: PhantomData<*const ()>,
}

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

impl OneProcessor {
    /// The last of those that this thread may use: interrupts mostly go to the first.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let before = sched_getaffinity(SELF)?;
        let last = (0..CpuSet::count()).rev().find(|processor| before.is_set(*processor).unwrap_or(false));
        let mut one = CpuSet::new();
        one.set(last.unwrap_or(0))?;
        sched_setaffinity(SELF, &one)?;
        Ok(Self { before, _of_this_thread: PhantomData })
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // What was allowed before is allowed still, unless the machine has lost processors meanwhile.
        let _ = sched_setaffinity(SELF, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors() -> usize {
        let set = sched_getaffinity(SELF).unwrap();
        (0..CpuSet::count()).filter(|processor| set.is_set(*processor).unwrap()).count()
    }

    #[test]
    fn threads_started_meanwhile_share_the_processor_and_it_is_given_back() {
        let before = processors();
        let one = OneProcessor::take().unwrap();
        assert_eq!((processors(), std::thread::spawn(processors).join().unwrap()), (1, 1));
        drop(one);
        assert_eq!(processors(), before);
    }
}

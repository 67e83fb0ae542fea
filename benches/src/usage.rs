//! What a process has used, by the kernel's own books.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The memory that it holds now, in MB (10⁶ bytes).
pub(crate) fn memory(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmRSS:")
}

/// The most that it has ever held, in MB.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<f64> {
    status(pid, "VmHWM:")
}

/// The processor time of all its threads that live.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the process has ended")? {
        // a thread that ends meanwhile has used next to nothing
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanoseconds = text.split(' ').next().context("schedstat is empty")?;
        sum += nanoseconds.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

fn status(pid: u32, field: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(memory(pid).unwrap() > 0.1);
        assert!(peak_memory(pid).unwrap() >= memory(pid).unwrap());
        assert!(processor_time(pid).unwrap() > Duration::ZERO);
        assert!(memory(u32::MAX).is_err());
    }
}

//! What the cluster has: `sinfo -h -N -o %N|%T|%c|%m|%G`, a line per node and partition.

use std::collections::BTreeMap;

use crate::scheduler::Capacity;

/// What to print of each node.
pub(super) const FORMAT: &str = "%N|%T|%c|%m|%G";

/// The sum over the nodes that can run jobs, now or after those that they run. `None` when no line makes sense.
#[must_use]
pub fn capacity(text: &str) -> Option<Capacity> {
    let nodes: BTreeMap<&str, (bool, Capacity)> = text.lines().filter_map(node).collect();
    if nodes.is_empty() {
        return None;
    }
    let up = nodes.values().filter(|(up, _)| *up).map(|(_, capacity)| capacity);
    Some(up.fold(Capacity::default(), |sum, node| Capacity {
        cpus: sum.cpus.saturating_add(node.cpus),
        memory_mib: sum.memory_mib.saturating_add(node.memory_mib),
        gpus: sum.gpus.saturating_add(node.gpus),
    }))
}

fn node(line: &str) -> Option<(&str, (bool, Capacity))> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, state, cpus, memory, gres] = fields.as_slice() else { return None };
    let number = |text: &str| text.trim_end_matches('+').parse::<u64>().ok();
    let capacity = Capacity { cpus: number(cpus)?, memory_mib: number(memory)?, gpus: gpus(gres) };
    Some((name, (is_up(state), capacity)))
}

/// States whose nodes run jobs. `*` is a node that does not answer; the other marks are of power saving and plans.
fn is_up(state: &str) -> bool {
    let word = state.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    let usable =
        ["idle", "mixed", "allocated", "completing", "reserved", "planned", "mix", "alloc", "comp", "resv", "plnd"];
    !state.ends_with('*') && usable.contains(&word.to_ascii_lowercase().as_str())
}

/// `gpu:4`, `gpu:a100:4(S:0-1)`, several joined by commas (which also occur inside of brackets).
fn gpus(gres: &str) -> u64 {
    let mut depth = 0;
    let plain: String = gres
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(');
            let outside = depth == 0;
            depth -= i32::from(*c == ')');
            outside
        })
        .collect();
    let entries = plain.split(',').filter(|entry| entry.split(':').next() == Some("gpu"));
    entries
        .map(|entry| entry.rsplit(':').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(1))
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_count_once_and_only_while_they_can_run_jobs() {
        let text = "n1|mixed|4|8000|(null)|\nn1|mixed|4|8000|(null)\nn1|mixed|4|8000|(null)\nn2|idle|4|8000|gpu:a100:2(S:0,1),gpu:v100:1\nn3|down*|64|1|gpu:8\nn4|drained|64|1|(null)\nn5|idle~|2|100|gpu\nn6|idle*|9|9|(null)\nhello\n";
        assert_eq!(capacity(text), Some(Capacity { cpus: 10, memory_mib: 16100, gpus: 4 }));
        assert_eq!(capacity("slurm_load_partitions: Unable to contact slurm controller\n"), None);
        assert_eq!(capacity("n3|down|64|1|(null)\n"), Some(Capacity::default()));
    }
}

//! What `run` says while a hop is down: one line when it begins, one when it is over. Pure.

use interlink_wire::ping::HopState;
use interlink_wire::{Fault, ping::HopStatus};
use jiff::{SignedDuration, Timestamp};

/// Whether the chain answers, and what was said about it.
#[derive(Debug, Default)]
pub struct Outage {
    down: Option<(String, Timestamp)>,
}

impl Outage {
    /// A call failed. The line to show, unless this hop's outage has been told.
    pub fn begins(&mut self, fault: &Fault, hops: &[HopState], now: Timestamp) -> Option<String> {
        let state = hops.iter().find(|state| state.state == HopStatus::Down);
        let hop = state.map_or(fault.hop.as_str(), |state| state.hop.as_str());
        let since = state.and_then(|s| s.since).or(self.down.as_ref().map(|(_, since)| *since)).unwrap_or(now);
        if self.down.as_ref().is_some_and(|(told, _)| told == hop) {
            return None;
        }
        self.down = Some((hop.to_owned(), since));
        let cause = state.map(|s| s.cause.as_str()).filter(|cause| !cause.is_empty()).unwrap_or(&fault.sentence);
        Some(format!("{hop} is down since {since:.0}: {cause}; waiting"))
    }

    /// A call went through. The line to show, if an outage is over.
    pub fn ends(&mut self, now: Timestamp) -> Option<String> {
        let (hop, since) = self.down.take()?;
        let seconds = now.duration_since(since).max(SignedDuration::ZERO).as_secs();
        Some(format!("{hop} answers again after {seconds} s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_too() {
        let mut outage = Outage::default();
        assert_eq!(outage.ends(at(0)), None);
        let fault = Fault::passing("tunnel", "unreachable", "no SSH connection to hpc:22");
        let line = outage.begins(&fault, &[], at(1)).unwrap();
        assert_eq!(line, "tunnel is down since 2027-01-15T08:00:01Z: no SSH connection to hpc:22; waiting");
        assert_eq!(outage.begins(&fault, &[], at(2)), None);
        assert_eq!(outage.ends(at(9)).as_deref(), Some("tunnel answers again after 8 s"));
        assert_eq!(outage.ends(at(10)), None);
    }

    #[test]
    fn the_chain_knows_better_since_when_and_why() {
        let state = HopState {
            hop: "tunnel".into(),
            state: HopStatus::Down,
            since: Some(at(-60)),
            cause: "the key was refused".into(),
            remedy: String::new(),
        };
        let fault = Fault::passing("api", "unreachable", "plugin.sock: connection refused");
        let line = Outage::default().begins(&fault, &[state], at(0)).unwrap();
        assert_eq!(line, "tunnel is down since 2027-01-15T07:59:00Z: the key was refused; waiting");
    }

    #[test]
    fn another_hop_is_another_line() {
        let mut outage = Outage::default();
        assert!(outage.begins(&Fault::passing("api", "x", "refused"), &[], at(0)).is_some());
        let line = outage.begins(&Fault::passing("plugin", "x", "busy"), &[], at(5)).unwrap();
        assert_eq!(line, "plugin is down since 2027-01-15T08:00:00Z: busy; waiting");
    }
}

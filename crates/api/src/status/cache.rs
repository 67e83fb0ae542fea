//! What this process remembers of pods: the answer to their create and their last status. Never durable: everything
//! here can be asked for again.
//!
//! Bounded in number and time. An entry leaves with a delete, with `/updateCache`, when the plugin no longer knows the
//! pod, or when nobody has asked for it for long.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use interlink_wire::{CreateStruct, PodStatus};

/// The most pods that are remembered; the least recently used go first. A status is about a kilobyte.
const CAPACITY: usize = 20_000;

/// An entry that nobody asked for in so long is forgotten. Kubelets ask every few seconds for what still lives.
const IDLE: Duration = Duration::from_secs(6 * 3600);

/// How a create went, as far as this process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The plugin accepted it.
    Accepted(CreateStruct),
    /// It was sent, and the answer got lost: the pod may or may not have a job.
    Unknown,
}

/// The pods, by UID.
#[derive(Debug, Default)]
pub struct Cache {
    pods: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    owner: Option<String>,
    created: Option<Created>,
    status: Option<(PodStatus, Instant)>,
    used: Instant,
}

impl Cache {
    /// How the pod's create went, if it went through this process.
    pub fn created(&mut self, uid: &str, now: Instant) -> Option<Created> {
        self.touch(uid, now)?.created.clone()
    }

    /// Remembers how a create went.
    pub fn record_create(&mut self, uid: &str, owner: Option<&str>, created: Created, now: Instant) {
        self.entry(uid, owner, now).created = Some(created);
    }

    /// The pod's last status.
    pub fn status(&mut self, uid: &str, now: Instant) -> Option<PodStatus> {
        self.touch(uid, now)?.status.as_ref().map(|(status, _)| status.clone())
    }

    /// Remembers a status that was asked for at `asked`, and returns the one that counts: of two answers that
    /// overtook each other it is the one with the higher sequence.
    pub fn record_status(&mut self, owner: Option<&str>, status: PodStatus, asked: Instant, now: Instant) -> PodStatus {
        let uid = status.uid.clone();
        let entry = self.entry(&uid, owner, now);
        if let Some((kept, stored)) = &entry.status
            && *stored > asked
            && kept.sequence > status.sequence
        {
            return kept.clone();
        }
        if let Some(Created::Unknown) = entry.created {
            // The plugin knows the pod: the lost create had arrived.
            entry.created = Some(Created::Accepted(CreateStruct { pod_uid: uid, pod_jid: status.jid.clone() }));
        }
        entry.status = Some((status.clone(), now));
        status
    }

    /// Forgets a status because the plugin no longer knows the pod. How its create went stays known.
    pub fn forget_status(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.touch(uid, now) {
            entry.status = None;
            if entry.created.is_none() {
                self.pods.remove(uid);
            }
        }
    }

    /// Forgets all about a pod.
    pub fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// Every known status of `owner`'s pods; without an owner, of all.
    #[must_use]
    pub fn statuses(&self, owner: Option<&str>) -> Vec<PodStatus> {
        let of_owner = self.pods.values().filter(|e| owner.is_none() || e.owner.as_deref() == owner);
        let mut known: Vec<PodStatus> = of_owner.filter_map(|e| e.status.as_ref()).map(|(s, _)| s.clone()).collect();
        known.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        known
    }

    /// How many pods are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether no pod is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    fn touch(&mut self, uid: &str, now: Instant) -> Option<&mut Entry> {
        let entry = self.pods.get_mut(uid)?;
        entry.used = now;
        Some(entry)
    }

    fn entry(&mut self, uid: &str, owner: Option<&str>, now: Instant) -> &mut Entry {
        if self.pods.len() >= CAPACITY && !self.pods.contains_key(uid) {
            self.make_room(now);
        }
        let entry =
            self.pods.entry(uid.to_owned()).or_insert(Entry { owner: None, created: None, status: None, used: now });
        entry.used = now;
        if let Some(owner) = owner {
            entry.owner = Some(owner.to_owned());
        }
        entry
    }

    /// Drops what is idle, and if that is not enough an eighth of all, so that the next inserts are cheap again.
    fn make_room(&mut self, now: Instant) {
        self.expire(now);
        if self.pods.len() < CAPACITY {
            return;
        }
        let mut times: Vec<Instant> = self.pods.values().map(|e| e.used).collect();
        times.sort_unstable();
        let limit = times[times.len() / 8];
        self.pods.retain(|_, entry| entry.used > limit);
    }

    /// Drops what nobody asked for in long.
    pub fn expire(&mut self, now: Instant) {
        self.pods.retain(|_, entry| now.saturating_duration_since(entry.used) < IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uid: &str, sequence: Option<u64>, jid: &str) -> PodStatus {
        PodStatus { uid: uid.into(), name: uid.into(), sequence, jid: jid.into(), ..PodStatus::default() }
    }

    #[test]
    fn the_later_status_counts_unless_it_was_overtaken() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        // (asked, sequence) of a first and a second answer, and the sequence that counts in the end.
        let cases = [
            ("one after the other", (0, Some(1)), (5, Some(2)), Some(2)),
            ("overtaken", (0, Some(2)), (0, Some(1)), Some(2)),
            ("the counter began anew", (0, Some(9)), (5, Some(1)), Some(1)),
            ("no counters", (0, None), (0, None), None),
        ];
        for (case, first, second, expected) in cases {
            let mut cache = Cache::default();
            cache.record_status(None, status("u", first.1, ""), at(first.0), at(1));
            let counts = cache.record_status(None, status("u", second.1, ""), at(second.0), at(6));
            assert_eq!(counts.sequence, expected, "{case}");
            assert_eq!(cache.status("u", at(7)).unwrap().sequence, expected, "{case}");
        }
    }

    #[test]
    fn a_lost_create_is_found_by_a_status() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.record_create("u", Some("me"), Created::Unknown, now);
        assert_eq!(cache.created("u", now), Some(Created::Unknown));
        cache.record_status(Some("me"), status("u", None, "7"), now, now);
        let accepted = CreateStruct { pod_uid: "u".into(), pod_jid: "7".into() };
        assert_eq!(cache.created("u", now), Some(Created::Accepted(accepted)));
    }

    #[test]
    fn a_vanished_pod_has_no_stale_status_but_its_create_is_remembered() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.record_create("made", None, Created::Unknown, now);
        for uid in ["made", "seen"] {
            cache.record_status(None, status(uid, None, ""), now, now);
            cache.forget_status(uid, now);
            assert_eq!(cache.status(uid, now), None);
        }
        assert!(cache.created("made", now).is_some());
        assert_eq!(cache.len(), 1);
        cache.forget("made");
        assert!(cache.is_empty());
    }

    #[test]
    fn an_owner_sees_its_own_pods() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for (uid, owner) in [("b", Some("one")), ("a", Some("one")), ("c", Some("two")), ("d", None)] {
            cache.record_status(owner, status(uid, None, ""), now, now);
        }
        let seen = |owner| cache.statuses(owner).iter().map(|s| s.uid.clone()).collect::<Vec<_>>().join("");
        assert_eq!(
            (seen(Some("one")), seen(Some("two")), seen(Some("x")), seen(None)),
            ("ab".into(), "c".into(), String::new(), "abcd".into())
        );
    }

    #[test]
    fn what_nobody_asks_for_goes_and_the_number_is_bounded() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.record_status(None, status("idle", None, ""), start, start);
        cache.record_status(None, status("used", None, ""), start, start);
        let later = start + IDLE;
        cache.status("used", later - Duration::from_secs(1));
        cache.expire(later);
        assert_eq!((cache.status("idle", later), cache.len()), (None, 1));
        cache.record_create("lost", None, Created::Unknown, start);
        cache.forget_status("lost", later - Duration::from_secs(1));
        cache.expire(later);
        assert!(cache.created("lost", later).is_some(), "asked for lately, though the plugin does not know it");
        cache.forget("lost");
        for i in 0..u32::try_from(CAPACITY).unwrap() + 100 {
            let now = later + Duration::from_millis(u64::from(i));
            cache.record_status(None, status(&format!("n{i}"), None, ""), now, now);
        }
        assert!(cache.len() <= CAPACITY);
        assert!(cache.status("used", later).is_none(), "the least recently used went first");
        assert!(cache.statuses(None).iter().any(|s| s.uid == format!("n{}", CAPACITY + 99)), "the newest stays");
    }
}

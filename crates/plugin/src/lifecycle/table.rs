//! All pods by UID, and the few that something must still be learned of: a cycle costs what is alive, not what is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use interlink_wire::PodUid;
use tokio::sync::OwnedMutexGuard;

use super::pod::Pod;

/// How long a create is refused after its pod was deleted: longer than a request can be on its way, short enough for a
/// pod that is wanted again under the same UID (as those of a manifest directory are).
const REMEMBERED: Duration = Duration::from_secs(60);

/// The pods.
#[derive(Debug, Default)]
pub struct Table {
    pods: Mutex<Pods>,
    turns: Mutex<HashMap<PodUid, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Pods {
    all: HashMap<PodUid, Arc<Pod>>,
    active: BTreeMap<PodUid, Arc<Pod>>,
    deleted: HashMap<PodUid, Instant>,
}

/// One request's turn at a pod; the next one waits until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    table: &'a Table,
    uid: PodUid,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Table {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<PodUid, Arc<tokio::sync::Mutex<()>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn at a pod. Entries live as long as somebody waits or works.
    pub async fn turn(&self, uid: &PodUid) -> Turn<'_> {
        let lock = Arc::clone(self.turns().entry(uid.clone()).or_default());
        // Made before waiting, so that a request that gives up cleans up too.
        let mut turn = Turn { table: self, uid: uid.clone(), guard: None };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    /// A pod.
    #[must_use]
    pub fn get(&self, uid: &PodUid) -> Option<Arc<Pod>> {
        self.pods().all.get(uid).cloned()
    }

    /// Every pod.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.pods().all.values().cloned().collect()
    }

    /// The pods of which something must still be learned.
    #[must_use]
    pub fn active(&self) -> Vec<Arc<Pod>> {
        self.pods().active.values().cloned().collect()
    }

    /// Adds a pod; it is active unless it is settled.
    pub fn insert(&self, pod: Arc<Pod>) {
        let settled = pod.facts().is_settled();
        let mut pods = self.pods();
        pods.deleted.remove(&pod.uid);
        if !settled {
            pods.active.insert(pod.uid.clone(), Arc::clone(&pod));
        }
        pods.all.insert(pod.uid.clone(), pod);
    }

    /// Something must be learned of it again: it is being deleted.
    pub fn activate(&self, pod: &Arc<Pod>) {
        self.pods().active.insert(pod.uid.clone(), Arc::clone(pod));
    }

    /// Nothing more will be learned of it.
    pub fn rest(&self, pod: &Pod) {
        let facts = pod.facts();
        let rests = facts.is_settled() && facts.deletion.is_none();
        drop(facts);
        if rests {
            self.pods().active.remove(&pod.uid);
        }
    }

    /// Forgets a pod, but for the fact that it was deleted.
    pub fn forget(&self, uid: &PodUid) {
        let mut pods = self.pods();
        pods.all.remove(uid);
        pods.active.remove(uid);
        pods.deleted.retain(|_, at| at.elapsed() < REMEMBERED);
        pods.deleted.insert(uid.clone(), Instant::now());
    }

    /// Whether a pod of this UID was deleted a moment ago.
    #[must_use]
    pub fn was_deleted(&self, uid: &PodUid) -> bool {
        self.pods().deleted.get(uid).is_some_and(|at| at.elapsed() < REMEMBERED)
    }

    /// How many pods there are, and of how many something must still be learned.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let pods = self.pods();
        (pods.all.len(), pods.active.len())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.table.turns();
        // The map's own is the only one left: nobody waits.
        if turns.get(&self.uid).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> PodUid {
        PodUid::parse("0b0c9a3e-2d5f-4a77-9d53-0c1f6a2b3c4d").unwrap()
    }

    #[tokio::test]
    async fn turns_at_one_pod_follow_one_another_and_leave_nothing() {
        let table = Arc::new(Table::default());
        let first = table.turn(&uid()).await;
        let waiting = tokio::spawn({
            let table = Arc::clone(&table);
            async move { drop(table.turn(&uid()).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        let first = table.turn(&uid()).await;
        let impatient = tokio::time::timeout(Duration::from_millis(1), table.turn(&uid())).await;
        assert!(impatient.is_err());
        drop(impatient);
        drop(first);
        assert!(table.turns().is_empty());
    }

    #[test]
    fn a_deleted_pod_is_remembered() {
        let table = Table::default();
        assert!(!table.was_deleted(&uid()));
        table.forget(&uid());
        assert!(table.was_deleted(&uid()));
    }
}

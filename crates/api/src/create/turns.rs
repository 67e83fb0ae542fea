//! Creates and deletes of one pod take turns.
//!
//! A second create that comes while the first is on its way waits for the first one's answer instead of being sent.
//! A delete stops a create that still waits for the plugin, and waits for one that is on its way: on another
//! connection it could overtake it, and the job would be an orphan.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use interlink_wire::CreateStruct;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::answer::Refusal;

/// How a create ended.
pub type Outcome = Result<CreateStruct, Refusal>;

/// The creates that are on their way, by pod UID.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    on_the_way: Arc<Mutex<HashMap<String, OnTheWay>>>,
}

#[derive(Debug, Clone)]
struct OnTheWay {
    outcome: watch::Receiver<Option<Outcome>>,
    stop: CancellationToken,
}

/// Whose turn it is.
#[derive(Debug)]
pub enum Turn {
    /// Ours: create, then [`Running::finish`].
    Start(Running, Waiting),
    /// Another request is at it.
    Join(Waiting),
}

/// A create that is on its way. Dropping it unfinished lets the next one start.
#[derive(Debug)]
pub struct Running {
    uid: String,
    turns: Turns,
    outcome: watch::Sender<Option<Outcome>>,
    left: bool,
    /// Cancelled when the pod is deleted meanwhile.
    pub stop: CancellationToken,
}

/// The end of a create, to wait for.
#[derive(Debug)]
pub struct Waiting(watch::Receiver<Option<Outcome>>);

impl Turns {
    /// Starts a create, or joins the one that is on its way.
    #[must_use]
    pub fn create(&self, uid: &str) -> Turn {
        let mut on_the_way = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = on_the_way.get(uid) {
            return Turn::Join(Waiting(other.outcome.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        let stop = CancellationToken::new();
        on_the_way.insert(uid.to_owned(), OnTheWay { outcome: receiver.clone(), stop: stop.clone() });
        let running = Running { uid: uid.to_owned(), turns: self.clone(), outcome: sender, left: false, stop };
        Turn::Start(running, Waiting(receiver))
    }

    /// Asks a create of this pod to end, and gives its end to wait for; `None` when there is none.
    #[must_use]
    pub fn stop_create(&self, uid: &str) -> Option<Waiting> {
        let on_the_way = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        on_the_way.get(uid).map(|create| {
            create.stop.cancel();
            Waiting(create.outcome.clone())
        })
    }
}

impl Running {
    /// Tells everybody who waits. A create that comes after the answer is a new one.
    pub fn finish(mut self, outcome: Outcome) {
        self.leave();
        self.outcome.send_replace(Some(outcome));
    }

    fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.turns.on_the_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uid);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Waiting {
    /// The outcome; `None` when the create ended without one.
    pub async fn outcome(mut self) -> Option<Outcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(jid: &str) -> CreateStruct {
        CreateStruct { pod_uid: "u".into(), pod_jid: jid.into() }
    }

    #[tokio::test]
    async fn a_second_create_waits_for_the_first_ones_answer() {
        let turns = Turns::default();
        let Turn::Start(running, first) = turns.create("u") else { panic!("nobody is at it") };
        let Turn::Join(second) = turns.create("u") else { panic!("somebody is at it") };
        assert!(matches!(turns.create("other"), Turn::Start(..)));
        running.finish(Ok(answer("7")));
        let Turn::Start(third, _) = turns.create("u") else { panic!("the next one starts anew") };
        assert_eq!(first.outcome().await, Some(Ok(answer("7"))));
        assert_eq!(second.outcome().await, Some(Ok(answer("7"))));
        assert!(matches!(turns.create("u"), Turn::Join(_)), "and is not ended by the first one's end");
        drop(third);
        assert!(turns.stop_create("u").is_none());
    }

    #[tokio::test]
    async fn a_delete_stops_a_create_and_waits_for_its_end() {
        let turns = Turns::default();
        assert!(turns.stop_create("u").is_none());
        let Turn::Start(running, _) = turns.create("u") else { panic!("nobody is at it") };
        let end = turns.stop_create("u").unwrap();
        assert!(running.stop.is_cancelled());
        drop(running);
        assert_eq!(end.outcome().await, None, "a create that died is an end, too");
        assert!(turns.stop_create("u").is_none());
    }
}

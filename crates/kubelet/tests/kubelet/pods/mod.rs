//! The life of pods between a source and an interLink API server: what is sent, how often, and what is shown of it.

mod world;

use std::time::Duration;

use interlink_kubelet::source::PodEvent;

use crate::scripted::Create;
use serde_json::{Value, json};
use world::{World, pod, uid};

const OURS: &[&str] = &["idempotentCreate", "podList"];

fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}

#[tokio::test]
async fn a_pod_is_sent_once_and_its_state_is_followed() {
    let world = World::start(OURS).await;
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "submitted as job 7").await;
    world.script().report(&uid(1), running());
    world.shown(1, "Running", "").await;
    world.script().report(&uid(1), json!({"terminated": {"exitCode": 3, "reason": "OOMKilled"}}));
    world.shown(1, "Failed", "OOMKilled").await;
    assert_eq!(world.script().made[&uid(1)], 1);
    assert_eq!(world.store.jobs()[&uid(1)], "7");
    {
        let script = world.script();
        let (_, headers, body) = script.calls.iter().find(|(path, ..)| path == "/create").unwrap();
        assert_eq!(headers["interlink-node"], "n1");
        assert_eq!(headers["interlink-owner"], "cluster/n1");
        assert!(headers["interlink-http-session"].to_str().unwrap().starts_with("CreatePod#"));
        assert_eq!(headers["authorization"], "Bearer secret");
        assert_eq!(body["pod"]["spec"]["fromTheFuture"], json!({"kept": true}));
        assert!(script.bodies("/status")[0][0]["spec"].is_object(), "the status is asked with the whole pod");
    }
    world.end().await;
}

#[tokio::test]
async fn a_refusal_is_final_and_in_the_remote_sides_words() {
    let world = World::start(OURS).await;
    world.script().creates.push_back(Create::Refuse(422, "no such partition"));
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Failed", "no such partition").await;
    let status = world.store.status(1);
    assert_eq!(
        (&status["reason"], &status["containerStatuses"][0]["state"]["terminated"]["exitCode"]),
        (&json!("ProviderFailed"), &json!(1))
    );
    assert!(world.store.notes(1).contains(&"Failed".to_owned()));
    assert_eq!(world.script().bodies("/create").len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_passing_refusal_keeps_the_pod_pending_and_is_tried_again() {
    let world = World::start(OURS).await;
    world.script().creates.extend([Create::Refuse(503, "slurmctld is restarting"), Create::Refuse(500, "again")]);
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "slurmctld is restarting").await;
    world.shown(1, "Pending", "submitted as job 7").await;
    assert!(world.store.status(1).get("reason").is_none());
    world.end().await;
}

#[tokio::test]
async fn an_expired_token_fails_no_pod() {
    let world = World::start(&[]).await;
    world.script().creates.extend([Create::Refuse(401, "token expired"), Create::Refuse(403, "not you")]);
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "token expired; check VKTokenFile").await;
    world.shown(1, "Pending", "submitted as job 7").await;
    assert_eq!(world.script().made[&uid(1)], 1);
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_got_lost_does_not_submit_twice() {
    let world = World::start(OURS).await;
    world.script().creates.push_back(Create::Lost);
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "submitted as job 7").await;
    assert_eq!(world.script().bodies("/create").len(), 2);
    assert_eq!(world.script().made[&uid(1)], 1);
    world.end().await;
}

#[tokio::test]
async fn a_peer_that_would_submit_twice_is_asked_once() {
    let world = World::start(&[]).await;
    world.script().creates.push_back(Create::LostUnseen);
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "whether the pod was submitted is not known").await;
    // Whoever came after a crash would have seen that the pod may have been sent.
    assert!(world.store.ever_shown(1, "Submitting"));
    world.script().reveal();
    world.script().report(&uid(1), running());
    world.shown(1, "Running", "").await;
    assert_eq!(world.script().made[&uid(1)], 1);
    world.end().await;
}

#[tokio::test]
async fn a_restart_asks_before_it_sends_what_may_have_been_sent() {
    let world = World::start(&["podList"]).await;
    let mut known = pod(1);
    known.fields_mut()["status"] = json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "Submitting"}}}]});
    let mut unknown = pod(2);
    unknown.fields_mut()["status"] = known.fields()["status"].clone();
    world.job(1, "cluster/n1");
    world.listed(vec![known, unknown]).await;
    world.shown(1, "Pending", "submitted as job 9").await;
    world.shown(2, "Pending", "submitted as job 7").await;
    assert_eq!(world.script().made, [(uid(2), 1)].into());
    world.end().await;
}

#[tokio::test]
async fn an_outage_freezes_what_is_shown_and_loses_no_delete() {
    let mut world = World::start(OURS).await;
    world.listed(vec![pod(1), pod(2)]).await;
    world.shown(2, "Pending", "submitted as job 7").await;
    world.script().report(&uid(1), running());
    world.shown(1, "Running", "").await;
    world.api.down().await;
    world.unreachable().await;
    // During the outage: one is deleted, one is made, one vanishes.
    world.applied(world::deleted(pod(1))).await;
    world.applied(pod(3)).await;
    world.tell(PodEvent::Deleted(world::key(2))).await;
    world.shown(3, "Pending", "api is down since").await;
    assert_eq!(world.store.status(1)["phase"], "Running");
    assert!(world.store.removed().is_empty());
    world.api.up().await;
    world.removed(1).await;
    world.shown(3, "Pending", "submitted as job 7").await;
    world.until("the vanished pod's job to end", |w| !w.script().jobs.contains_key(&uid(2))).await;
    world.end().await;
}

#[tokio::test]
async fn a_pod_is_removed_when_its_containers_have_ended_and_not_before() {
    let world = World::start(OURS).await;
    world.script().delete_at_once = false;
    world.script().failing_deletes = 1;
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "submitted").await;
    world.script().report(&uid(1), running());
    world.shown(1, "Running", "").await;
    world.applied(world::deleted(pod(1))).await;
    world.until("the delete to be repeated", |w| w.script().bodies("/delete").len() == 2).await;
    assert!(world.store.removed().is_empty(), "its container runs");
    world.script().report(&uid(1), json!({"terminated": {"exitCode": 143, "reason": "Error"}}));
    world.removed(1).await;
    assert_eq!(world.store.status(1)["phase"], "Failed", "its end is told before it goes");
    let notes = world.store.notes(1);
    assert!(notes.contains(&"Killing".to_owned()) && notes.contains(&"FailedKillPod".to_owned()), "{notes:?}");
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_was_never_sent_is_removed_without_asking() {
    let world = World::start(OURS).await;
    world.script().creates.extend(std::iter::repeat_n(Create::Refuse(429, "full"), 1000));
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "full").await;
    world.applied(world::deleted(pod(1))).await;
    world.removed(1).await;
    assert!(world.script().bodies("/delete").is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_may_have_been_sent_is_ended_before_it_is_removed() {
    let world = World::start(&["idempotentCreate"]).await;
    world.script().creates.push_back(Create::Lost);
    world.script().creates.extend(std::iter::repeat_n(Create::Refuse(429, "full"), 1000));
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "full").await;
    world.applied(world::deleted(pod(1))).await;
    world.removed(1).await;
    assert!(world.script().jobs.is_empty(), "its job is left behind");
    world.end().await;
}

#[tokio::test]
async fn a_lost_answer_further_along_the_chain_fails_no_pod() {
    let world = World::start(&[]).await;
    world.script().creates.push_back(Create::LostBehind);
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "the answer of the plugin got lost").await;
    world.script().reveal();
    world.script().report(&uid(1), running());
    world.shown(1, "Running", "").await;
    assert_eq!(world.script().made[&uid(1)], 1);
    world.end().await;
}

#[tokio::test]
async fn a_pod_of_unknown_submission_goes_when_the_remote_side_no_longer_reports_it() {
    let world = World::start(&[]).await;
    world.script().creates.push_back(Create::LostUnseen);
    world.listed(vec![pod(1)]).await;
    world.shown(1, "Pending", "whether the pod was submitted is not known").await;
    world.script().reveal();
    world.script().deletes_say_yes = true;
    world.applied(world::deleted(pod(1))).await;
    world.removed(1).await;
    assert!(world.script().jobs.is_empty());
    world.end().await;
}

#[tokio::test]
async fn orphans_of_this_node_are_ended_and_nobody_elses() {
    let world = World::start(OURS).await;
    for (n, owner) in [(1, "cluster/n1"), (2, "cluster/n1"), (3, "cluster/n2"), (4, ""), (5, "cluster/n1")] {
        world.job(n, owner);
    }
    // The store still has the fifth, though the list did not.
    world.store.has(5);
    let mut mine = pod(1);
    mine.fields_mut()["metadata"]["annotations"] = json!({"JobID": "9"});
    world.listed(vec![mine]).await;
    world.until("the orphan to be ended", |w| !w.script().jobs.contains_key(&uid(2))).await;
    world.until("a sweep to be over", |w| w.script().bodies("/status").len() > 1).await;
    let left: Vec<String> = world.script().jobs.keys().cloned().collect();
    assert_eq!(left, [uid(1), uid(3), uid(4), uid(5)]);
    world.end().await;
}

#[tokio::test]
async fn a_missing_config_map_is_named_and_waited_for() {
    let world = World::start(OURS).await;
    let mut needy = pod(1);
    needy.fields_mut()["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "settings"}}]);
    needy.fields_mut()["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    world.listed(vec![needy]).await;
    world.shown(1, "Pending", "settings").await;
    assert_eq!(world.store.status(1)["containerStatuses"][0]["state"]["waiting"]["reason"], "FailedMount");
    assert!(world.store.notes(1).contains(&"FailedMount".to_owned()));
    assert!(world.script().bodies("/create").is_empty());
    world.objects.add("settings");
    world.shown(1, "Pending", "submitted as job 7").await;
    assert_eq!(world.script().bodies("/create")[0]["configmaps"][0]["metadata"]["name"], "settings");
    world.end().await;
}

#[tokio::test]
async fn peers_that_answer_for_one_pod_are_asked_for_one() {
    let world = World::start(OURS).await;
    world.script().answers_for_one = true;
    world.listed((1..=4).map(pod).collect()).await;
    for n in 1..=4 {
        world.shown(n, "Pending", "submitted as job 7").await;
        world.script().report(&uid(n), running());
    }
    for n in 1..=4 {
        world.shown(n, "Running", "").await;
    }
    world.end().await;
}

#[tokio::test]
async fn many_pods_at_once_do_not_flood_the_remote_side() {
    let world = World::start(OURS).await;
    world.script().creates.extend(std::iter::repeat_n(Create::Late(Duration::from_millis(50)), 100));
    world.listed((1..=100).map(pod).collect()).await;
    world.until("all to be made", |w| w.script().made.len() == 100).await;
    let most = world.script().under_way.1;
    assert!(most <= 16, "{most} creates at once");
    world.end().await;
}

#[tokio::test]
async fn a_create_that_is_under_way_at_the_end_is_finished() {
    let world = World::start(OURS).await;
    world.script().creates.push_back(Create::Late(Duration::from_millis(500)));
    world.listed(vec![pod(1)]).await;
    world.until("the create to be under way", |w| w.script().under_way.0 == 1).await;
    world.stop().await;
    assert_eq!(world.script().made[&uid(1)], 1);
    assert_eq!(world.table.get(&world::key(1)).unwrap().job, "7");
}

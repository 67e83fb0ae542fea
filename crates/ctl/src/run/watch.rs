//! Polls the pod's status until it has ended.

use std::time::Duration;

use interlink_wire::{Object, PodStatus};
use serde_json::json;
use tokio::time::Instant;

use super::End;
use super::api::Api;
use super::outcome::exit_code;
use super::phase::Teller;
use super::screen::Screen;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a pod that was known may be missing from good answers before it counts as deleted by somebody else. A
/// plugin that has just started may need as long to read its job directories.
const MISSING: Duration = Duration::from_secs(60);

/// Until the pod has ended. `certain`: its create was answered.
pub async fn watch(
    api: &Api,
    pod: &Object,
    screen: &Screen,
    status: &tokio::sync::watch::Sender<Option<PodStatus>>,
    certain: bool,
) -> End {
    let mut pod = pod.clone();
    let mut teller = Teller::default();
    let mut adopted = certain;
    let mut missing_since = None;
    loop {
        match api.status(&pod).await {
            Err(fault) => {
                missing_since = None;
                screen.down(&fault, &[]);
            }
            Ok(None) => {
                screen.up();
                // A pod that may never have been submitted is waited for until somebody ends the waiting.
                let since = *missing_since.get_or_insert_with(Instant::now);
                if adopted && since.elapsed() >= MISSING {
                    return End::Lost("the plugin no longer knows the pod: somebody else deleted it".into());
                }
            }
            Ok(Some(now)) => {
                screen.up();
                missing_since = None;
                if !adopted {
                    screen.say("was submitted after all");
                    adopted = true;
                }
                for line in teller.lines(&now) {
                    screen.say(&line);
                }
                // Existing API servers answer from their cache unless the pod's own phase says that it goes on.
                let running = now.containers.iter().any(|c| c.state.is_running());
                let phase = if running { "Running" } else { "Pending" };
                pod.fields_mut().insert("status".into(), json!({"phase": phase}));
                let code = exit_code(&now);
                status.send_replace(Some(now));
                if let Some(code) = code {
                    return End::Code(code);
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

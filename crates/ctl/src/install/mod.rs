//! `interlinkctl install` and `uninstall`.
//!
//! ```text
//!   wishes ─┐
//!   facts  ─┼─▶ plan ─▶ steps ─▶ run: show (--dry-run), make, undo
//!   place  ─┘                     └─ record: what was made, by us
//! ```
//!
//! - [`arguments`]: the command lines. [`wishes`]: what is asked for, now or the last time.
//! - [`facts`]: the machine as it is; [`nodes`] asks a compute node, [`host_keys`] finds the SSH server's.
//! - [`refuse`]: what keeps it from beginning.
//! - [`plan`]: wishes and facts become steps, without I/O. [`place`]: where they go. [`templates`]: the files of `deploy/`.
//! - [`step`]: each knows how to show itself, whether it is already so, and how to be undone.
//! - [`run`]: carries out a plan. [`record`]: what earlier runs have made.
//! - [`over_ssh`]: the other end, installed from here.
//! - [`uninstall`]: the way back; [`pods`] tells whether some run.
//! - [`keep`]: programs as a user's background processes, where there is no service manager.
//! - [`cluster`]: Kubernetes objects. [`system`]: the system's tools. [`atomic`]: files that are whole. [`owned`]: whose things are.

pub mod arguments;
pub mod atomic;
pub mod cluster;
pub mod facts;
pub mod host_keys;
pub mod keep;
pub mod nodes;
pub mod over_ssh;
pub mod owned;
pub mod place;
pub mod plan;
pub mod pods;
pub mod record;
pub mod refuse;
pub mod run;
pub mod step;
pub mod system;
pub mod templates;
pub mod uninstall;
pub mod wishes;

use std::path::Path;

use interlink_daemon::Failure;

use arguments::InstallArgs;
use facts::Facts;
use over_ssh::{Far, Target};
use place::{Me, Place};
use plan::Task;
use record::Record;
use run::say;
use step::Site;
use wishes::{Role, Wishes};

pub use uninstall::uninstall;

/// Installs, with `--remote` both ends.
///
/// # Errors
/// [`Failure`] as the command's help says.
pub async fn install(args: InstallArgs) -> Result<u8, Failure> {
    let Some(target) = &args.remote else { return here(&args, None).await };
    let wishes = args.wishes().map_err(Failure::usage)?;
    let programs = facts::programs(args.bin_dir()).map_err(Failure::failed)?;
    let target = Target::parse(target).map_err(Failure::usage)?;
    let far = Far::reach(target, &programs, args.remote_unprivileged).await.map_err(Failure::config)?;
    let installed = both(&args, wishes, &far).await;
    far.leave().await;
    installed
}

/// The other end is asked first whether it refuses, then this one makes the key, then that one lets it in.
async fn both(args: &InstallArgs, wishes: Wishes, far: &Far) -> Result<u8, Failure> {
    let place = place(args.user)?;
    let earlier = Record::read(&place.record(args.role)).or_else(unreadable_is_none).map_err(Failure::config)?;
    let wishes = wishes.over(earlier.unwrap_or_default().wishes);
    far.install(&wishes, None, true).await.map_err(Failure::config)?;
    say("here:");
    here(args, Some(far)).await?;
    if args.dry_run {
        return Ok(0);
    }
    let public = step::key::public(&place.local.join(".ssh/id_ed25519"));
    let key = std::fs::read_to_string(&public).map_err(|e| Failure::failed(format!("{}: {e}", public.display())))?;
    far.install(&wishes, Some(key.trim()), false).await.map_err(Failure::failed)?;
    nudge(&place).await;
    say("done: both ends are installed; interlinkctl check looks whether they work together");
    Ok(0)
}

/// Has the tunnel of this machine try its key now. Refused until then, it tries less and less often, and comes up
/// without this, too.
async fn nudge(place: &Place) {
    if place.me.as_ref().is_none_or(|me| me.manager) {
        let _ = place.manager().ctl(&["reload", "interlink-tunnel.service"]).await;
    }
}

/// Installs this end; with the other one at hand, its host keys are known.
async fn here(args: &InstallArgs, far: Option<&Far>) -> Result<u8, Failure> {
    let place = place(args.user)?;
    let path = place.record(args.role);
    let earlier = Record::read(&path).or_else(unreadable_is_none).map_err(Failure::config)?.unwrap_or_default();
    let wishes = args.wishes().map_err(Failure::usage)?.over(earlier.wishes.clone());
    let mut facts = facts::gather(args.role, &wishes, &place, &args.around()).await.map_err(Failure::failed)?;
    if let Some(far) = far.filter(|far| !far.host_keys.is_empty()) {
        facts.host_keys = Some(far.host_keys.clone());
        facts.host_keys_from = "the other end, by your own access".to_owned();
    }

    let verdict = refuse::judge(args.role, &wishes, &facts, &place);
    for warning in &verdict.warned {
        say(format!("note      {warning}"));
    }
    if !verdict.refused.is_empty() {
        for sentence in &verdict.refused {
            say(format!("refused   {sentence}"));
        }
        let count = verdict.refused.len();
        return Err(Failure::config(format!("refused for {}, nothing was changed", reasons(count))));
    }

    let plan = plan::plan(args.role, Task { wishes: &wishes, facts: &facts, place: &place });
    let other = other(&place, args.role)?;
    let shared = other.is_some();
    let mut site = Site { shared, record: earlier, ..Site::default() };
    site.record.wishes = wishes.clone();
    site.record.version = interlink_daemon::VERSION.to_owned();
    let tally = if args.dry_run {
        run::show(&plan, &mut site).await.map_err(Failure::failed)?
    } else {
        run::make(&plan, &mut site, &other.unwrap_or_default(), &path).await.map_err(Failure::failed)?
    };
    let run::Tally { changed, same } = tally;
    say(match (changed, args.dry_run) {
        (0, _) => format!("nothing to do: all {same} steps are as they should be"),
        (_, true) => format!("a dry run: {changed} steps would change something, {same} are as they should be"),
        (_, false) => format!("done: {changed} steps changed something, {same} were as they should be"),
    });
    if !args.dry_run && args.role == Role::Remote && shared {
        nudge(&place).await;
    }
    if !args.dry_run && far.is_none() {
        for line in next(args.role, &wishes, &facts, &place).await {
            say(line);
        }
    }
    Ok(0)
}

/// Where it goes.
fn place(user: bool) -> Result<Place, Failure> {
    if !user {
        return Ok(Place::system());
    }
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let user = user.ok_or_else(|| Failure::config(format!("the account number {uid} has no name on this machine")))?;
    let manager = Path::new(&format!("/run/user/{uid}/systemd/private")).exists();
    Ok(Place::of(Me { name: user.name, uid: uid.as_raw(), home: user.dir, manager }))
}

/// The other role's record, where it is on this machine too.
fn other(place: &Place, role: Role) -> Result<Option<Record>, Failure> {
    let other = if role == Role::Local { Role::Remote } else { Role::Local };
    Record::read(&place.record(other)).or_else(unreadable_is_none).map_err(Failure::config)
}

/// Who may not read it is told by the facts that root is needed.
fn unreadable_is_none(why: String) -> Result<Option<Record>, String> {
    if nix::unistd::geteuid().is_root() { Err(why) } else { Ok(None) }
}

fn reasons(count: usize) -> String {
    if count == 1 { "one reason".into() } else { format!("{count} reasons") }
}

/// What an operator does next.
async fn next(role: Role, wishes: &Wishes, facts: &Facts, place: &Place) -> Vec<String> {
    let via = match wishes.via() {
        wishes::Via::Rexec => String::new(),
        via => format!(" --via {}", via.name()),
    };
    let mut lines = match role {
        Role::Local => {
            let public = step::key::public(&place.local.join(".ssh/id_ed25519"));
            let key = std::fs::read_to_string(public).unwrap_or_default();
            let key = key.trim();
            vec![
                format!("host key  from {}", facts.host_keys_from),
                format!("next      at the other end: interlinkctl install --role remote{via} --public-key '{key}'"),
                "then      interlinkctl check".to_owned(),
            ]
        }
        Role::Remote => {
            let mut lines = Vec::new();
            if wishes.public_key.is_none() {
                lines.push("next      no key logs in yet: run this again with --public-key, which the other end's installation prints".to_owned());
            }
            for name in ["ssh_host_ed25519_key.pub", "ssh_host_ecdsa_key.pub", "ssh_host_rsa_key.pub"] {
                let keys = std::fs::read_to_string(Path::new("/etc/ssh").join(name)).unwrap_or_default();
                let print = host_keys::fingerprints(&host_keys::lines(&keys)).await;
                if !print.is_empty() {
                    lines.push(format!("host key  {print}"));
                }
            }
            lines
        }
    };
    if let Some(me) = place.me.as_ref().filter(|me| !me.manager) {
        let dir = place.prefix(role);
        let keep = format!("{}/bin/interlinkctl internal keep {}", dir.display(), dir.display());
        lines.push(format!(
            "note      {} has no service manager here: a line of your crontab starts it after a reboot: @reboot {keep}",
            me.name
        ));
    }
    lines
}

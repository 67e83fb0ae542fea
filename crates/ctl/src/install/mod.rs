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
//! - [`uninstall`]: the way back; [`pods`] tells whether some run.
//! - [`cluster`]: Kubernetes objects. [`system`]: the system's tools. [`atomic`]: files that are whole.

pub mod arguments;
pub mod atomic;
pub mod cluster;
pub mod facts;
pub mod host_keys;
pub mod nodes;
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
use place::{Me, Place};
use plan::Task;
use record::Record;
use run::say;
use step::Site;
use wishes::{Role, Wishes};

pub use uninstall::uninstall;

/// Installs.
///
/// # Errors
/// [`Failure`] as the command's help says.
pub async fn install(args: InstallArgs) -> Result<u8, Failure> {
    let place = place(args.user)?;
    let path = place.record(args.role);
    let earlier = Record::read(&path).or_else(unreadable_is_none).map_err(Failure::config)?.unwrap_or_default();
    let wishes = args.wishes().map_err(Failure::usage)?.over(earlier.wishes.clone());
    let facts = facts::gather(args.role, &wishes, &place, &args.around()).await.map_err(Failure::failed)?;

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
    if args.dry_run {
        let tally = run::show(&plan, &mut site).await.map_err(Failure::failed)?;
        say(match tally.changed {
            0 => format!("nothing to do: all {} steps are as they should be", tally.same),
            changed => {
                format!("a dry run: {changed} steps would change something, {} are as they should be", tally.same)
            }
        });
        return Ok(0);
    }
    let tally = run::make(&plan, &mut site, &other.unwrap_or_default(), &path).await.map_err(Failure::failed)?;
    say(match tally.changed {
        0 => format!("nothing to do: all {} steps are as they should be", tally.same),
        changed => format!("done: {changed} steps changed something, {} were as they should be", tally.same),
    });
    for line in next(args.role, &wishes, &facts, &place).await {
        say(line);
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
    match role {
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
    }
}

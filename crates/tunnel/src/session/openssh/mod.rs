//! The engine of the system: `ssh` carries what we accept, one supervised process for each forward.
//!
//! ```text
//!   client ──▶ our listener ──▶ private socket ──▶ ssh -N -L ══SSH══▶ sshd ──▶ service
//!   service ◀── us ◀── private socket ◀── ssh -N -R ══SSH══▶ sshd ◀── client        (in reverse)
//!   client ──▶ our listener ──▶ multiplexer ──▶ ssh host COMMAND ══SSH══▶ sshd        (by a command)
//! ```
//!
//! The listening socket, patience, state and draining stay ours; names, keys, Kerberos and proxies are the business of
//! `ssh` and its configuration.
//!
//! | module | what |
//! |---|---|
//! | `setup` | how it is called |
//! | `words` | what it says |
//! | [`guard`] | it ends when we do |
//! | `child` | one process |
//! | `carrier` | one that carries a forward |
//! | `command` | one that runs a command which carries it |
//! | `supervised` | all of them, in the place of a session |

mod carrier;
mod child;
mod command;
pub mod guard;
mod setup;
mod supervised;
mod words;

pub(crate) use carrier::{Carrier, Started};
pub(super) use command::run;
pub(crate) use supervised::Supervised;

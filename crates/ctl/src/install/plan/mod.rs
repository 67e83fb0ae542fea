//! From wishes and facts to steps: no I/O here.

mod local;
mod remote;
mod unit;

use std::path::PathBuf;

use super::facts::Facts;
use super::place::Place;
use super::step::Plan;
use super::step::account::Account;
use super::step::directory::Directory;
use super::step::file::File;
use super::templates;
use super::wishes::{Role, Wishes};

pub use remote::jobs;
pub(crate) use remote::scheduler;
pub use unit::{at_home, of_account};

/// What is to be planned.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// What is asked for.
    pub wishes: &'a Wishes,
    /// What is known of the machine.
    pub facts: &'a Facts,
    /// Where it goes.
    pub place: &'a Place,
}

/// The steps of a role, in the order in which they are made; they are undone in the reverse order.
#[must_use]
pub fn plan(role: Role, task: Task<'_>) -> Plan {
    match role {
        Role::Local => local::plan(task),
        Role::Remote => remote::plan(task),
    }
}

impl Task<'_> {
    fn name(self) -> String {
        match &self.place.me {
            Some(me) => me.name.clone(),
            None => self.wishes.account().to_owned(),
        }
    }

    /// The role's own directory and the account. The directory comes first: the record is in it.
    fn foundation(self, role: Role) -> Plan {
        let prefix = self.place.prefix(role);
        let mut plan: Plan = vec![Box::new(Directory::new(prefix, 0o755, self.place.root()))];
        if self.place.me.is_none() {
            let login = role == Role::Remote;
            plan.push(Box::new(Account { name: self.name(), home: prefix.to_owned(), login }));
        }
        for folder in ["bin", "config"] {
            plan.push(Box::new(Directory::new(prefix.join(folder), 0o755, self.place.root())));
        }
        plan
    }

    fn program(self, role: Role, from: &str, to: &str) -> File {
        let path = self.place.prefix(role).join("bin").join(to);
        File::program(path, self.facts.bin_dir.join(from), self.place.root())
    }

    fn config(self, role: Role, name: &str, text: String) -> File {
        let path = self.place.prefix(role).join("config").join(name);
        File::text(path, text, 0o640, self.place.readable_by(&self.name()))
    }

    fn unit(self, name: &str, template: &str) -> File {
        let text = match &self.place.me {
            Some(_) => self.place.text(&at_home(template)),
            None => of_account(template, &self.name(), &self.facts.group),
        };
        File::text(self.place.units.join(name), text, 0o644, self.place.root())
    }

    /// Rotation of log files, for who told a program to write one.
    fn logrotate(self) -> Option<File> {
        if !self.facts.logrotate || self.place.me.is_some() {
            return None;
        }
        let both = format!("{} {}", self.name(), self.facts.group);
        let text = templates::LOGROTATE.replace("interlink interlink", &both);
        let path = PathBuf::from("/etc/logrotate.d/interlink-tunneled");
        let mut file = File::text(path, text, 0o644, self.place.root());
        file.common = true;
        Some(file)
    }
}

//! Lingering: a user's services go on without a login. Where only an administrator may allow it, that is said.

use std::path::Path;

use async_trait::async_trait;

use super::{Seen, Site, Step};
use crate::install::run::say;
use crate::install::system::{self, QUICK};

/// Lingering of that account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linger(pub String);

impl Linger {
    fn on(&self) -> bool {
        Path::new("/var/lib/systemd/linger").join(&self.0).exists()
    }
}

#[async_trait]
impl Step for Linger {
    fn title(&self) -> String {
        format!("services of {} that outlive the login", self.0)
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        Ok(if self.on() { Seen::AsWanted } else { Seen::Differs(vec![format!("+ loginctl enable-linger {}", self.0)]) })
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        let said = system::run("loginctl", ["--no-ask-password", "enable-linger", &self.0], QUICK).await?;
        if !said.ok() {
            say(format!(
                "note      your services end with your last login here, until an administrator runs `loginctl enable-linger {}` ({})",
                self.0,
                said.why()
            ));
        }
        Ok(())
    }

    /// Others of the user's services may rest on it.
    async fn undo(&self, _: &mut Site) -> Result<bool, String> {
        Ok(false)
    }
}

//! Slurm's commands, as the user of the test or as another.

use std::ffi::{OsStr, OsString};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

use super::Cluster;
use crate::users::User;

impl Cluster {
    /// Runs a Slurm command as the user of the test.
    ///
    /// # Panics
    /// When it is not installed or takes longer than thirty seconds.
    pub async fn run<S: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Output {
        output(self.command(program).args(args)).await
    }

    /// Runs a command as another user, in that user's home, with that user's environment and SLURM_CONF.
    ///
    /// # Panics
    /// When it takes longer than thirty seconds.
    pub async fn run_as<S: AsRef<OsStr>>(
        &self,
        user: &User,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Output {
        output(self.command_as(user, program).args(args)).await
    }

    /// A command that a test starts itself, with SLURM_CONF.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.conf()).kill_on_drop(true);
        command
    }

    /// A command that a test starts itself as another user.
    pub fn command_as(&self, user: &User, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--reuid", &user.name, "--regid", &user.name, "--init-groups", "--reset-env", "env"]);
        // --reset-env forgets it
        let mut conf = OsString::from("SLURM_CONF=");
        conf.push(self.conf());
        command.arg(conf).arg("PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").arg(program).current_dir(&user.home);
        command
    }

    /// Submits `command` (a line of shell) as that user by `sbatch --wrap` and returns the job's number.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit<S: AsRef<OsStr>>(
        &self,
        user: &User,
        command: &str,
        options: impl IntoIterator<Item = S>,
    ) -> String {
        let mut sbatch = self.command_as(user, "sbatch");
        sbatch.args(["--parsable", "-o", "/dev/null"]).args(options).args(["--wrap", command]);
        let output = output(&mut sbatch).await;
        assert!(output.status.success(), "sbatch: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

async fn output(command: &mut Command) -> Output {
    let shown = format!("{:?}", command.as_std());
    match tokio::time::timeout(Duration::from_secs(30), command.output()).await {
        Ok(output) => output.unwrap_or_else(|error| panic!("{shown} cannot be started: {error}")),
        Err(_) => panic!("{shown} takes longer than 30 s"),
    }
}

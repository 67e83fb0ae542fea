//! kubectl, with one kubeconfig.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// What no call of a test takes longer than: `kubectl wait` and `logs -f` included.
const LIMIT: Duration = Duration::from_secs(120);

/// The cluster's own kubectl, acting as the user of one kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub(super) fn new(program: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self { program, kubeconfig, cache }
    }

    /// The kubeconfig in use.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs `kubectl` with those arguments, whatever comes of it.
    ///
    /// # Panics
    /// When it takes longer than two minutes.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run_with_input(args, "").await
    }

    /// Runs `kubectl` and returns what it prints on its standard output.
    ///
    /// # Panics
    /// When it fails; the message has its standard error.
    pub async fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        succeeded(self.run(args).await)
    }

    /// Runs `kubectl … -o json` and returns what it prints.
    ///
    /// # Panics
    /// When it fails or does not print JSON.
    pub async fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let text = self.ok(args.chain(["-o".into(), "json".into()])).await;
        serde_json::from_str(&text).expect("kubectl -o json prints JSON")
    }

    /// Applies a manifest, YAML or JSON.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn apply(&self, manifest: &str) -> String {
        succeeded(self.run_with_input(["apply", "-f", "-"], manifest).await)
    }

    /// A `kubectl` that a test starts itself, to watch or stream.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::from(self.blocking_command(args));
        command.kill_on_drop(true);
        command
    }

    pub(super) fn blocking_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", &self.cache);
        command
    }

    async fn run_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Output {
        let mut command = self.command(args);
        let shown = format!("{:?}", command.as_std());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl must be executable");
        let mut stdin = child.stdin.take().expect("the pipe was asked for");
        // a kubectl that fails at once does not read its input: its own message says more than a broken pipe
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        match timeout(LIMIT, child.wait_with_output()).await {
            Ok(output) => output.expect("a child of one's own can be waited for"),
            Err(_) => panic!("{shown} takes longer than {LIMIT:?}"),
        }
    }
}

fn succeeded(output: Output) -> String {
    assert!(
        output.status.success(),
        "kubectl failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

//! The batch machine: a Slurm cluster, an sshd, and the plugin of an unprivileged user.

use std::path::PathBuf;
use std::time::Duration;

use interlink_testkit::dirs::TestDir;
use interlink_testkit::process::{Daemon, Launch};
use interlink_testkit::slurm::{self, Cluster};
use interlink_testkit::sshd::{self, KeyPair, KeyType, Sshd};
use interlink_testkit::users::{User, hpcuser};
use interlink_testkit::{binaries, wait};

/// How a site differs from the usual one.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Slurm cluster.
    pub slurm: slurm::Options,
    /// More lines of the plugin's configuration; they win.
    pub plugin_lines: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            slurm: slurm::Options { nodes: 2, cpus: 32, ..slurm::Options::default() },
            plugin_lines: "ContainerRuntime: host\n".to_owned(),
        }
    }
}

/// A running site. Dropped, everything of it ends.
#[derive(Debug)]
pub struct Site {
    /// The plugin.
    pub plugin: Daemon,
    /// The login node's SSH server, run by the user whose jobs they are.
    pub sshd: Sshd,
    /// The key that may reach the plugin's socket and do nothing else but forward.
    pub key: KeyPair,
    /// The batch system.
    pub slurm: Cluster,
    /// Whose jobs they are.
    pub user: User,
    /// The plugin's socket.
    pub socket: PathBuf,
    /// The plugin's job directories.
    pub jobs: PathBuf,
    /// Everything of the site on disk.
    pub dir: TestDir,
}

impl Site {
    /// Starts one and waits until the plugin listens.
    ///
    /// # Panics
    /// When a part is missing or does not come up.
    pub async fn start(options: Options) -> Self {
        let user = hpcuser();
        let slurm = Cluster::start(options.slurm.clone()).await;
        let sshd = Sshd::start(sshd::Options { user: Some(user.clone()), ..sshd::Options::default() }).await;
        let key = sshd.key_pair("interlink", KeyType::Ed25519);
        sshd.authorize(&user.name, "restrict,port-forwarding,command=\"/bin/false\"", &key);
        let dir = TestDir::new();
        let own = dir.folder("hpc");
        std::os::unix::fs::chown(&own, Some(user.uid), Some(user.gid)).expect("the end-to-end tests run as root");
        let (socket, jobs) = (own.join("plugin.sock"), own.join("jobs"));
        let config = dir.write(
            "plugin.yaml",
            format!(
                "Socket: unix://{}\nDataRootFolder: {}/\nScheduler: slurm\nSbatchPath: /usr/bin/sbatch\n{}",
                socket.display(),
                jobs.display(),
                options.plugin_lines
            ),
        );
        let log = dir.write("plugin.log", "");
        let plugin = Launch::new(binaries::path("interlink-plugin"), log)
            .arg("-SlurmConfigpath")
            .arg(config)
            .clean_env()
            .env("SLURM_CONF", slurm.conf())
            .env("HOME", &own)
            .env("XDG_RUNTIME_DIR", "")
            .env("RUNTIME_DIRECTORY", &own)
            .env("STATE_DIRECTORY", &own)
            .user(&user.name)
            .patience(Duration::from_secs(5))
            .start();
        let site = Self { plugin, sshd, key, slurm, user, socket, jobs, dir };
        site.plugin_listens().await;
        site
    }

    /// Waits until the plugin accepts connections.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn plugin_listens(&self) {
        wait::until("the plugin's socket", Duration::from_secs(20), async || {
            match tokio::net::UnixStream::connect(&self.socket).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{error}; its log ends: {}", self.plugin.log_tail(5))),
            }
        })
        .await;
    }

    /// The job directory of a pod in `default`.
    pub fn job_dir(&self, uid: &str) -> PathBuf {
        self.jobs.join(format!("default-{uid}"))
    }
}

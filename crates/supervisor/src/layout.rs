//! Names of the files in a pod directory that plugin and supervisor share.
//!
//! `run-<ctr>.out`, `init-<ctr>.status` and the like are the names of the existing Slurm plugin, so that a site can
//! change plugins while jobs run.

/// What to run: [`Launch`](crate::launch::Launch).
pub const LAUNCH: &str = "launch.json";
/// The job id that owns the directory.
pub const CLAIM: &str = "claim";
/// The latest [`Report`](crate::report::Report).
pub const STATE: &str = "state.json";
/// Present once a delete was accepted: [`Deletion`](crate::deletion::Deletion).
pub const DELETED: &str = "deleted";
/// Empty directory over which a container's own mounts are staged, in its own mount namespace.
pub const STAGE: &str = ".stage";

/// Room for the last report, given back before it is written.
pub(crate) const BALLAST: &str = ".ballast";

/// Which list of the pod a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `spec.initContainers`.
    Init,
    /// `spec.containers`.
    Main,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Main => "run",
        }
    }

    /// Raw bytes of the container's stdout and stderr.
    #[must_use]
    pub fn output(self, container: &str) -> String {
        format!("{}-{container}.out", self.prefix())
    }

    /// Times of the output: [`OutputIndex`](crate::index::OutputIndex).
    #[must_use]
    pub fn index(self, container: &str) -> String {
        format!("{}-{container}.index", self.prefix())
    }

    /// Exit code: [`exit`](crate::exit).
    #[must_use]
    pub fn status(self, container: &str) -> String {
        format!("{}-{container}.status", self.prefix())
    }

    /// Variables for a container runtime that takes them from a file.
    pub(crate) fn environment(self, container: &str) -> String {
        format!("{}-{container}.env", self.prefix())
    }

    /// Image pulled for this container alone.
    pub(crate) fn image(self, container: &str) -> String {
        format!("{}-{container}.sif", self.prefix())
    }
}

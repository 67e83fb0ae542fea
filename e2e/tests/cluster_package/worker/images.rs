//! Images built from the container files, of the programs at hand and a base that has a C library and nothing else: no
//! network, no registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use interlink_testkit::binaries;
use interlink_testkit::dirs::TestDir;
use serde_json::Value;

use super::{list, ran, text};

/// Images by their names, in a store of their own.
#[derive(Debug)]
pub(crate) struct Images {
    dir: TestDir,
}

/// One image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Its root file system; read it only.
    pub(crate) root: PathBuf,
    /// Its configuration, as the OCI image specification has it.
    pub(crate) config: Value,
}

impl Images {
    /// Builds `<name>` of each `<program>.Containerfile` in `files`, where `named` gives the name of a program's image.
    ///
    /// # Panics
    /// When buildah is missing, or a build fails.
    pub(crate) fn build(files: &Path, programs: &[&str], named: impl Fn(&str) -> String) -> Self {
        let images = Self { dir: TestDir::new() };
        let context = images.dir.folder("context");
        images.base(&context.join("base"));
        for program in programs {
            let from = binaries::path(program);
            let to = context.join("bin").join(program);
            fs::create_dir_all(context.join("bin")).expect("a test's own directory is writable");
            fs::copy(&from, &to).unwrap_or_else(|e| panic!("{} can't be copied: {e}", from.display()));
        }
        let base = context.join("base.Containerfile");
        fs::write(&base, "FROM scratch\nCOPY base/ /\n").expect("a test's own directory is writable");
        ran(images.buildah("bud").args(["-q", "-t", "localhost/base", "-f"]).arg(&base).arg(&context));
        for program in programs {
            let file = files.join(format!("{program}.Containerfile"));
            let mut build = images.buildah("bud");
            build.args(["-q", "--pull-never", "--build-arg", "BASE=localhost/base", "-t", &named(program), "-f"]);
            ran(build.arg(file).arg(&context));
        }
        images
    }

    /// The image of that name.
    ///
    /// # Panics
    /// When it was not built.
    pub(crate) fn get(&self, name: &str) -> Image {
        let container = ran(self.buildah("from").args(["--pull-never", name]));
        let root = ran(self.buildah("mount").arg(&container)).into();
        Image { root, config: self.config(name) }
    }

    fn config(&self, name: &str) -> Value {
        let about = ran(self.buildah("inspect").args(["--type", "image", name]));
        let about: Value = serde_json::from_str(&about).expect("buildah prints JSON");
        about["OCIv1"]["config"].clone()
    }

    /// What the image's program says when it is run as the image says, with one more argument.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn run(&self, name: &str, argument: &str) -> String {
        let container = ran(self.buildah("from").args(["--pull-never", name]));
        let config = self.config(name);
        let entrypoint = list(&config["Entrypoint"]).map(text);
        ran(self.buildah("run").args(["--isolation", "chroot", &container, "--"]).args(entrypoint).arg(argument))
    }

    fn buildah(&self, subcommand: &str) -> Command {
        // it keeps a cache there, whatever it is told
        let alone = "mount -t tmpfs none /var/lib && exec buildah \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "bash", "-c", alone, "buildah"]);
        let at = |name: &str| self.dir.join(name).into_os_string();
        command.arg("--root").arg(at("store")).arg("--runroot").arg(at("run"));
        command.args(["--storage-driver", "vfs", subcommand]);
        if subcommand == "bud" {
            command.args(["--isolation", "chroot"]);
        }
        command
    }

    /// The libraries that every system has, of this machine.
    fn base(&self, root: &Path) {
        fs::create_dir_all(root.join("tmp")).expect("a test's own directory is writable");
        for program in ["virtual-kubelet", "interlink", "ssh-tunnel", "interlinkctl"] {
            let needed = ran(Command::new("ldd").arg(binaries::path(program)));
            for library in needed.split_whitespace().filter(|word| word.starts_with("/lib")) {
                let to = root.join(library.trim_start_matches('/'));
                fs::create_dir_all(to.parent().expect("a library is in a folder")).expect("it is writable");
                // of what a link leads to
                fs::copy(library, &to).unwrap_or_else(|e| panic!("{library} can't be copied: {e}"));
            }
        }
    }
}

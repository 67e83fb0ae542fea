//! munged, by which Slurm's programs know who talks to them.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt, chown};

use super::cluster::program;
use crate::dirs::TestDir;
use crate::process::{Daemon, Launch};
use crate::users::User;

/// A munged with a key and a socket of its own.
pub(super) fn munged(dir: &TestDir) -> Daemon {
    let munge = User::named("munge").expect("munge is not installed: run scripts/setup once as root");
    let folder = dir.folder("munge");
    let mut key = [0; 1024];
    let mut random = fs::File::open("/dev/urandom").expect("every Linux has /dev/urandom");
    random.read_exact(&mut key).expect("/dev/urandom never ends");
    let key = dir.write("munge/key", key);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("root may do that");
    for path in [&folder, &key] {
        chown(path, Some(munge.uid), Some(munge.gid)).expect("root may do that");
    }
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    Launch::new(program("munged"), dir.join("munged.log"))
        .user("munge")
        .arg("--foreground")
        .args([flag("key-file", "key"), flag("socket", "socket"), flag("pid-file", "pid"), flag("seed-file", "seed")])
        .args([flag("log-file", "log").as_str(), "--num-threads=4"])
        .start()
}

//! The last line of defence against processes that outlive their test.
//!
//! The first [`TestDir`](crate::dirs::TestDir) or [`Launch`](super::Launch) of a test process starts one small
//! shell that waits for the end of the test process (its end of a pipe closes, however it dies). Then the shell
//! kills everything that carries the mark or names the test's directories, and removes those. It makes two things safe: killing
//! a test run, and keeping an expensive peer in a `static`, which Rust never drops.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The variable that every process started by the testkit has, with [`root`] as its value.
pub const MARK: &str = "INTERLINK_TEST_ROOT";

/// Reads the directory from its standard input, so that neither it nor grep names it in its own arguments.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r root || exit 0
cat > /dev/null
for round in 1 2 3 4 5; do
  pids=$(
    printf '%s\n' "$root" | grep -lsaF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline | cut -d/ -f3
    for proc in /proc/[0-9]*; do
      case $(readlink "$proc/cwd" 2> /dev/null) in "$root"/*) echo "${proc#/proc/}" ;; esac
    done
  )
  [ -n "$pids" ] || break
  kill -9 $pids 2> /dev/null
  sleep 0.1
done
[ -n "${KEEP:-}" ] || rm -rf "$root"
"#;

struct Warden {
    root: PathBuf,
    /// Never waited for: it lives until its pipe closes, which is when this process ends.
    _shell: Child,
}

/// The directory below which all directories of this test process lie.
///
/// # Panics
/// When `/tmp` is not writable or there is no shell.
pub fn root() -> &'static Path {
    static WARDEN: OnceLock<Warden> = OnceLock::new();
    &WARDEN.get_or_init(start).root
}

fn start() -> Warden {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) & 0xff_ffff;
    let root = PathBuf::from(format!("/tmp/il-{}-{random:06x}", std::process::id()));
    std::fs::create_dir(&root).expect("/tmp must be writable");
    // other accounts pass through, whatever umask the test runs under
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755))
        .expect("the mode of a directory just made can be set");
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        // out of reach of Ctrl-C
        .process_group(0)
        .spawn()
        .expect("/bin/sh must be there");
    let pipe = shell.stdin.as_mut().expect("the pipe was asked for");
    writeln!(pipe, "{}", root.display()).expect("the shell has just been started");
    Warden { root, _shell: shell }
}

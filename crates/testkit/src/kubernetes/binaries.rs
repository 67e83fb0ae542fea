//! Where the programs of the control plane are.

use std::path::PathBuf;
use std::process::Command;

use crate::binaries::workspace;

/// The directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, as
/// `scripts/kubernetes` names it.
///
/// # Panics
/// When one of them is missing.
pub fn directory() -> PathBuf {
    let script = workspace().join("scripts/kubernetes");
    let output = Command::new(&script).arg("--dir").output().expect("scripts/kubernetes must be executable");
    assert!(output.status.success(), "scripts/kubernetes --dir: {}", String::from_utf8_lossy(&output.stderr).trim());
    let answer = String::from_utf8_lossy(&output.stdout);
    let directory = PathBuf::from(answer.lines().last().unwrap_or_default());
    for program in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"] {
        assert!(
            directory.join(program).is_file(),
            "{} is missing: run scripts/kubernetes first",
            directory.join(program).display()
        );
    }
    directory
}

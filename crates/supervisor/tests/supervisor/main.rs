//! The supervisor as a process of its own, with real containers.
//!
//! This test binary is what a job script would start: called with `supervise` or `contain` it is the supervisor or its
//! shim, else it runs the tests, which start it again in those roles.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is a test")]

mod apptainer;
mod ending;
mod mounts;
mod once;
mod pod;
mod running;

use std::path::Path;
use std::process::ExitCode;

use interlink_wire::JobId;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "contain"] => interlink_supervisor::contain().into(),
        [_, "supervise", dir, job] => {
            interlink_supervisor::supervise(Path::new(dir), &JobId::parse(job).expect("a job id")).into()
        }
        _ => {
            let tests = [running::tests(), once::tests(), ending::tests(), mounts::tests(), apptainer::tests()];
            libtest_mimic::run(&Arguments::from_args(), tests.concat_all()).exit_code()
        }
    }
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Trial>;
}

impl<const N: usize> ConcatAll for [Vec<Trial>; N] {
    fn concat_all(self) -> Vec<Trial> {
        self.into_iter().flatten().collect()
    }
}

/// Names functions as tests, so that a test's name is its function's.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn tests() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(
                concat!(module_path!(), "::", stringify!($name)),
                || { $name(); Ok(()) },
            )),*]
        }
    };
}
pub(crate) use tests;

//! sbatch's answer: a job id, a definite refusal, or neither.

use interlink_wire::JobId;

use super::squeue::job_id;
use crate::scheduler::SubmitError;
use crate::scheduler::command::Said;

/// 126 and 127: no such program. 128 and more: a signal. 255: ssh itself.
const CODES_OF_WRAPPERS: i32 = 126;

/// What sbatch says where the controller was not reached, or asks to come back: nothing is decided. Lower case.
const PASSING: [&str; 23] = [
    "unable to contact slurm controller",
    "connection refused",
    "connection reset",
    "timed out",
    "timeout",
    "standby",
    "zero bytes were transmitted",
    "unexpected message received",
    "communication",
    "not connected",
    "unreachable",
    "no route to host",
    "temporarily",
    "try again",
    "too many open files",
    "cannot allocate memory",
    "i/o error",
    "munge",
    "credential",
    "authentication",
    // Limits on jobs in the queue: they pass when other jobs end.
    "submitjob",
    "could not establish a configuration source",
    "unable to process configuration file",
];

/// Judges how sbatch ended. Text on stderr alone is no failure: sites and their plugins print there.
///
/// # Errors
/// [`SubmitError`].
pub fn judge(said: &Said) -> Result<JobId, SubmitError> {
    let words = line(&said.stderr);
    match said.code {
        Some(0) => parsable(&said.stdout)
            .ok_or_else(|| SubmitError::Unclear(format!("sbatch printed no job id but {:?}", line(&said.stdout)))),
        None => Err(SubmitError::Unclear("sbatch was ended by a signal".to_owned())),
        // The shell's and ssh's own codes, where the command is a wrapper: sbatch was not reached, or was killed.
        Some(code) if code >= CODES_OF_WRAPPERS => {
            Err(SubmitError::Unclear(format!("sbatch ended with code {code}: {words}")))
        }
        Some(code) if words.is_empty() => {
            Err(SubmitError::Unclear(format!("sbatch ended with code {code} and no word")))
        }
        Some(_) => {
            let lower = words.to_lowercase();
            if PASSING.iter().any(|sign| lower.contains(sign)) {
                Err(SubmitError::Unclear(words))
            } else {
                Err(SubmitError::Refused(words))
            }
        }
    }
}

/// `--parsable` prints `id` or `id;cluster`; wrappers may print lines before.
fn parsable(stdout: &str) -> Option<JobId> {
    stdout.lines().rev().find_map(|line| job_id(line.split(';').next()?))
}

/// All that was said on one line, without sbatch's own prefix, at most 1000 characters.
fn line(text: &str) -> String {
    let lines =
        text.lines().map(|line| line.trim().trim_start_matches("sbatch: error: ").trim()).filter(|l| !l.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    joined.chars().filter(|c| !c.is_control()).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, stdout: &str, stderr: &str) -> Said {
        Said { code: Some(code), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_job_id_is_found_whatever_else_is_printed() {
        for (stdout, stderr, id) in
            [("42\n", "", "42"), ("42;cluster\n", "", "42"), ("Hello user\n42\n", "warning: quota", "42")]
        {
            assert_eq!(judge(&said(0, stdout, stderr)).unwrap().as_str(), id);
        }
        assert!(matches!(judge(&said(0, "Submitted\n", "")), Err(SubmitError::Unclear(_))));
    }

    #[test]
    fn only_the_controllers_own_no_is_a_refusal() {
        let refused = "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified\n";
        assert_eq!(
            judge(&said(1, "", refused)),
            Err(SubmitError::Refused(
                "invalid partition specified: nope; Batch job submission failed: Invalid partition name specified"
                    .into()
            ))
        );
        let unclear = [
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy",
            "sbatch: error: Munge encode failed: Failed to access \"/run/munge/munge.socket.2\"",
            "",
        ];
        for words in unclear {
            assert!(matches!(judge(&said(1, "", words)), Err(SubmitError::Unclear(_))), "{words}");
        }
        for code in [126, 127, 137, 255] {
            let of_a_wrapper = judge(&said(code, "", "Permission denied (publickey)."));
            assert!(matches!(of_a_wrapper, Err(SubmitError::Unclear(_))), "{code}");
        }
        let killed = Said { code: None, stdout: "42\n".into(), stderr: String::new() };
        assert!(matches!(judge(&killed), Err(SubmitError::Unclear(_))));
    }
}

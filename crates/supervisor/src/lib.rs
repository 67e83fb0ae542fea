//! The supervisor inside the job: runs one pod.

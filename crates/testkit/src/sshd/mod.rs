//! A real sshd.

//! interlinkctl: demo, run, check, install, status.

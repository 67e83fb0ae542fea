//! Apptainer, with a sandbox directory as its image.
crate::tests![];

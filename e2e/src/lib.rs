//! The whole chain, started from the built programs.

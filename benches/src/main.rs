//! Compares interlink with what a user would pick instead.

fn main() {}

//! interlink-plugin: see the library's documentation.

fn main() {}

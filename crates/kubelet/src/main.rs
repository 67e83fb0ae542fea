//! virtual-kubelet: see the library's documentation.

fn main() {}

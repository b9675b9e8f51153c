//! Prints the facts of one libvirt connection as JSON.

fn main() {}

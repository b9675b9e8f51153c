//! kvmnet, the program.

fn main() {}

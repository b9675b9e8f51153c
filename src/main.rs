//! kvmnet, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvmnet::cli::run()
}

//! A thread with a network of its own, on which tests load rules.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests run programs and say what they skip; what fails here fails the test"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::sources::{Context, observe};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread that has a network of its own, with some devices. Without root it is skipped,
/// unless `KVMNET_LAB=require`.
pub(crate) fn on_private_host(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        assert_ne!(std::env::var("KVMNET_LAB").as_deref(), Ok("require"), "this test needs root");
        eprintln!("skipped: needs root");
        return;
    }
    let host = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run("ip", &["link", "set", "lo", "up"], "");
        run("ip", &["link", "add", "virbr0", "type", "bridge"], "");
        test();
    });
    if let Err(panic) = host.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program on the calling thread's host, with `input`; gives what it prints, or what it complains.
pub(crate) fn attempt(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // A program that does not read may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> String {
    attempt(program, arguments, input).unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What kvmnet reads of the calling thread's host.
pub(crate) fn snapshot() -> Snapshot {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(observe(&Context { root: "/nonexistent".into(), ..Context::default() }))
}

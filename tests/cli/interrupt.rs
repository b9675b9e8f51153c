//! Ctrl-C.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use super::{PROGRAM, directory};

/// The shell calls it 130; nothing is left of the file that was to be written.
#[test]
fn an_interrupt_ends_the_program_at_once() {
    let directory = directory("interrupt");
    let path = directory.join("out");
    // Whoever runs the tests in the background may ignore interrupts, and a child inherits that.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", PROGRAM, "doctor", "--snapshot", "-", "-o"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("kvmnet starts");
    // It waits for the rest of the snapshot.
    child.stdin.as_mut().expect("a pipe").write_all(b"{").expect("kvmnet reads");
    // Only then is it the program whose signals are the usual ones.
    let exe = format!("/proc/{}/exe", child.id());
    let program = fs::canonicalize(PROGRAM).expect("it is there");
    while fs::read_link(&exe).is_ok_and(|running| running != program) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("kvmnet runs");
    assert_eq!(child.wait().expect("kvmnet ends").signal(), Some(2));
    assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0);
}

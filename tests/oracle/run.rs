//! Programs that change the private host, and namespaces.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// Runs a program with `script` as its input; gives whether it succeeded, and what it complained of.
pub(crate) fn feed(program: &str, arguments: &[&str], script: &str) -> anyhow::Result<(bool, String)> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut input = child.stdin.take().context("no pipe to the program's input")?;
    input.write_all(script.as_bytes()).with_context(|| format!("cannot write to {program}"))?;
    drop(input);
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The same, and it must succeed.
pub(crate) fn must(program: &str, arguments: &[&str], script: &str) -> anyhow::Result<()> {
    let (success, error) = feed(program, arguments, script)?;
    ensure!(success, "{program} {arguments:?} failed: {}", error.trim());
    Ok(())
}

/// Runs lines of `ip`.
pub(crate) fn ip(script: &str) -> anyhow::Result<()> {
    must("ip", &["-batch", "-"], script)
}

/// Writes a sysctl of the calling thread's namespace.
pub(crate) fn sysctl(name: &str, value: &str) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/sys/{name}"), value).with_context(|| format!("cannot set sysctl {name}"))
}

/// Runs `work` in a new network namespace, which lives as long as the file that comes back.
pub(crate) fn namespace<T: Send>(
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<(File, T)> {
    std::thread::scope(|scope| {
        let built = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let done = work()?;
            let file = File::open("/proc/thread-self/ns/net").context("cannot open the namespace")?;
            Ok((file, done))
        });
        built.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `work` in a namespace.
pub(crate) fn inside<T: Send>(
    namespace: &File,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
            work()
        });
        done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The calling thread, as `ip` takes it for its namespace.
pub(crate) fn thread() -> String {
    nix::unistd::gettid().to_string()
}

//! Private network namespaces: a host is built in one, its guests and the internet in others.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use nix::sched::{CloneFlags, unshare};

/// A network namespace without a name: it ends with this descriptor.
pub(super) type Namespace = File;

/// A new network namespace in which `script` was run by `ip -batch`. `HOST` in it stands for this
/// process, which is in the host's namespace.
pub(super) fn namespace(script: &str) -> anyhow::Result<Namespace> {
    let script = script.replace("HOST", &std::process::id().to_string());
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make another network namespace")?;
        ip_batch(&script)?;
        File::open("/proc/thread-self/ns/net").context("cannot open /proc/thread-self/ns/net")
    })
    .join()
    .map_err(|_| anyhow::anyhow!("the thread that builds a namespace panicked"))?
}

/// Bridged packets do not pass the host's rules, as on a host where nothing has loaded br_netfilter: where it is
/// built in, new namespaces have it on. Without the module there is no such file.
pub(super) fn without_bridge_netfilter() -> anyhow::Result<()> {
    for table in ["arptables", "ip6tables", "iptables"] {
        let name = format!("net/bridge/bridge-nf-call-{table}");
        if Path::new("/proc/sys").join(&name).exists() {
            sysctl(&name, "0")?;
        }
    }
    Ok(())
}

/// Runs lines of `ip` commands.
pub(super) fn ip_batch(script: &str) -> anyhow::Result<()> {
    feed("ip", &["-batch", "-"], script)
}

/// Runs lines of nft.
pub(super) fn nft(script: &str) -> anyhow::Result<()> {
    feed("nft", &["-f", "-"], script)
}

/// Writes a sysctl of this network namespace.
pub(super) fn sysctl(name: &str, value: &str) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/sys/{name}"), value).with_context(|| format!("cannot set sysctl {name}"))
}

/// Runs a program with `script` as its standard input.
pub(super) fn feed(program: &str, arguments: &[&str], script: &str) -> anyhow::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}: is it installed?"))?;
    // Who refuses the beginning may not read the rest; what it says then is the reason.
    let written = child.stdin.take().context("no pipe to the program's input")?.write_all(script.as_bytes());
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    written.with_context(|| format!("cannot write to {program}"))
}

//! A private host: started by the script `tests/lab/host`, gone when it is dropped or the test dies.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use kvmnet_reports::Report;
use serde_json::Value;

/// Whether a private host can be set up here; says so if not.
pub(crate) fn can_run() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let required = std::env::var("KVMNET_LAB").is_ok_and(|v| v == "require");
    assert!(!required, "KVMNET_LAB=require, but a private host needs root");
    eprintln!("skipped: a private host needs root");
    false
}

/// libvirt's firewall backend, or no libvirt at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Nftables,
    Iptables,
    None,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::None => "none",
        }
    }
}

/// All guests: two on the NAT network, one isolated, one bridged to the LAN.
pub(crate) const GUESTS: &[&str] = &["web1", "web2", "db1", "lan1"];

/// The host on the internet that every doctor of the lab is told to reach.
pub(crate) const INTERNET: &str = "198.51.100.10";

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Standard output, of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(self, what: &str) -> String {
        assert_eq!(self.code, Some(0), "{what}\n{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A private host. Its first process reads its standard input, a pipe whose only writer is this
/// test: when the test ends, however it ends, the pipe closes, that process exits, and the kernel
/// ends everything in its pid namespace. Files are on private tmpfs mounts.
pub(crate) struct Host {
    unshare: Child,
}

impl Host {
    /// Starts a host and waits until its guests have their addresses.
    #[track_caller]
    pub(crate) fn start(backend: Backend, guests: &[&str]) -> Self {
        let mut unshare = Command::new(lab_dir().join("host"))
            .arg(backend.name())
            .args(guests)
            .env("KVMNET_LAB_ASSETS", assets_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tests/lab/host runs");
        let stdout = unshare.stdout.take().expect("standard output is a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("standard output is text");
        if line != "ready\n" {
            let mut stderr = String::new();
            let pipe = unshare.stderr.as_mut().expect("standard error is a pipe");
            pipe.read_to_string(&mut stderr).expect("standard error is text");
            panic!("the private host did not start: {line}{stderr}");
        }
        Self { unshare }
    }

    /// A command to run inside the host.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let namespaces = format!("/proc/{}/ns", self.unshare.id());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--net={namespaces}/net"))
            .arg(format!("--uts={namespaces}/uts"))
            .arg(format!("--pid={namespaces}/pid_for_children"))
            .arg(program.as_ref())
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", lab_dir().join("bin").display()))
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell command on the host.
    pub(crate) fn run(&self, script: &str) -> Ran {
        self.command("/bin/bash").args(["-c", script]).output().expect("nsenter runs").into()
    }

    /// Runs a shell command on the host that must succeed; its output.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.run(script).ok(script)
    }

    /// Writes a file of the host's.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        std::fs::write(format!("/proc/{}/root{path}", self.unshare.id()), content)
            .expect("the host has the folder");
    }

    /// What a command on the host prints as JSON; null if it prints nothing.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let ran = Ran::from(self.command(words[0]).args(&words[1..]).output().expect("nsenter runs"));
        let text = ran.ok(&words.join(" "));
        if text.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?} prints no JSON ({e}): {text}"))
    }

    /// Runs a shell command on the far side of the uplink that must succeed; its output.
    #[track_caller]
    pub(crate) fn inet(&self, script: &str) -> String {
        self.run(&format!("nsenter --net=/run/lab/inet bash -c '{script}'")).ok(script)
    }

    /// Runs a shell command in a guest over its serial console: its exit status and output.
    pub(crate) fn guest(&self, name: &str, script: &str) -> (i32, String) {
        // The socket's file is in the host's private /run.
        let path = format!("/proc/{}/root/run/lab/{name}.console", self.unshare.id());
        let mut console = UnixStream::connect(&path).unwrap_or_else(|e| panic!("console of {name}: {e}"));
        // What an earlier command may have left unread ends at this mark.
        let mark = "=begin=";
        writeln!(console, "echo {mark}; {script}").expect("the console takes a line");
        let mut output = String::new();
        let mut begun = false;
        for line in BufReader::new(console).lines() {
            let line = line.expect("the console sends text");
            let line = line.trim_end_matches('\r');
            if line == mark {
                begun = true;
            } else if let (true, Some(status)) = (begun, line.strip_prefix("END ")) {
                return (status.parse().expect("a status is a number"), output);
            } else if begun {
                output.push_str(line);
                output.push('\n');
            }
        }
        panic!("the console of {name} closed: {output}");
    }

    /// Whether a guest is answered by an address.
    pub(crate) fn guest_reaches(&self, name: &str, address: &str) -> bool {
        self.guest(name, &format!("ping -q -c 1 -W 1 {address}")).0 == 0
    }

    /// Polls until a shell condition on the host holds, for half a minute.
    #[track_caller]
    pub(crate) fn wait_for(&self, condition: &str) {
        for _ in 0..300 {
            if self.run(condition).code == Some(0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("gave up waiting for: {condition}\n{}", self.picture());
    }

    /// Waits until the kernel has noticed every carrier, which takes it up to a second, and until every
    /// bridge port has passed the spanning tree's delay: a port that was plugged in passes nothing for 4 s
    /// on libvirt's bridges, and the doctor would rightly say so.
    #[track_caller]
    pub(crate) fn settle(&self) {
        self.wait_for(
            "cd /sys/class/net; for device in *; do \
             [ \"$(cat $device/carrier 2>/dev/null) $(cat $device/operstate)\" != '1 down' ] || exit 1; done",
        );
        self.wait_for("! bridge link | grep -qE 'state (listening|learning)'");
    }

    /// Runs kvmnet on the host.
    pub(crate) fn kvmnet(&self, arguments: &[&str]) -> Ran {
        self.command(kvmnet()).args(arguments).output().expect("nsenter runs").into()
    }

    /// `kvmnet doctor` on the host: exit code and report.
    #[track_caller]
    pub(crate) fn doctor(&self, more: &[&str]) -> (i32, Report) {
        let mut arguments = vec!["doctor", "--format", "json", "--internet-target", INTERNET];
        arguments.extend(more);
        let ran = self.kvmnet(&arguments);
        let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| {
            panic!("the report is no JSON of ours ({e}), exit {:?}: {}{}", ran.code, ran.stdout, ran.stderr)
        });
        (ran.code.expect("the doctor is not killed"), report)
    }

    /// What the host looks like, for a failed test's message.
    pub(crate) fn picture(&self) -> String {
        let ran = self.run(
            "exec 2>&1; set -x; ip -br link; ip -br address; bridge link; bridge fdb show | grep -v permanent; \
             ip route; ip neigh; virsh net-list --all; virsh list --all; nft list ruleset; \
             sysctl net.ipv4.ip_forward; pgrep -a 'libvirtd|dnsmasq'",
        );
        ran.stdout
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        // Failing means that it has ended already.
        let _ = self.unshare.wait();
    }
}

/// The program under test.
pub(crate) fn kvmnet() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kvmnet"))
}

fn lab_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}

fn assets_dir() -> PathBuf {
    // CARGO_TARGET_TMPDIR is target/tmp.
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("lab-assets")
}

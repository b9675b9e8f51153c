//! Starts `kvmnet-libvirt`, and gives it up when libvirt hangs.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::super::{Context, Meta, Reading};
use crate::facts::{Daemon, Libvirt};
use crate::sys::start;

pub(crate) const META: Meta = Meta {
    id: "libvirt",
    summary: "libvirt's networks, domains and filters",
    basis: "https://libvirt.org/html/index.html",
    since: "0.1.0",
};

/// The program that links libvirt.
const PROGRAM: &str = "kvmnet-libvirt";

/// Where packages put it, if it is not beside the running program.
const LIBEXEC: [&str; 2] = ["/usr/libexec/kvmnet", "/usr/lib/kvmnet"];

/// What libvirt needs to choose and find its daemon, and where the loader may look for libvirt.so.
const ENVIRONMENT: [&str; 6] =
    ["LIBVIRT_DEFAULT_URI", "HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "PATH", "LD_LIBRARY_PATH"];

/// Ten thousand domains need about 10 MB.
const MOST_OUTPUT_BYTES: u64 = 64 << 20;

/// More than one line says nothing more.
const MOST_MESSAGE_BYTES: u64 = 64 << 10;

/// Why libvirt's facts are missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the helper {PROGRAM} was not found beside {} or in {}", beside.display(), LIBEXEC.join(", "))]
    NoProgram { beside: PathBuf },
    #[error("start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("read what {PROGRAM} prints")]
    Output(#[source] io::Error),
    #[error(
        "libvirt did not answer within {deadline:?} ({PROGRAM}, {uri}): the daemon hangs or is overloaded; \
         restarting it (systemctl restart libvirtd, or virtqemud and virtnetworkd) leaves guests running"
    )]
    Deadline { deadline: Duration, uri: String },
    #[error("libvirt's library is not installed ({PROGRAM}: {message})")]
    NoLibrary { message: String },
    #[error("{message}")]
    Refused { message: String },
    #[error("{PROGRAM} ended with {status}")]
    Died { status: std::process::ExitStatus },
    #[error("{PROGRAM} printed more than {MOST_OUTPUT_BYTES} bytes")]
    TooLong,
    #[error("understand what {PROGRAM} printed (is it of the same version?)")]
    Json(#[from] serde_json::Error),
}

/// Reads the source.
pub(crate) async fn read(context: &Context) -> Result<Reading<Libvirt>, Error> {
    let mut facts = ask(&program()?, context).await?;
    // Networks of an unprivileged session have no rules.
    if facts.daemon != Daemon::TestDriver && facts.uri.ends_with("/system") {
        facts.firewall_backend = firewall_backend(&context.root);
    }
    Ok(Reading { caveats: facts.unread.clone(), value: facts })
}

/// The program beside the one that runs, in the directory above (test programs lie one deeper), or
/// where packages put it.
fn program() -> Result<PathBuf, Error> {
    let running = env::current_exe().unwrap_or_default();
    let beside = running.ancestors().skip(1).take(2).map(Path::to_path_buf);
    beside
        .chain(LIBEXEC.map(PathBuf::from))
        .map(|directory| directory.join(PROGRAM))
        .find(|program| program.is_file())
        .ok_or(Error::NoProgram { beside: running })
}

async fn ask(program: &Path, context: &Context) -> Result<Libvirt, Error> {
    let uri = context.libvirt_uri.as_ref();
    let mut command = Command::new(program);
    command
        .args(uri.iter().flat_map(|uri| ["--uri", uri.as_str()]))
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))))
        // Reading starts nothing: without this, libvirt starts a daemon for a user's session.
        .env("LIBVIRT_AUTOSTART", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    start::confined(&mut command);
    let mut child =
        command.spawn().map_err(|source| Error::Start { program: program.to_path_buf(), source })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let (output, messages) = (child.stdout.take(), child.stderr.take());
    let deadline = context.libvirt_deadline;
    let answer = timeout(deadline, async {
        let (output, messages) =
            tokio::try_join!(bounded(output, MOST_OUTPUT_BYTES), bounded(messages, MOST_MESSAGE_BYTES))
                .map_err(Error::Output)?;
        if output.len() as u64 > MOST_OUTPUT_BYTES {
            return Err(Error::TooLong);
        }
        let status = child.wait().await.map_err(Error::Output)?;
        let message = String::from_utf8_lossy(&messages).trim().to_owned();
        match status.code() {
            Some(0) => Ok(serde_json::from_slice(&output)?),
            Some(127) => Err(Error::NoLibrary { message }),
            _ if message.is_empty() => Err(Error::Died { status }),
            _ => Err(Error::Refused { message }),
        }
    })
    .await;
    answer.unwrap_or_else(|_| {
        // Whatever libvirt started to reach its daemon goes too; the program itself is not reaped
        // yet, so that the group is still its own.
        let _ = group.map(|group| killpg(group, Signal::SIGKILL));
        let uri = uri.map_or("libvirt's default URI", String::as_str).to_owned();
        Err(Error::Deadline { deadline, uri })
    })
}

/// Reads to the end, but not far beyond `most` bytes.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// `firewall_backend` in network.conf; `None` if the file leaves libvirt the choice.
fn firewall_backend(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("etc/libvirt/network.conf")).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (key.trim() == "firewall_backend").then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a shell script stand for the program. The file is never written by a test: the kernel
    /// refuses to run one that a concurrent fork still holds open for writing.
    async fn answer_of(script: &str, deadline: Duration) -> Result<Libvirt, Error> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/libvirt/program");
        let libvirt_uri = Some(script.to_owned());
        ask(&program, &Context { libvirt_uri, libvirt_deadline: deadline, ..Context::default() }).await
    }

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("kvmnet-read-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_answer_is_the_facts() {
        let json = r#"{"uri":"qemu:///system","daemon":"libvirtd","version":"11.3.0","firewall_backend":null,
            "networks":[],"domains":[],"filters":[],"filter_bindings":[]}"#;
        let facts = answer_of(&format!("cat <<'END'\n{json}\nEND"), LONG).await.unwrap();
        assert_eq!(facts.version, "11.3.0");
    }

    #[tokio::test]
    async fn the_program_sees_only_what_libvirt_needs() {
        let error = answer_of("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | cut -d= -f1 >&2; exit 1", LONG).await;
        let error = error.unwrap_err().to_string();
        for name in error.lines() {
            assert!(ENVIRONMENT.contains(&name) || name == "LIBVIRT_AUTOSTART" || name == "OLDPWD", "{name}");
        }
    }

    /// Not because it gives them up itself: a shell does not.
    #[tokio::test]
    async fn the_program_is_started_without_a_network_capability() {
        let error = answer_of("grep -E '^(Cap[IPEA]|NoNewPrivs)' /proc/self/status >&2; exit 1", LONG).await;
        let error = error.unwrap_err().to_string();
        let values: Vec<_> = error.split_whitespace().skip(1).step_by(2).collect();
        let own = rustix::thread::capabilities(None).unwrap().permitted;
        let kept = own & rustix::thread::CapabilitySet::DAC_READ_SEARCH;
        let kept = format!("{:016x}", kept.bits());
        assert_eq!(values, [&kept, &kept, &kept, &kept, "1"], "{error}");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_in_words() {
        let wrong = [
            ("echo 'connect to qemu:///system: no' >&2; exit 1", "connect to qemu:///system: no"),
            ("echo 'libvirt.so.0: cannot open' >&2; exit 127", "not installed"),
            ("kill -9 $$", "signal: 9"),
            ("echo '{}'", "same version"),
            ("cat /dev/zero", "more than"),
        ];
        for (script, expected) in wrong {
            let error = answer_of(script, LONG).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{script}: {error}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_hangs_is_given_up_with_all_that_was_started() {
        let directory = Directory::new("hang");
        let pid = directory.0.join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        // The deadline passes only after the script has started its child.
        let mut deadline = Duration::from_millis(50);
        let error = loop {
            let error = answer_of(&script, deadline).await.unwrap_err();
            if pid.exists() {
                break error.to_string();
            }
            deadline *= 2;
        };
        assert!(error.contains("did not answer"), "{error}");
        let child: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        while state_of(child).is_some_and(|state| state != 'Z') {
            tokio::task::yield_now().await;
        }
    }

    /// The state of a process as /proc/PID/stat has it; `None` once it is gone.
    fn state_of(pid: i32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.trim().chars().next()
    }

    #[test]
    fn the_firewall_backend_is_what_the_file_says() {
        let directory = Directory::new("backend");
        assert_eq!(firewall_backend(&directory.0), None);
        fs::create_dir_all(directory.0.join("etc/libvirt")).unwrap();
        for (text, expected) in [
            ("#firewall_backend = \"nftables\"\n", None),
            ("# a comment\nfirewall_backend = \"iptables\"\n", Some("iptables")),
            ("firewall_backend=\"nftables\"", Some("nftables")),
        ] {
            fs::write(directory.0.join("etc/libvirt/network.conf"), text).unwrap();
            assert_eq!(firewall_backend(&directory.0).as_deref(), expected, "{text}");
        }
    }
}

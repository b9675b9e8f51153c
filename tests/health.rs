//! The doctor as a health check, from the outside: what it prints only when something is wrong, and what it remembers.

#![expect(clippy::disallowed_methods, reason = "tests start programs and read files")]

mod recorded;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use recorded::{HOST, PROGRAM, file, forwarding_off, text, utf8};

/// The doctor on a recorded host, without the network of which not all is known.
fn doctor(host: &str, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--snapshot", host, "--network", "default", "--network", "iso"]).args(more);
    // As cron starts it: no terminal, hardly any environment.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("HOME", "/nonexistent");
    command.output().expect("kvmnet starts")
}

/// The recorded host, whose forwarding is off.
fn broken(name: &str) -> String {
    utf8(&forwarding_off(name)).to_owned()
}

#[test]
fn a_quiet_doctor_says_only_what_is_wrong() {
    let well = doctor(HOST, &["--quiet"]);
    assert_eq!((well.status.code(), text(&well.stdout), text(&well.stderr)), (Some(0), "", ""));
    let ill = doctor(&broken("quiet"), &["--quiet"]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill.stdout).contains("ip-forward-off"), "{}", text(&ill.stdout));
    assert!(!text(&ill.stdout).contains('\u{1b}'), "no colour without a terminal");
}

#[test]
fn what_is_remembered_is_told_once_and_healed_once() {
    let ill = broken("remembered");
    let state = file("state.json");
    let path = utf8(&state);
    let run = |host: &str| {
        let output = doctor(host, &["--quiet", "--state", path]);
        assert_eq!(text(&output.stderr), "");
        (output.status.code(), text(&output.stdout).to_owned())
    };
    assert_eq!(run(HOST), (Some(0), String::new()));
    // Once is not enough, and no pass.
    assert_eq!(run(&ill), (Some(3), String::new()));
    let (code, told) = run(&ill);
    assert_eq!(code, Some(1));
    assert!(told.contains("ERROR") && told.contains("ip-forward-off") && told.contains("sysctl"), "{told}");
    assert_eq!(run(&ill), (Some(1), String::new()));
    assert_eq!(run(HOST), (Some(1), String::new()));
    let (code, told) = run(HOST);
    assert_eq!(code, Some(0));
    assert!(told.contains("HEALED") && told.contains("ip-forward-off"), "{told}");
    assert_eq!(run(HOST), (Some(0), String::new()));
    let mode = fs::metadata(&state).expect("the state is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

/// A check that is set up on a broken host says so at once, and what is out of sight is not healed.
#[test]
fn the_first_run_tells_all_and_another_part_is_another_matter() {
    let ill = broken("first");
    let state = file("first-state.json");
    let path = utf8(&state);
    let first = doctor(&ill, &["--state", path]);
    assert_eq!(first.status.code(), Some(1));
    assert!(text(&first.stdout).contains("ERROR"), "{}", text(&first.stdout));
    let narrowed = doctor(&ill, &["--state", path, "--vm", "db1"]);
    assert_eq!(narrowed.status.code(), Some(2));
    assert!(
        text(&narrowed.stderr).contains("another host, or runs with another --vm"),
        "{}",
        text(&narrowed.stderr)
    );
}

#[test]
fn what_stays_is_said_to_stay() {
    let ill = broken("stays");
    let state = file("stays-state.json");
    let path = utf8(&state);
    let run = || doctor(&ill, &["--state", path, "--confirm", "1"]);
    assert!(text(&run().stdout).contains("ERROR"));
    let again = run();
    assert!(
        text(&again.stdout).contains("STILL  ") && !text(&again.stdout).contains("NETWORK"),
        "{}",
        text(&again.stdout)
    );
}

/// The host's verdict first: a state that a power failure damaged is begun anew, and kept beside the new one.
#[test]
fn a_damaged_state_keeps_nobody_from_a_verdict() {
    let ill = broken("damaged");
    let state = file("damaged-state.json");
    let kept = file("damaged-state.json.corrupt");
    for (content, said) in [
        ("", "is empty"),
        ("\0\0\0", "is empty"),
        ("\0\0\0\0\": {}}", "is damaged"),
        ("{\"schema\": \"kvmnet.state/1\", \"fin", "is damaged"),
        ("{\"schema\": \"kvmnet.state/1\", \"findings\": 1}", "does not fit"),
        ("{\"schema\": \"kvmnet.state/9\", \"findings\": {}}", "is of another version"),
    ] {
        let _ = fs::remove_file(&kept);
        fs::write(&state, content).expect("a file can be written");
        let output = doctor(&ill, &["--quiet", "--state", utf8(&state)]);
        assert_eq!(output.status.code(), Some(1), "{content}");
        assert!(text(&output.stdout).contains("ip-forward-off"), "{}", text(&output.stdout));
        let warning = text(&output.stderr);
        assert!(warning.starts_with("warning: the state ") && warning.contains(said), "{warning}");
        if said == "is empty" {
            assert!(!kept.exists() && !warning.contains(".corrupt"), "{warning}");
        } else {
            assert_eq!(fs::read_to_string(&kept).expect("it is kept"), content);
            assert!(warning.contains("damaged-state.json.corrupt"), "{warning}");
        }
        let again = doctor(&ill, &["--quiet", "--state", utf8(&state)]);
        assert_eq!((again.status.code(), text(&again.stdout), text(&again.stderr)), (Some(1), "", ""));
    }
    // What was kept before stays, and where nothing can be kept the verdict is the same.
    let second = file("damaged-state.json.corrupt.1");
    let old = fs::read(&kept).expect("it is kept");
    fs::write(&state, "{\"schema\": \"kvmnet.state/1\"").expect("a file can be written");
    assert_eq!(doctor(&ill, &["--state", utf8(&state)]).status.code(), Some(1));
    assert_eq!(fs::read(&kept).expect("it is still there"), old);
    assert_eq!(fs::read(&second).expect("it is kept"), b"{\"schema\": \"kvmnet.state/1\"");
    fs::remove_file(&second).expect("it can be removed");
}

#[test]
fn what_is_no_state_is_refused_and_kept() {
    let state = file("no-state.json");
    for content in ["my notes", "[1]", "{\"schema\": \"kvmnet.snapshot/1\"}", "{}"] {
        fs::write(&state, content).expect("a file can be written");
        let output = doctor(HOST, &["--state", utf8(&state)]);
        assert_eq!(output.status.code(), Some(2), "{content}");
        assert!(text(&output.stderr).contains("cannot use the state"), "{}", text(&output.stderr));
        assert_eq!(fs::read_to_string(&state).expect("the file"), content);
    }
}

#[test]
fn what_has_changed_is_said_too() {
    let ill = broken("since");
    let output = doctor(&ill, &["--since", HOST]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(
        told.contains("ip-forward-off") && told.contains("LOST  now: forward net/ipv4/ip_forward = 0"),
        "{told}"
    );
    let same = doctor(HOST, &["--since", HOST, "--quiet"]);
    assert_eq!((same.status.code(), text(&same.stdout)), (Some(0), ""));
}

/// In the journal are entries with fields; where nobody takes them that is said, and they are printed. journald is one of its own, in
/// namespaces where /run is empty.
#[test]
fn findings_are_entries_of_the_journal() {
    let ill = broken("journal");
    let script = "set -e; mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal /run/log/journal
        ran() { echo \"$($1 doctor --snapshot $2 --network default --format journal 2>&1; echo exit $?)\"; }
        ran $0 $1
        /lib/systemd/systemd-journald 2>/dev/null & journald=$!
        timeout 30 sh -c 'until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done'
        ran $0 $1
        read='journalctl --directory=/run/log/journal --output=cat KVMNET_FINDING=ip-forward-off'
        timeout 30 sh -c \"until $read | grep .; do sleep 0.05; done\"
        kill -KILL $journald";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", script, PROGRAM, &ill]);
    let output = command.output().expect("unshare starts");
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert!(said.contains("KVMNET_FINDING=ip-forward-off"), "the entries are not lost: {said}");
    assert!(lines[0].contains("cannot write to systemd's journal (/run/systemd/journal/socket)"), "{said}");
    let codes: Vec<_> = lines.iter().filter(|line| line.starts_with("exit ")).collect();
    assert_eq!(codes, [&"exit 1", &"exit 1"], "{said}");
    let entry = lines.last().expect("an entry");
    assert!(entry.starts_with("error: ") && entry.contains("Fix: sysctl"), "{said}");
}

//! The program from the outside: arguments, exit codes, files, streams.
//!
//! `tests/cli/host.json` is what `kvmnet snapshot` said of the demonstration host; run as root with
//! `KVMNET_UPDATE=1` to take it again, and to write `docs/cli.md`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests start programs, read files and say what they skip"
)]

#[path = "cli/formats.rs"]
mod formats;
#[path = "cli/interrupt.rs"]
mod interrupt;
#[path = "cli/version.rs"]
mod version;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kvmnet_probes::facts::{HostIdentity, Snapshot};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kvmnet");
const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/host.json");

fn kvmnet(arguments: &[&str]) -> Output {
    command(arguments).output().expect("kvmnet starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("NO_COLOR").env("COLUMNS", "100").env("RUST_BACKTRACE", "0");
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("standard output is text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("standard error is text")
}

/// The doctor on the recorded host, with more arguments.
fn doctor(arguments: &[&str]) -> Output {
    kvmnet(&[&["doctor", "--snapshot", HOST], arguments].concat())
}

fn report(output: &Output) -> Value {
    serde_json::from_str(stdout(output))
        .unwrap_or_else(|error| panic!("no report ({error}): {}", stderr(output)))
}

/// A directory for one test.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory can be made");
    directory
}

fn update() -> bool {
    std::env::var_os("KVMNET_UPDATE").is_some()
}

/// Private namespaces need root.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert_ne!(std::env::var("KVMNET_LAB").as_deref(), Ok("require"), "root is required");
        eprintln!("skipped: a private network namespace needs root");
    }
    root
}

/// The command fails with this exit code, says all of this, gives a hint, and says nothing of a bug.
fn refused(output: &Output, code: i32, said: &[&str]) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.starts_with("error: ") && !error.contains("bug"), "{error}");
    for said in said {
        assert!(error.contains(said), "no `{said}` in: {error}");
    }
    assert_eq!(stdout(output), "");
}

#[test]
fn help_shows_examples_and_exit_codes() {
    for subcommand in [
        &[][..],
        &["check"],
        &["completions"],
        &["diff"],
        &["doctor"],
        &["explain"],
        &["manual"],
        &["map"],
        &["policy"],
        &["ports"],
        &["snapshot"],
        &["trace"],
    ] {
        let output = kvmnet(&[subcommand, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0));
        for part in ["Usage: kvmnet", "Examples:\n  kvmnet ", "Exit codes:\n  0 ", "\n  70  a bug"] {
            assert!(stdout(&output).contains(part), "no `{part}` in: {}", stdout(&output));
        }
    }
}

/// `docs/cli.md` is the help of every subcommand.
#[test]
fn the_reference_is_fresh() {
    let mut fresh =
        "# Command line\n\nGenerated from `--help` by `KVMNET_UPDATE=1 cargo test --test cli`.\n".to_owned();
    let subcommands = [
        "",
        "doctor",
        "check",
        "diff",
        "policy",
        "policy init",
        "policy lint",
        "trace",
        "ports",
        "map",
        "explain",
        "snapshot",
        "demo",
        "completions",
        "manual",
    ];
    for subcommand in subcommands {
        let arguments: Vec<_> = subcommand.split_whitespace().chain(["--help"]).collect();
        let title = ["kvmnet", subcommand].join(" ");
        let output = kvmnet(&arguments);
        let help: Vec<_> = stdout(&output).trim_end().lines().map(str::trim_end).collect();
        fresh += &["\n## ", title.trim_end(), "\n\n```text\n", &help.join("\n"), "\n```\n"].concat();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    if update() {
        fs::write(path, &fresh).expect("the reference can be written");
    }
    let copy = fs::read_to_string(path).expect("docs/cli.md is there");
    assert!(copy == fresh, "docs/cli.md is stale: run the tests with KVMNET_UPDATE=1");
}

/// `docs/checks.md` is what `kvmnet explain` says of every check.
#[test]
fn the_catalogue_is_fresh() {
    let list = kvmnet(&["explain", "--list", "--format", "json"]);
    let list: Value = serde_json::from_str(stdout(&list)).expect("JSON");
    let checks = list["checks"].as_array().expect("checks");
    assert!(checks.len() > 30);
    let mut fresh =
        "# Checks\n\nGenerated from `kvmnet explain` by `KVMNET_UPDATE=1 cargo test --test cli`.\n"
            .to_owned();
    for check in checks {
        let id = check["id"].as_str().expect("an id");
        let output = kvmnet(&["explain", id]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text: Vec<_> = stdout(&output).trim_end().lines().map(str::trim_end).collect();
        fresh += &["\n## ", id, "\n\n```text\n", &text.join("\n"), "\n```\n"].concat();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/checks.md");
    if update() {
        fs::write(path, &fresh).expect("the catalogue can be written");
    }
    let copy = fs::read_to_string(path).expect("docs/checks.md is there");
    assert!(copy == fresh, "docs/checks.md is stale: run the tests with KVMNET_UPDATE=1");
    refused(&kvmnet(&["explain", "forward-policy"]), 2, &["no check", "did you mean `forward-policy-drop`?"]);
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &["doctor", "--bogus"][..],
        &["doctor", "--internet-target", "example.org"],
        &["doctor", "--timeout", "0"],
        &["doctor", "--format", "xml"],
        &["doctor", "--uri", "test:///default", "--snapshot", "x"],
        &["no-such-command"],
    ] {
        refused(&kvmnet(arguments), 2, &["--help"]);
    }
    refused(
        &kvmnet(&["doctor", "--rate", "0"]),
        2,
        &["invalid value '0' for '--rate <PACKETS>': 0 is not in 1..="],
    );
    let nothing = kvmnet(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("Usage:"));
}

#[test]
fn names_that_do_not_exist_are_answered_with_those_that_do() {
    refused(
        &doctor(&["--vm", "wbe1"]),
        2,
        &["no VM `wbe1`", "\n\nhint: did you mean `web1`?", "db1, lan1, web1, web2"],
    );
    refused(&doctor(&["--vm", "\u{1b}[2J"]), 2, &["no VM `\\u{1b}[2J`", "\n\nhint: known: db1"]);
    refused(&doctor(&["--network", "Default"]), 2, &["no network `Default`", "did you mean `default`?"]);
    let ports = kvmnet(&["ports", "--snapshot", HOST, "--vm", "web3"]);
    refused(&ports, 2, &["no VM `web3`", "did you mean"]);
}

#[test]
fn snapshots_that_cannot_be_used_are_refused() {
    let directory = directory("unusable");
    let whole = fs::read_to_string(HOST).expect("the recorded host is there");
    let newer = whole.replacen("kvmnet.snapshot/1", "kvmnet.snapshot/2", 1);
    let unfit = whole.replacen("\"taken_ms\": ", "\"taken_ms\": \"yesterday\", \"was\": ", 1);
    for (name, content, said) in [
        ("empty", "", "it is empty"),
        ("garbage", "\u{1}\u{2}garbage", "it is not JSON"),
        ("truncated", &whole[..whole.len() / 2], "it is cut off"),
        ("other", "{\"a\": 1}", "it is JSON of another kind"),
        ("list", "[1]", "it is JSON of another kind"),
        ("report", "{\"schema\": \"kvmnet.report/1\"}", "it is a file of the kind kvmnet.report/1"),
        ("newer", &newer, "it is of version kvmnet.snapshot/2, this kvmnet reads kvmnet.snapshot/1"),
        ("unfit", &unfit, "at line 3 column"),
    ] {
        let path = directory.join(name);
        fs::write(&path, content).expect("a file can be written");
        for subcommand in ["doctor", "ports", "snapshot"] {
            let output = kvmnet(&[subcommand, "--snapshot", path.to_str().expect("a path of text")]);
            refused(&output, 2, &[said, name, "\n\nhint: "]);
        }
    }
    refused(&kvmnet(&["doctor", "--snapshot", "/"]), 2, &["cannot read the snapshot /", "hint: "]);
    refused(&kvmnet(&["doctor", "--snapshot", "/no/such/file"]), 2, &["/no/such/file", "No such file"]);
}

#[test]
fn a_snapshot_comes_from_standard_input() {
    let mut child = command(&["doctor", "--snapshot", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kvmnet starts");
    let whole = fs::read(HOST).expect("the recorded host is there");
    child.stdin.take().expect("a pipe").write_all(&whole).expect("kvmnet reads");
    let output = child.wait_with_output().expect("kvmnet ends");
    assert_eq!(report(&output), report(&doctor(&["--format", "json"])));
}

#[test]
fn the_report_fits_its_schema() {
    let schema = include_str!("../docs/report.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    let mut report = report(&doctor(&["--format", "json"]));
    let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    report["summary"]["verdict"] = "fine".into();
    assert!(!validator.is_valid(&report));
}

#[test]
fn the_exit_code_is_the_verdict() {
    let output = doctor(&["--format", "json"]);
    let code = match report(&output)["summary"]["verdict"].as_str() {
        Some("verified") => 0,
        Some("gaps") => 1,
        Some("incomplete") => 3,
        other => panic!("verdict {other:?}"),
    };
    assert_eq!(output.status.code(), Some(code));
    let table = doctor(&[]);
    assert_eq!(table.status.code(), Some(code));
    assert!(stdout(&table).contains(&format!("· exit {code}")), "{}", stdout(&table));
}

#[test]
fn nothing_is_tried_on_a_recorded_host() {
    let report = report(&doctor(&["--format", "json"]));
    let matrix = report["matrix"].as_array().expect("a matrix");
    assert!(matrix.iter().all(|cell| cell["observed"] == "not-tried"));
}

#[test]
fn what_would_be_sent_is_listed() {
    let listed = |arguments: &[&str]| {
        let output = doctor(&[&["--dry-run", "--format", "json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        report(&output)
    };
    let all = listed(&[]);
    assert_eq!(all["schema"], "kvmnet.dry-run/1");
    let attempts = all["attempts"].as_array().expect("attempts");
    let most: u64 = attempts.iter().filter_map(|attempt| attempt["most_packets"].as_u64()).sum();
    let for_addresses = all["address_packets"].as_u64().expect("a number");
    assert_eq!(all["most_packets"].as_u64(), Some(most + for_addresses));
    for sender in ["vm", "host", "outside"] {
        assert!(attempts.iter().any(|attempt| attempt["sender"] == sender), "{sender}: {all:#}");
    }
    let local = listed(&["--local-only"]);
    for attempt in local["attempts"].as_array().expect("attempts") {
        let at = attempt["device"].as_str().expect("a device");
        assert!(!["eth0", "eth1", "br0", "tap-lan1"].contains(&at), "it leads out: {attempt:#}");
    }
    let table = doctor(&["--dry-run"]);
    assert!(stdout(&table).ends_with("packets at most; nothing was sent\n"), "{}", stdout(&table));
}

/// A tap in the wrong bridge sends where that bridge leads.
#[test]
fn a_misplaced_tap_is_beyond_reach() {
    let mut host: Value =
        serde_json::from_str(&fs::read_to_string(HOST).expect("it is there")).expect("JSON");
    let links = host.pointer_mut("/links/value").and_then(Value::as_array_mut).expect("links");
    let index = |links: &[Value], name: &str| {
        links.iter().find(|link| link["name"] == name).expect("it is recorded")["index"].clone()
    };
    let lan = index(links, "br0");
    let tap = links.iter_mut().find(|link| link["name"] == "tap-web1").expect("it is recorded");
    tap["master"] = lan;
    let path = directory("misplaced").join("host.json");
    fs::write(&path, host.to_string()).expect("it is written");
    let path = path.to_str().expect("a path in text");
    let listed =
        report(&kvmnet(&["doctor", "--dry-run", "--local-only", "--format", "json", "--snapshot", path]));
    let attempts = listed["attempts"].as_array().expect("attempts");
    assert!(attempts.iter().any(|attempt| attempt["device"] == "tap-web2"), "{listed:#}");
    assert!(attempts.iter().all(|attempt| attempt["device"] != "tap-web1"), "{listed:#}");
}

#[test]
fn colour_and_width_are_those_of_the_terminal() {
    let colourful = |output: Output| stdout(&output).contains('\u{1b}');
    assert!(!colourful(doctor(&[])));
    assert!(colourful(doctor(&["--color", "always"])));
    assert!(!colourful(doctor(&["--color", "never"])));
    let mut asked = command(&["--color=always", "ports", "--snapshot", HOST]);
    assert!(colourful(asked.output().expect("kvmnet starts")));
    // On a terminal: `script` makes one.
    let on_terminal = |no_color: &str| {
        let line = format!("stty cols 80 rows 24 <&1; '{PROGRAM}' doctor --snapshot '{HOST}'");
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("NO_COLOR", no_color)
            .env("TERM", "xterm")
            .stdin(Stdio::null());
        script.output().expect("script starts")
    };
    let help = format!("stty cols 80 rows 24 <&1; '{PROGRAM}' check --help");
    let mut script = Command::new("script");
    script.args(["-qec", &help, "/dev/null"]).env("NO_COLOR", "1").stdin(Stdio::null());
    let help = script.output().expect("script starts");
    assert!(stdout(&help).contains("nagios the exit code"), "{}", stdout(&help));
    assert!(stdout(&help).lines().all(|line| line.chars().count() <= 80), "{}", stdout(&help));
    let narrow = on_terminal("1");
    assert!(stdout(&narrow).lines().all(|line| line.chars().count() <= 80), "{}", stdout(&narrow));
    assert!(colourful(on_terminal("")));
    assert!(!colourful(on_terminal("1")));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let expected = doctor(&[]).status.code();
    for arguments in
        [&["doctor", "--snapshot", HOST][..], &["doctor", "--snapshot", HOST, "--format", "json"]]
    {
        let mut child =
            command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kvmnet starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("kvmnet ends");
        assert_eq!((output.status.code(), stderr(&output)), (expected, ""));
    }
}

#[test]
fn files_are_written_as_a_whole_or_not_at_all() {
    let directory = directory("output");
    let path = directory.join("report.json");
    let link = directory.join("link.json");
    fs::write(&path, "old").expect("a file can be written");
    std::os::unix::fs::symlink(&path, &link).expect("a link can be made");
    let output = doctor(&["--format", "json", "--output", link.to_str().expect("text")]);
    assert_eq!(stdout(&output), "");
    let written = fs::read_to_string(&path).expect("the file is there");
    assert_eq!(written, stdout(&doctor(&["--format", "json"])));
    assert!(link.is_symlink());

    let nowhere = directory.join("no/such/directory/report");
    refused(&doctor(&["-o", nowhere.to_str().expect("text")]), 2, &["cannot write ", "No such file"]);
    refused(&doctor(&["-o", directory.to_str().expect("text")]), 2, &["cannot write "]);
    let left: Vec<_> =
        fs::read_dir(&directory).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn pipes_and_devices_are_written_to_and_not_replaced() {
    let pipe = directory("pipe").join("fifo");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    let child = command(&["ports", "--snapshot", HOST, "-o", pipe.to_str().expect("text")]).spawn();
    let mut text = String::new();
    fs::File::open(&pipe).and_then(|mut pipe| pipe.read_to_string(&mut text)).expect("kvmnet writes");
    assert!(child.expect("kvmnet starts").wait().expect("kvmnet ends").code().is_some());
    assert!(text.contains("tap-web1"), "{text}");
    assert!(fs::metadata(&pipe).expect("the pipe is there").file_type().is_fifo());
}

#[test]
fn a_snapshot_is_the_same_after_reading_and_writing_it() {
    let path = directory("snapshot").join("host.json");
    let output = kvmnet(&["snapshot", "--snapshot", HOST, "-o", path.to_str().expect("text")]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let json =
        |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON") };
    assert_eq!(json(&path), json(Path::new(HOST)));
    let mode = fs::metadata(&path).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// What the static verdicts on a snapshot are: the counts, each finding with how much it breaks, and
/// what is predicted of every claim.
fn verdicts(path: &str) -> (Value, Vec<(String, usize)>, Vec<String>) {
    let report = report(&kvmnet(&["doctor", "--snapshot", path, "--format", "json"]));
    let items = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let breaks = |finding: &Value| finding["breaks"].as_array().map_or(0, Vec::len);
    let mut findings: Vec<_> =
        items("findings").iter().map(|found| (found["id"].to_string(), breaks(found))).collect();
    findings.sort();
    let predicted = |cell: &Value| format!("{} {} {}", cell["traffic"], cell["expected"], cell["predicted"]);
    let mut cells: Vec<_> = items("matrix").iter().map(predicted).collect();
    cells.sort();
    (report["summary"].clone(), findings, cells)
}

fn anonymized(path: &str, name: &str) -> PathBuf {
    let anonymous = directory(name).join("host.json");
    let output =
        kvmnet(&["snapshot", "--snapshot", path, "--anonymize", "-o", anonymous.to_str().expect("text")]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    anonymous
}

#[test]
fn an_anonymized_snapshot_yields_the_same_verdicts() {
    for round in 0..5 {
        let anonymous = anonymized(HOST, &format!("anonymous-{round}"));
        let text = fs::read_to_string(&anonymous).expect("a file");
        for secret in ["\"web1\"", "\"db1\"", "52:54:00:aa:00:01", "\"demo\""] {
            assert!(!text.contains(secret), "{secret}");
        }
        assert_eq!(verdicts(anonymous.to_str().expect("text")), verdicts(HOST));
    }
}

#[test]
fn an_anonymized_broken_host_is_broken_in_the_same_way() {
    if !root() {
        return;
    }
    for fault in ["forward-policy-drop", "masquerade-missing", "vm-in-wrong-bridge"] {
        let broken = directory(fault).join("host.json");
        let path = broken.to_str().expect("text");
        let output = kvmnet(&["demo", "--fault", fault, "--", "snapshot", "-o", path]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let expected = verdicts(path);
        assert!(!expected.1.is_empty(), "{fault} is not found");
        let anonymous = anonymized(path, &format!("anonymous-{fault}"));
        assert_eq!(verdicts(anonymous.to_str().expect("text")), expected, "{fault}");
    }
}

#[test]
fn the_ports_are_paired_and_agree() {
    let output = kvmnet(&["ports", "--snapshot", HOST, "--format", "json"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let ports = report(&output);
    assert_eq!(ports["schema"], "kvmnet.ports/1");
    let pairs: Vec<_> = ports["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|port| {
            [&port["vm"], &port["tap"], &port["bridge"]].map(|text| text.as_str().unwrap_or("-").to_owned())
        })
        .collect();
    let expected = [("db1", "virbr1"), ("lan1", "br0"), ("web1", "virbr0"), ("web2", "virbr0")];
    assert_eq!(pairs, expected.map(|(vm, bridge)| [vm.to_owned(), format!("tap-{vm}"), bridge.to_owned()]));
    let one = kvmnet(&["ports", "--snapshot", HOST, "--network", "iso", "--format", "json"]);
    assert_eq!(report(&one)["ports"].as_array().map(Vec::len), Some(1));
}

/// A guest that sends from another MAC than its own, and a tap in another bridge, are disagreements.
#[test]
fn ports_that_disagree_are_said() {
    let mut host: Value = serde_json::from_slice(&fs::read(HOST).expect("a file")).expect("JSON");
    let by_name = |links: &Value, name: &str| {
        links
            .as_array()
            .and_then(|links| links.iter().find(|link| link["name"] == name))
            .map(|link| link["index"].clone())
    };
    let links = host["links"]["value"].clone();
    let (web1, virbr1) = (by_name(&links, "tap-web1"), by_name(&links, "virbr1").expect("a bridge"));
    for entry in host["fdb"]["value"].as_array_mut().expect("a MAC table") {
        if Some(&entry["port"]) == web1.as_ref() && entry["mac"] == "52:54:00:aa:00:01" {
            entry["mac"] = "52:54:00:de:ad:01".into();
        }
    }
    for link in host["links"]["value"].as_array_mut().expect("links") {
        if link["name"] == "tap-web2" {
            link["master"] = virbr1.clone();
        }
    }
    let path = directory("disagree").join("host.json");
    fs::write(&path, host.to_string()).expect("a file can be written");
    let output = kvmnet(&["ports", "--snapshot", path.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    for said in
        ["DIFFERS", "sends from 52:54:00:de:ad:01", "in virbr1, should be in virbr0", "2 in disagreement"]
    {
        assert!(stdout(&output).contains(said), "no `{said}` in: {}", stdout(&output));
    }
}

#[test]
fn without_root_what_can_be_read_is_read() {
    if !root() {
        return;
    }
    // The build directory may be closed to others.
    let directory = std::env::temp_dir().join(format!("kvmnet-cli-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory can be made");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
    let program = directory.join("kvmnet");
    fs::copy(PROGRAM, &program).expect("a file can be copied");
    let run = |arguments: &[&str]| {
        Command::new("unshare")
            .args(["-n", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .args(arguments)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("unshare starts")
    };
    let table = run(&["doctor"]);
    let json = run(&["doctor", "--format", "json"]);
    let named = run(&["doctor", "--vm", "web1"]);
    fs::remove_dir_all(&directory).expect("the directory is ours");

    assert_eq!(table.status.code(), Some(3), "{}", stderr(&table));
    assert!(stdout(&table).contains("not read: nf-tables: "), "{}", stdout(&table));
    assert!(stderr(&table).contains("hint: ") && stderr(&table).contains("root"), "{}", stderr(&table));
    let report = report(&json);
    let sources = report["sources"].as_array().expect("sources");
    let status =
        |name: &str| sources.iter().find(|source| source["name"] == name).map(|source| &source["status"]);
    assert_eq!(status("links"), Some(&Value::from("read")));
    assert_eq!(status("nf-tables"), Some(&Value::from("missing")));
    refused(&named, 3, &["cannot look for the VM `web1`: libvirt was not read"]);
}

/// The recorded host is of this version; with `KVMNET_UPDATE=1` it is taken again.
#[test]
fn the_recorded_host_is_of_this_version() {
    if update() && root() {
        let output = kvmnet(&["demo", "--", "snapshot"]);
        let mut host: Snapshot = serde_json::from_str(stdout(&output)).expect("a snapshot");
        host.host = HostIdentity { name: "demo".to_owned(), kernel: "6.12.48-amd64".to_owned() };
        let text = serde_json::to_string_pretty(&host).expect("JSON") + "\n";
        fs::write(HOST, text).expect("the recorded host can be written");
    }
    let output = doctor(&[]);
    assert!(output.status.code() != Some(2), "{}", stderr(&output));
}

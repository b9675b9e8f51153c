//! What is packaged beside the program: systemd reads its units as they are meant.

#![expect(clippy::disallowed_methods, reason = "tests run programs and read files")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The worst exposure that the service may have, in tenths (`systemd-analyze security`): it needs the host's network,
/// its processes and the capabilities of docs/privileges.md.
const EXPOSURE: &str = "40";

fn systemd_analyze(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    let ran = command.args(arguments).env("SYSTEMD_LOG_LEVEL", "warning").output();
    ran.expect(
        "systemd-analyze is there: it is in the package systemd, which `tests/lab/packages test` installs",
    )
}

#[test]
fn the_units_are_valid_and_leave_little_exposed() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("units");
    fs::create_dir_all(&directory).expect("a directory can be made");
    for unit in ["kvmnet.service", "kvmnet.timer"] {
        // Where it is installed there is nothing here.
        let text = fs::read_to_string(units.join(unit)).expect("the unit is there");
        let here = text.replace("/usr/bin/kvmnet", env!("CARGO_BIN_EXE_kvmnet"));
        fs::write(directory.join(unit), here).expect("a file can be written");
    }
    let path = |unit: &str| directory.join(unit).to_str().expect("a path in UTF-8").to_owned();
    let (service, timer) = (path("kvmnet.service"), path("kvmnet.timer"));
    let verified = systemd_analyze(&["verify", "--man=no", &timer, &service]);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("kvmnet."), "{said}");
    let secure = systemd_analyze(&["security", "--offline=true", "--threshold", EXPOSURE, &service]);
    assert!(secure.status.success(), "{}", String::from_utf8_lossy(&secure.stdout));
}

/// bash takes the completions, and finds the subcommands by them.
#[test]
fn bash_completes_subcommands() {
    let script = "source <($0 completions bash); COMP_WORDS=(kvmnet doc); COMP_CWORD=1; \
                  _kvmnet kvmnet doc kvmnet; echo ${COMPREPLY[*]}";
    let ran = Command::new("bash").args(["-euc", script, env!("CARGO_BIN_EXE_kvmnet")]).output();
    let ran = ran.expect("bash starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(said.trim(), "doctor", "{}", String::from_utf8_lossy(&ran.stderr));
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let written = Command::new(env!("CARGO_BIN_EXE_kvmnet")).args(["completions", shell]).output();
        let written = written.expect("kvmnet starts").stdout;
        let written = String::from_utf8_lossy(&written);
        assert!(written.contains("doctor") && !written.contains("planned-host"), "{shell}: {written}");
        assert!(!written.contains("planned__"), "{shell}: {written}");
    }
}

/// groff formats every manual page without a complaint, and each says what its command is for.
#[test]
fn every_command_has_a_manual_page() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manual");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory can be made");
    let path = directory.to_str().expect("a path in UTF-8");
    let written = Command::new(env!("CARGO_BIN_EXE_kvmnet")).args(["manual", path]).status();
    assert!(written.expect("kvmnet starts").success());
    let mut pages = 0;
    for page in fs::read_dir(&directory).expect("the directory is there") {
        let page = page.expect("an entry").path();
        let groff = Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(&page).output();
        let groff = groff.expect(
            "groff is there: it is in the package groff-base, which `tests/lab/packages test` installs",
        );
        let complaints = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
        let source = fs::read_to_string(&page).expect("the page");
        assert!(source.contains(".SH NAME") && source.contains(".SH SYNOPSIS"), "{source}");
        pages += 1;
    }
    assert!(pages > 10, "{pages}");
}

/// The service runs a command line that the program takes.
#[test]
fn the_service_starts_the_doctor() {
    let service = include_str!("../packaging/systemd/kvmnet.service");
    let line =
        service.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/kvmnet ")).expect("a command");
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("service");
    let line = line.replace("%S", state.to_str().expect("a path in UTF-8"));
    let _ = fs::remove_dir_all(&state);
    fs::create_dir_all(state.join("kvmnet")).expect("a directory can be made");
    let host = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/host.json");
    let ran = Command::new(env!("CARGO_BIN_EXE_kvmnet"))
        .args(line.split_whitespace())
        .args(["--snapshot", host])
        .output()
        .expect("kvmnet starts");
    assert_ne!(ran.status.code(), Some(2), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(state.join("kvmnet/state.json").is_file());
}

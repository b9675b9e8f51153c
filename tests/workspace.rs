//! Rules of the workspace that no compiler holds: who depends on whom, licences, where unsafe code is,
//! how long a file may be.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests run programs and read files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files of all packages, by their path from the root.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut directories: Vec<_> = ["src", "tests", "probes", "reports"].map(|name| root().join(name)).into();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root()).unwrap().to_owned(), text);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The packages that are built for this host, ours and others'.
fn packages() -> Vec<Value> {
    let host = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Every form of JSON that the code names is on the page of what stays, and the other way round.
#[test]
fn every_schema_is_a_promise() {
    let named = |text: &str, quote: char| -> BTreeSet<String> {
        let words = text.split(quote).skip(1).step_by(if quote == '`' { 2 } else { 1 });
        let is_schema = |word: &&str| {
            let version = word.strip_prefix("kvmnet.").and_then(|rest| rest.split_once('/'));
            version.is_some_and(|(_, version)| version.parse::<u32>().is_ok())
        };
        words.filter(is_schema).map(str::to_owned).collect()
    };
    let page = fs::read_to_string(root().join("docs/stability.md")).unwrap();
    let sources = sources();
    let ours = sources.iter().filter(|(path, _)| path.components().any(|part| part.as_os_str() == "src"));
    let declared: BTreeSet<String> = ours
        .flat_map(|(_, text)| text.lines().filter(|line| line.contains("const ") && line.contains("&str = ")))
        .flat_map(|line| named(line, '"'))
        .collect();
    assert!(declared.len() > 5, "{declared:?}");
    assert_eq!(named(&page, '`'), declared);
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<_> = sources()
        .iter()
        .map(|(path, text)| (path.clone(), text.lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn only_probes_sys_lifts_the_lint_on_unsafe() {
    // Spelt so that this file does not find itself.
    let lint = concat!("unsafe", "_code");
    let elsewhere: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !path.starts_with("probes/src/sys") && text.contains(lint))
        .map(|(path, _)| path)
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn probes_and_reports_depend_on_nothing_of_ours() {
    let packages = packages();
    for name in ["kvmnet-probes", "kvmnet-reports"] {
        let package = packages.iter().find(|p| p["name"] == name).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            assert!(!on.starts_with("kvmnet"), "{name} depends on {on}");
        }
    }
}

#[test]
fn the_program_does_not_link_libvirt() {
    let ldd = Command::new("ldd").arg(env!("CARGO_BIN_EXE_kvmnet")).output().unwrap();
    let libraries = String::from_utf8(ldd.stdout).unwrap();
    assert!(libraries.contains("libc.so"), "{libraries}");
    assert!(!libraries.contains("libvirt"), "{libraries}");
}

#[test]
fn every_licence_is_allowed() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let licences = deny.split_once("[licenses]").unwrap().1;
    let allow = licences.split_once("allow = [").unwrap().1.split_once(']').unwrap().0;
    let allowed: Vec<_> = allow.split(',').map(|s| s.trim().trim_matches('"')).collect();
    let excepted: Vec<_> =
        licences.split("crate = \"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    let refused: Vec<_> = packages()
        .iter()
        .filter(|p| !excepted.contains(&p["name"].as_str().unwrap()))
        .filter(|p| !may_use(p["license"].as_str().unwrap_or("none"), &allowed))
        .map(|p| format!("{}: {}", p["name"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// Whether an SPDX expression can be met with the allowed licences. `AND` binds closer than `OR`; the
/// old `/` is `OR`; an exception (`WITH`) only adds permissions.
fn may_use(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed)
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn any_of(words: Words<'_, '_>, allowed: &[&str]) -> bool {
    let mut any = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        any |= all_of(words, allowed);
    }
    any
}

fn all_of(words: Words<'_, '_>, allowed: &[&str]) -> bool {
    let mut all = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        all &= one(words, allowed);
    }
    all
}

fn one(words: Words<'_, '_>, allowed: &[&str]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let inner = any_of(words, allowed);
        words.next_if_eq(&")").expect("parentheses are balanced");
        return inner;
    }
    let licence = words.next().expect("an expression ends with a licence");
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    allowed.contains(&licence)
}

#[test]
fn licence_expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "Apache-2.0"];
    for (expression, usable) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", false),
        ("GPL-3.0 AND X OR MIT", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
    ] {
        assert_eq!(may_use(expression, &allowed), usable, "{expression}");
    }
}

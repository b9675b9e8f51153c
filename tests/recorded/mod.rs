//! The recorded host of the tests that need no live one, and changes to it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kvmnet");
pub(crate) const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/host.json");

/// A file of one test, which is not there yet.
pub(crate) fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

/// The recorded host with a change.
pub(crate) fn changed(name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut host = serde_json::from_slice(&fs::read(HOST).expect("the host")).expect("JSON");
    change(&mut host);
    let path = file(&format!("{name}.json"));
    fs::write(&path, host.to_string()).expect("a file can be written");
    path
}

/// The recorded host, whose forwarding is off.
pub(crate) fn forwarding_off(name: &str) -> PathBuf {
    changed(name, |host| {
        for (name, value) in host["sysctls"]["value"].as_object_mut().expect("sysctls") {
            if name.starts_with("net/ipv4/conf/") && name.ends_with("/forwarding")
                || name == "net/ipv4/ip_forward"
            {
                *value = "0".into();
            }
        }
    })
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

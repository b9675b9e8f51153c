//! What `--version` says.

use super::{kvmnet, stdout};

#[test]
fn the_version_says_what_it_was_built_with() {
    let line = concat!("kvmnet ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(stdout(&kvmnet(&["-V"])), line);
    let long = kvmnet(&["--version"]);
    let said = stdout(&long).strip_prefix(line).expect("the same line first");
    let features = if cfg!(feature = "lab") { "\nfeatures  lab, libvirt\n" } else { "\nfeatures  libvirt\n" };
    for part in ["compiler  rustc 1.", "\ntarget    ", "-linux-", features] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    assert!(!said.contains(env!("CARGO_MANIFEST_DIR")), "{said}");
}

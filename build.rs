//! What the program is built with, for `kvmnet --version`: no date and no path, so that a build can be repeated.

#![expect(clippy::disallowed_methods, reason = "a build script asks its environment and the compiler")]

use std::env;
use std::process::Command;

fn main() {
    let given = |name: &str| env::var(name).expect("cargo says it to every build script");
    let asked = Command::new(given("RUSTC")).arg("-V").output().expect("what compiles can say its version");
    let compiler = String::from_utf8(asked.stdout).expect("a version is text");
    let features = env::vars_os().filter_map(|(name, _)| {
        let name = name.into_string().ok()?;
        let feature = name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-");
        (feature != "default").then_some(feature)
    });
    let mut features: Vec<_> = features.collect();
    features.sort_unstable();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    println!("cargo::rustc-env=KVMNET_COMPILER={}", compiler.trim());
    println!("cargo::rustc-env=KVMNET_TARGET={} ({})", given("TARGET"), given("PROFILE"));
    println!("cargo::rustc-env=KVMNET_FEATURES={features}");
    println!("cargo::rerun-if-changed=build.rs");
}

//! What of netfilter the engine understands: rules for all that nft, iptables, ebtables and arptables can
//! say are loaded into a private network namespace, read with kvmnet's own sources, and run on all packets
//! at once. Each is exact, goes either way by its nature, or is visibly opaque; `docs/coverage.md` is the
//! table, and `KVMNET_UPDATE=1` writes it.
//!
//! No hand says how a rule is treated. That none is taken for exact which is not understood is held by:
//!
//! - what the facts keep as opaque must leave packets undecided, and the reason must name it;
//! - rules of the same kind that ask for different things must come to different sets of packets;
//! - a statement that changes nothing must be known to do nothing;
//! - every extension that is installed must have a sample.
//!
//! [`translation`] holds what iptables loads against what iptables-translate makes of it.
//!
//! Needs root, nft and iptables. Skipped without root, unless `KVMNET_LAB=require`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests read files and say what they skip"
)]

mod judge;
mod load;
#[path = "../private_host/mod.rs"]
mod private_host;
mod samples;
mod table;
mod translation;

use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_rule_is_exact_or_visibly_open() {
    private_host::on_private_host(|| {
        let samples = samples::all();
        let loaded = load::load(&samples);
        let snapshot = private_host::snapshot();
        let mut wrong = Vec::new();
        let mut judged = Vec::new();
        for (sample, loaded) in samples.iter().zip(&loaded) {
            for why in &loaded.refused {
                eprintln!("not loaded: {}: {}: {why}", sample.group, sample.name);
            }
            if loaded.is_empty() {
                judged.push((sample, None));
                continue;
            }
            match judge::judge(&snapshot, loaded.find(&snapshot), sample) {
                Ok(judgement) => judged.push((sample, Some(judgement))),
                Err(why) => wrong.push(format!("{}: {}: {why}", sample.group, sample.name)),
            }
        }
        assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/coverage.md");
        let copy = fs::read_to_string(path).unwrap_or_default();
        let update = std::env::var_os("KVMNET_UPDATE").is_some();
        let fresh = table::table(&judged, &copy, update);
        if update {
            fs::write(path, fresh).unwrap();
        } else {
            let stale = table::stale(&fresh, &copy);
            let hint = "docs/coverage.md is stale: run this test as root with KVMNET_UPDATE=1";
            assert!(fresh == copy, "{hint}\n{}", stale.join(""));
        }
    });
}

/// iptables-translate says the same with nft's expressions as iptables with xtables' matches.
#[test]
fn iptables_and_its_translation_hold_for_the_same_packets() {
    private_host::on_private_host(|| {
        load::devices();
        for (tool, family) in [("iptables", "ip"), ("ip6tables", "ip6")] {
            let rules = translation::rules(200, family == "ip6");
            let tally = translation::compare(tool, family, &rules, private_host::snapshot);
            eprintln!("{tool}: {} rules compared, {} of them exact", tally.compared, tally.exact);
            let wrong = tally.wrong.join("\n");
            assert!(tally.wrong.is_empty(), "{} differ:\n{wrong}", tally.wrong.len());
            assert!(tally.exact * 2 > rules.len(), "too few are compared: {}", tally.exact);
        }
    });
}

/// Extensions by their shared objects: `libxt_mark.so` is a match and `libxt_MARK.so` a target.
#[test]
fn every_installed_extension_has_a_sample() {
    let samples = samples::all();
    let mut without = BTreeSet::new();
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    for directory in directories.chain(["/usr/lib".into(), "/usr/lib64".into()]) {
        for entry in fs::read_dir(directory.join("xtables")).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let Some((kind, extension)) = name.strip_suffix(".so").and_then(|name| name.split_once('_'))
            else {
                continue;
            };
            let group = match kind {
                "libxt" | "libipt" | "libip6t" => "iptables",
                "libebt" => "ebtables",
                "libarpt" => "arptables",
                _ => continue,
            };
            // `libxt_NAT` is the library of several targets.
            let known = extension == "NAT"
                || samples.iter().any(|it| it.group.starts_with(group) && it.extension() == extension);
            if !known {
                without.insert(name);
            }
        }
    }
    assert!(without.is_empty(), "no sample for {without:?}");
}

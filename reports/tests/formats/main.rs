//! Every format, on hosts that are healthy, broken, unknown, hostile and under a policy, and read by a consumer
//! that is not ours. The consumers are packages of the distribution: `tests/lab/packages test` installs them.

mod consumer;
mod github;
#[path = "../hosts/mod.rs"]
mod hosts;
mod html;
mod journal;
mod junit;
mod markdown;
mod nagios;
mod openmetrics;
mod sarif;
mod tap;

use kvmnet_reports::catalogue::{Catalogue, CheckEntry, SCHEMA};
use kvmnet_reports::formats::{Input, RENDERERS, Renderer};
use kvmnet_reports::text::Form;
use kvmnet_reports::{NicState, Report, Severity, Verdict};

/// The report in this form.
fn render(format: &str, report: &Report) -> String {
    let renderer = Renderer::named(format).unwrap_or_else(|| panic!("no format {format}"));
    let check = |id, summary| CheckEntry {
        id,
        severity: Severity::Warning,
        category: "firewall",
        summary,
        explanation: "A drop in any table is final.",
        needs: &["nf-tables"],
        basis: "nft(8)",
        since: "0.1.0",
    };
    let checks = vec![
        check("forward-policy-drop", "a chain's policy drops what is forwarded"),
        check("network-not-autostarted", "a network does not come back"),
        check("unexplained-gap", "a gap without a known cause"),
    ];
    let catalogue = Catalogue { schema: SCHEMA, checks };
    let input = Input { report, catalogue: &catalogue, form: Form { width: 120, colour: false } };
    let mut text = Vec::new();
    renderer.write(&input, &mut text).expect("a Vec takes every byte");
    String::from_utf8(text).unwrap_or_else(|_| panic!("{format} is not text"))
}

/// Every host that a format is tried on.
fn all_hosts() -> Vec<Report> {
    let mut hosts = hosts::invasions();
    hosts.extend([hosts::healthy(), hosts::broken(), hosts::unknown(), hosts::hostile(), hosts::policed()]);
    hosts
}

#[test]
fn nothing_steers_hides_or_floods() {
    let healthy: Vec<_> =
        RENDERERS.iter().map(|renderer| render(renderer.name, &hosts::policed()).len()).collect();
    for report in all_hosts() {
        for (renderer, usual) in RENDERERS.iter().zip(&healthy) {
            // JSON is for programs: they get what was written, in JSON's own escapes.
            if renderer.name == "json" {
                continue;
            }
            let text = render(renderer.name, &report);
            let strange: Vec<_> = text
                .chars()
                .filter(|char| char.is_control() && *char != '\n')
                .chain(text.chars().filter(|char| {
                    "\u{202e}\u{2066}\u{200f}\u{2028}\u{feff}\u{fffe}\u{ffff}".contains(*char)
                }))
                .collect();
            assert!(strange.is_empty(), "{}: {strange:?}", renderer.name);
            assert!(text.len() < 40 * usual.max(&1000), "{}: {} octets", renderer.name, text.len());
        }
    }
}

#[test]
fn the_exit_code_is_the_verdict_unless_the_reader_has_its_own() {
    for renderer in RENDERERS {
        for report in all_hosts() {
            if renderer.name != "nagios" {
                assert_eq!(renderer.exit_code(&report), report.summary.verdict.exit_code());
            }
            if report.summary.verdict != Verdict::Verified {
                assert_ne!(renderer.exit_code(&report), 0, "{}", renderer.name);
            }
        }
    }
}

#[test]
fn the_same_report_gives_the_same_text() {
    for renderer in RENDERERS {
        assert_eq!(render(renderer.name, &hosts::policed()), render(renderer.name, &hosts::policed()));
    }
}

/// Where nothing was checked every format that counts says so, and why if it knows.
#[test]
fn zeros_alone_are_no_good_news() {
    let mut host = hosts::healthy();
    host.matrix.clear();
    host.summary.ok = 0;
    let mut off = host.clone();
    off.nics.iter_mut().for_each(|nic| nic.state = Some(NicState::Off));
    for (report, why) in [(off, "(no VM runs: no claim was checked)"), (host, "(no claim was checked)")] {
        for format in ["table", "tap", "github", "markdown", "html", "nagios", "journal"] {
            let text = render(format, &report);
            assert!(text.contains(&format!("0 ok {why}")), "{format}: {text}");
        }
    }
    for renderer in RENDERERS {
        assert!(!render(renderer.name, &hosts::healthy()).contains("claim was checked"), "{}", renderer.name);
    }
}

//! `--plan`: what a policy says of a host that files describe, before anything touches the host on which that is asked.

use std::path::Path;

use crate::host::{Backend, Host, Ran, can_run};
use crate::untouched::{assert_untouched, picture};

/// A plan that differs from the example in one file, which kvmnet's `check` then refuses for this.
struct Change {
    file: &'static str,
    text: &'static str,
    /// The exit code.
    code: i32,
    /// What is said.
    says: &'static [&'static str],
}

/// Where the plan lies on the private host: in a file system that the comparison does not descend into.
const DIRECTORY: &str = "/run/lab/plan/new";

const NFTABLES: &str = "firewall_backend = \"nftables\"\n";

const LEAKS: &[Change] = &[
    Change {
        file: "after-leak.nft",
        text: "table ip leak {
            chain nat { type nat hook postrouting priority srcnat; ip saddr 192.168.150.0/24 oifname br0 masquerade; }
        }
        insert rule ip libvirt_network guest_output ip saddr 192.168.150.0/24 accept",
        code: 1,
        says: &["the isolated network is isolated 12 3 FAILS", "isolation-leak", "guest_output"],
    },
    Change {
        file: "docker.v4",
        text: "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\nCOMMIT\n",
        code: 1,
        says: &["web servers reach the internet 4 2 FAILS", "forward-policy-drop"],
    },
];

const MISTAKES: &[Change] = &[
    // What is not made must not pass for made.
    Change {
        file: "x.xml",
        text: "<domain type='kvm'><name>x</name><devices><interface type='network'><source network='default'/>\
               <filterref filter='clean-traffic'/></interface></devices></domain>",
        code: 2,
        says: &["x.xml", "a plan cannot show what the filter clean-traffic drops"],
    },
    Change {
        file: "x.xml",
        text: "<domain type='kvm'><name>x</name><devices><interface type='network'><source network='default'/>\
               <vlan><tag id='7'/></vlan></interface></devices></domain>",
        code: 2,
        says: &["x.xml", "a plan cannot show VLAN tags"],
    },
    Change {
        file: "x.nft",
        text: "table ip x { chain y { tcp drop } }",
        code: 2,
        says: &["x.nft", "syntax error"],
    },
    Change { file: "x.v4", text: "*filter\n-A NONE -j ACCEPT\nCOMMIT\n", code: 2, says: &["x.v4", "line"] },
    Change { file: "x.xml", text: "<network><name>x</name>", code: 2, says: &["x.xml", "not understood"] },
    Change { file: "x.xml", text: "<pool><name>x</name></pool>", code: 2, says: &["x.xml", "<pool>"] },
    Change {
        file: "x.xml",
        text: "<network><name>x</name><forward mode='foo'/></network>",
        code: 2,
        says: &["x.xml", "unknown forwarding type 'foo'"],
    },
    Change {
        file: "x.xml",
        text: "<domain type='kvm'><name>x</name><devices><interface type='network'><source network='no'/></interface>\
               </devices></domain>",
        code: 2,
        says: &["domain x is in the network no, which no file defines"],
    },
    Change {
        file: "x.xml",
        text: "<domain type='kvm'><name>x</name><devices><interface type='bridge'>\
               <source bridge='br0&#10;netns exec x'/></interface></devices></domain>",
        code: 2,
        says: &["cannot be the name of a device"],
    },
    Change { file: "rules.txt", text: "accept", code: 2, says: &["rules.txt", "no file of a plan"] },
];

fn check(host: &Host, changes: &[(&str, &str)]) -> Ran {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/example");
    host.sh(&format!("rm -f {DIRECTORY}/*; cp {}/* {DIRECTORY}", example.display()));
    for (file, text) in changes {
        host.write(&format!("{DIRECTORY}/{file}"), text.as_bytes());
    }
    let policy = format!("{DIRECTORY}/kvmnet.yaml");
    host.kvmnet(&["check", &policy, "--plan", DIRECTORY])
}

#[track_caller]
fn assert_says(ran: &Ran, file: &str, code: i32, says: &[&str]) {
    let text = format!("{}{}", ran.stdout, ran.stderr);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(ran.code, Some(code), "{file}: {text}");
    for said in says {
        assert!(words.contains(said), "{file}: `{said}` is not in {text}");
    }
}

/// The good plan passes with both firewall backends; a plan that leaks or stops what is wanted is refused.
#[test]
fn a_plan_that_leaks_is_refused_before_it_is_real() {
    if !can_run() {
        return;
    }
    let host = Host::start(Backend::None, &[]);
    host.sh(&format!("mkdir /run/lab/plan; mount -t tmpfs tmpfs /run/lab/plan; mkdir {DIRECTORY}"));
    host.settle();
    // The host's own devices have just come up.
    host.wait_for("! ip -6 address | grep -q tentative && ! ip -6 route show table all | grep -q linkdown");
    let before = picture(&host);
    for backend in [NFTABLES, "firewall_backend = \"iptables\"\n"] {
        assert_says(&check(&host, &[("network.conf", backend)]), backend, 0, &["9 ok"]);
    }
    for Change { file, text, code, says } in LEAKS {
        assert_says(&check(&host, &[("network.conf", NFTABLES), (file, text)]), file, *code, says);
    }
    for Change { file, text, code, says } in MISTAKES {
        assert_says(&check(&host, &[(file, text)]), file, *code, says);
    }
    assert_untouched(&before, &picture(&host), "check --plan");
}
